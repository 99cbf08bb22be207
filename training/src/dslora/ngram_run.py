"""Runs of n-grams: trained, kept and read like the others, without PyTorch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dslora.classifier import GateColumn
from dslora.data import Dataset, take
from dslora.folder import whole_folder
from dslora.inference import Predictions
from dslora.ngrams import NAME, NgramModel, NgramSpec
from dslora.normalization import normalize
from dslora.run import load_run
from dslora.run_record import (
    DataSettings,
    TrainedRun,
    classifiable,
    data_of,
    describe_run,
    keep_untrained,
    macro_f1,
    read_record,
)
from dslora.train.loop import BEST, TrainingResult
from dslora.train.settings import TrainSettings


@dataclass(frozen=True)
class NgramRun:
    """A finished run as it was read from its folder."""

    computed_by: ClassVar[str] = "scikit-learn"

    folder: Path
    data: DataSettings
    model: NgramModel
    record: dict[str, Any]

    @property
    def spec(self) -> NgramSpec:
        return self.model.spec

    def read(self, text: str) -> str:
        return normalize(text, self.spec.normalization)

    def predict(self, texts: Sequence[str], temperature: float = 1.0) -> Predictions:
        """Answers for posts; a long one is read whole, so nothing depends on the temperature."""
        return self.model.predict(texts)

    def gate_columns(self) -> list[GateColumn]:
        return []

    def live_columns(self) -> list[int]:
        return []


def train_ngrams(
    folder: Path, data: DataSettings, spec: NgramSpec, settings: TrainSettings, dataset: Dataset
) -> TrainingResult:
    """Fits the model into ``folder``, or finds it there.

    Args:
        folder: The run's folder.
        data: How the data set was asked for.
        spec: What to build.
        settings: Of which ``dslora.ngrams.TRAINING_OPTIONS`` count.
        dataset: As loaded.

    Raises:
        DsLoraError: The folder holds another run, or no n-gram is frequent enough.
    """
    kept = classifiable(dataset, lambda text: normalize(text, spec.normalization))
    rows, development = kept.splits["train"], kept.splits["development"]
    if settings.train_rows:
        rows = take(rows, settings.train_rows, settings.seed)

    def fit() -> TrainingResult:
        started = time.perf_counter()
        balanced = settings.class_weighting == "balanced"
        model = NgramModel.fit(spec, rows.texts, rows.labels.tolist(), balanced, settings.seed)
        score = macro_f1(model.predict(development.texts).logits, development.labels.tolist())
        with whole_folder(folder / BEST, replace=True) as best:
            model.save(best)
        return TrainingResult(score, 0, 0, time.perf_counter() - started, model.parameters, 0.0)

    return keep_untrained(folder, describe_run(dataset, kept, data, spec, settings, len(rows)), dataset, fit)


def load_any_run(folder: Path) -> TrainedRun:
    """Reads a finished run of any method.

    Raises:
        DsLoraError: The folder is none, or its training has not finished.
    """
    record = read_record(folder)
    if record["spec"]["method"] != NAME:
        return load_run(folder)
    return NgramRun(folder, data_of(record), NgramModel.load(folder / BEST), record)
