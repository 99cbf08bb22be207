"""Training: settings, batches, optimizer groups, checkpoints and the loop."""

from dslora.train.loop import TrainingResult, train
from dslora.train.settings import TrainSettings

__all__ = ["TrainSettings", "TrainingResult", "train"]
