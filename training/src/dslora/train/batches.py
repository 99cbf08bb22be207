"""Which texts share a step, and in which order: decided by seed and epoch alone, so that a run can resume."""

import random
from collections.abc import Sequence

# A pool of this many batches is sorted by length. Larger pools pad less and mix less.
_POOL_BATCHES = 50


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
