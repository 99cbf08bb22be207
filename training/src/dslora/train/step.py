"""Gradients of one batch."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslora.methods import Phase
from dslora.train.batches import Rows
from dslora.train.processes import Processes
from dslora.train.settings import TrainSettings


class BatchGradients:
    """Computes gradients of a batch, in as many parts and processes as there are.

    Whatever these numbers are, the gradients are those of the whole batch at once: every part's loss is divided by
    the weight of the whole batch, and multiplied by the number of processes, whose gradients are averaged. The reward
    for the spread of gates is no sum over texts, so :meth:`TrainSettings.part_size` refuses it where there are parts.

    Args:
        model: As the processes have prepared it.
        rows: The training split.
        settings: How to train.
        class_weights: ``[classes]``, or None where all weigh the same.
        phases: What adds gradients of its own.
        processes: Who shares the work.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: Rows,
        settings: TrainSettings,
        class_weights: Tensor | None,
        phases: Sequence[Phase],
        processes: Processes,
    ) -> None:
        self._model = model
        self._rows = rows
        self._settings = settings
        self._row_weights = None if class_weights is None else class_weights[rows.labels]
        self._class_weights = None if class_weights is None else class_weights.to(processes.device)
        self._phases = phases
        self._processes = processes
        self._part_size = settings.part_size(processes.count)

    def __call__(self, batch: list[int], step: int) -> Tensor:
        """Adds to the gradients. Returns this process's share of the batch's cross-entropy, without penalties."""
        processes, device = self._processes, self._processes.device
        weight = float(len(batch)) if self._row_weights is None else float(self._row_weights[batch].sum())
        total = torch.zeros((), device=device, dtype=torch.float64)
        parts = processes.parts(batch, self._part_size)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else processes.no_sync(self._model):
                total += self._part(part, batch, weight)
        for phase in self._phases:
            phase.add_gradients(step)
        return total

    def _part(self, part: list[int], batch: list[int], weight: float) -> Tensor:
        settings, count = self._settings, self._processes.count
        # A process without a row of its own computes one that weighs nothing, since the others wait for it.
        ids, mask, targets = self._rows.batch(part or batch[:1])
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits, gates = self._model(ids, mask)
        summed = functional.cross_entropy(
            logits, targets, weight=self._class_weights, label_smoothing=settings.label_smoothing, reduction="sum"
        )
        cross_entropy = summed * ((1.0 if part else 0.0) / weight)
        loss = cross_entropy * count if count > 1 else cross_entropy
        if settings.gate_spread and gates.shape[1] and len(part) > 1:
            loss = loss - settings.gate_spread * gates.std(dim=0).mean()
        loss.backward()
        return cross_entropy.detach()
