"""Choosing rows by class: the development split, and smaller training sets.

The choice rests on SHA-256 of the rows' ids alone. So it is the same with every version of every library,
on every machine and in any order of the rows, and a row added to the file moves few others.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dslora.data.dataset import Carving, Split
from dslora.errors import DsLoraError

METHOD: Final = (
    "of each class, in proportion to its rows (largest remainder), those with the smallest SHA-256 of '<seed>:<row id>'"
)


def carve(split: Split, fraction: float, seed: int) -> tuple[Split, Split, Carving]:
    """Cut a stratified development split from training rows.

    Args:
        split: rows with ids that differ, at least two of each class: a single one goes to development.
        fraction: share of rows to cut, in (0, 0.5].
        seed: chooses other rows.

    Returns:
        What is left to train on, the development split, and how it was chosen.

    Raises:
        DsLoraError: the fraction is out of range.
    """
    if not 0 < fraction <= 0.5:
        raise DsLoraError(
            f"A development fraction of {fraction} is out of range. Expected more than 0 and at most 0.5. "
            "Choose another, for example 0.1."
        )
    chosen = _choose(split, max(1, round(len(split) * fraction)), seed)
    rest = sorted(set(range(len(split))) - set(chosen))
    return split.rows(rest), split.rows(chosen), Carving(METHOD, seed, fraction)


def take(split: Split, rows: int, seed: int) -> Split:
    """Return a stratified choice of `rows` rows (all of them if there are fewer), in the split's order.

    Every class stays: where it has more classes than `rows`, the choice is one row of each.
    """
    return split if rows >= len(split) else split.rows(_choose(split, rows, seed))


def _choose(split: Split, rows: int, seed: int) -> list[int]:
    quota = _apportion(np.bincount(split.labels), rows)
    keys = [hashlib.sha256(f"{seed}:{row_id}".encode()).digest() for row_id in split.ids]
    chosen: list[int] = []
    for label, share in enumerate(quota):
        members = np.flatnonzero(split.labels == label).tolist()
        chosen += sorted(members, key=keys.__getitem__)[:share]
    return sorted(chosen)


def _apportion(counts: NDArray[np.int64], rows: int) -> list[int]:
    """Share `rows` out in proportion to `counts`; a class that has rows gets at least one, be it all that it has.

    The sum is `rows`, or the number of classes that have rows where that is more.
    """
    exact = [(rows * count / int(counts.sum())) for count in counts.tolist()]
    quota = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda label: (quota[label] - exact[label], label))
    for label in by_remainder[: rows - sum(quota)]:
        quota[label] += 1
    quota = [min(max(share, 1), count) if count else 0 for share, count in zip(quota, counts.tolist(), strict=True)]
    while sum(quota) > rows and max(quota) > 1:
        # Rare classes were given more than their part: those pay that have got most.
        quota[quota.index(max(quota))] -= 1
    return quota
