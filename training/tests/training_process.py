"""A training in one of several processes: what test_processes launches. Not a test itself."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn

from dslora.sparsity import L1Settings
from dslora.train import TrainSettings, train
from dslora.train.batches import Split
from dslora.train.checkpoint import Progress
from dslora.train.processes import Processes
from tiny_training import make_all, make_spec

# 37 rows in batches of 8: the last batch has five, which two processes share as three and two.
ROWS = 37
SETTINGS = TrainSettings(
    epochs=3, batch_size=8, accumulation=2, learning_rate=1e-2, head_learning_rate=1e-2, patience=3, device="cpu"
)


class StoppedError(Exception):
    """As a kill between two epochs."""


class ShardedOnCpu(Processes):
    """FSDP 2 as accelerate applies it on GPUs: its state refuses the CPU, what it does with a model does not."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        state: Any = self._accelerator.state
        state.distributed_type = DistributedType.FSDP
        # As launch/fsdp.yaml has it.
        state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            reshard_after_forward=True,
            cpu_ram_efficient_loading=False,
        )


def run(base: str, folder: Path, way: str, stops: Sequence[int] = (0,)) -> None:
    """Trains as often as there are stops: to the end of that epoch, or to its own end where it is 0."""
    torch.set_num_threads(1)
    processes = ShardedOnCpu("cpu") if way == "fsdp" else Processes("cpu")
    for stop_after in stops:
        _train(base, folder, processes, stop_after)


def _train(base: str, folder: Path, processes: Processes, stop_after: int) -> None:
    # Dropout draws from each process's own stream, so equality holds without it.
    spec = make_spec(base, "ds-lora", dropout=0.0)
    spec = replace(spec, head_dropout=0.0, l1=L1Settings(strength=0.3, warmup=0.0, debias=0.4))
    classifier, encoder, rows, development = make_all(spec)
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            setattr(module, "dropout_prob", 0.0)  # noqa: B010
    scores = []

    def note(progress: Progress, macro_f1: float) -> None:
        scores.append(macro_f1)
        if progress.epoch == stop_after:
            raise StoppedError

    settings = replace(SETTINGS, class_weighting="balanced")
    split = Split(rows.windows[:ROWS], rows.labels[:ROWS])
    with contextlib.suppress(StoppedError):
        train(classifier, encoder, split, development, settings, folder, on_epoch=note, quiet=True, processes=processes)
    said = json.dumps({"rank": processes.rank, "sharded": classifier.is_sharded, "macro_f1": scores})
    # In one piece: the other process writes to the same pipe.
    os.write(sys.stdout.fileno(), f"{said}\n".encode())


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], [int(stop) for stop in sys.argv[4:]])
