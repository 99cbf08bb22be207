"""Which texts share a step, and in which order: decided by seed and epoch alone, so that a run can resume."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# A pool of this many batches is sorted by length. Larger pools pad less and mix less.
_POOL_BATCHES = 50


@dataclass(frozen=True)
class Split:
    """Token ids and class indices of one split; windows are what the model reads."""

    windows: Sequence[Sequence[int]]
    labels: Sequence[int]


def length_grouped_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch's batches: every index once, texts of similar length together, order shuffled.

    Args:
        lengths: Token count of each text.
        batch_size: Texts a batch; the last may be smaller.
        seed, epoch: The same pair always gives the same batches.
    """
    generator = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    pool = batch_size * _POOL_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    generator.shuffle(batches)
    return batches


class Rows:
    """A split as flat tensors, from which batches are cut without a loop over tokens.

    Args:
        split: What to cut from.
        pad_id: Fills batches on the right.
        device: Where batches go. To a GPU they are copied while it still computes the batch before.
    """

    def __init__(self, split: Split, pad_id: int, device: torch.device) -> None:
        self.lengths = [len(window) for window in split.windows]
        self.labels = torch.tensor(split.labels)
        self._lengths = torch.tensor(self.lengths)
        self._starts = torch.cumsum(self._lengths, 0) - self._lengths
        self._ids = torch.tensor([token for window in split.windows for token in window])
        self._pad_id = pad_id
        self._device = device

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and mask, int64 ``[batch, longest]``, and class indices ``[batch]``."""
        rows = torch.tensor(indices)
        lengths = self._lengths[rows].unsqueeze(1)
        positions = torch.arange(int(lengths.max()))
        real = positions < lengths
        at = self._starts[rows].unsqueeze(1) + positions
        ids = torch.where(real, self._ids[at.clamp_(max=len(self._ids) - 1)], self._pad_id)
        return self._moved(ids), self._moved(real.long()), self._moved(self.labels[rows])

    def _moved(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)
