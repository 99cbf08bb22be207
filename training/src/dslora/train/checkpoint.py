"""Checkpoints: everything from which a killed run goes on to the result it would have had."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dslora.errors import DsLoraError, OtherRunError
from dslora.files import replacing

FILE = "checkpoint.pt"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Current epoch, from 0.
        batch: Batches of this epoch that are done.
        step: Optimizer steps done in all.
        loss_sum, loss_count: Running mean of the loss since the last evaluation.
        best: Best development macro-F1 so far; None before the first that counts.
        best_epoch: Epoch of the best, from 1.
        best_zeros: Share of exact zeros in its A and B.
        stale: Evaluations since the best.
        seconds: Time spent training.
        finished: Nothing is left to do.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_zeros: float = 0.0
    stale: int = 0
    seconds: float = 0.0
    finished: bool = False


def random_state(device: torch.device) -> dict[str, Any]:
    """This process's random generators. Of GPUs only its own: asking another one would take memory there."""
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Sets what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def save_checkpoint(folder: Path, key: str, progress: Progress, parts: dict[str, Any]) -> None:
    """Writes where a run stands.

    Args:
        folder: The run.
        key: Fingerprint of the settings.
        progress: Where the run stands.
        parts: Name to ``state_dict()``; ``random`` has one :func:`random_state` a process.
    """
    with replacing(folder / FILE) as temporary:
        torch.save({"key": key, "progress": vars(progress), "parts": parts}, temporary)


def load_checkpoint(folder: Path, key: str) -> tuple[Progress, dict[str, Any]] | None:
    """Progress and state dicts; None when there is no checkpoint.

    Raises:
        OtherRunError: It was made with other settings.
        DsLoraError: It cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DsLoraError(f"{path}: the checkpoint cannot be read. Delete the folder to start again.") from error
    if state["key"] != key:
        raise OtherRunError(
            f"{folder}: holds a run with other settings or other data. Use the same ones to resume it, "
            "another --out for a new run, or --overwrite to start again."
        )
    return Progress(**state["progress"]), state["parts"]
