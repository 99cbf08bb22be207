"""The development split: stratified, seeded, and the same whatever the order of the rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dslora.data import Split, take
from dslora.data.split import carve
from dslora.errors import DsLoraError


def make_split(counts: list[int], order: list[int] | None = None) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    positions = order if order is not None else list(range(len(labels)))
    return Split(
        texts=tuple(f"post {position}" for position in positions),
        labels=labels[positions],
        ids=tuple(str(position) for position in positions),
        files=(),
    )


def test_parts_are_disjoint_complete_and_stratified() -> None:
    split = make_split([884, 440, 7])
    train, development, _ = carve(split, 0.1, seed=0)
    assert sorted(train.ids + development.ids) == sorted(split.ids)
    assert np.bincount(development.labels).tolist() == [88, 44, 1]
    assert len(development) == round(0.1 * len(split))


def test_rows_are_those_with_the_smallest_digest_of_seed_and_id() -> None:
    split = make_split([30, 20])
    _, development, carving = carve(split, 0.2, seed=7)
    members = [row for row, label in zip(split.ids, split.labels, strict=True) if label == 0]
    expected = sorted(members, key=lambda row: hashlib.sha256(f"7:{row}".encode()).hexdigest())[:6]
    chosen = {row for row, label in zip(development.ids, development.labels, strict=True) if label == 0}
    assert chosen == set(expected)
    assert (carving.seed, carving.fraction) == (7, 0.2)


def test_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    shuffled = np.random.default_rng(1).permutation(50).tolist()
    chosen = {
        name: set(carve(make_split([30, 20], order), 0.2, seed)[1].ids)
        for name, order, seed in [("plain", None, 0), ("shuffled", shuffled, 0), ("other seed", None, 1)]
    }
    assert chosen["plain"] == chosen["shuffled"] != chosen["other seed"]


def test_rows_keep_their_order_and_their_labels() -> None:
    split = make_split([30, 20])
    for part in carve(split, 0.3, seed=0)[:2]:
        assert list(part.ids) == sorted(part.ids, key=int)
        assert part.texts == tuple(f"post {row}" for row in part.ids)
        assert [int(int(row) >= 30) for row in part.ids] == part.labels.tolist()


def test_a_rare_class_is_in_both_parts() -> None:
    train, development, _ = carve(make_split([200, 2]), 0.01, seed=0)
    assert np.bincount(train.labels).tolist()[1] == np.bincount(development.labels).tolist()[1] == 1


def test_take_is_nested_and_never_more_than_there_is() -> None:
    split = make_split([60, 40])
    few, more = take(split, 10, 0), take(split, 50, 0)
    assert set(few.ids) <= set(more.ids)
    assert np.bincount(more.labels).tolist() == [30, 20]
    assert take(split, 1000, 0) is split


def test_what_is_chosen_stays_what_it_was() -> None:
    # Results are kept by these choices: if they change, figures before and after do not compare.
    split = make_split([884, 440, 7])
    development = carve(split, 0.1, seed=0)[1]
    assert development.ids_sha256() == "56eb118a2de1c1816ff429f1e48ca0f43d3c7da8f14b856b0f2b7b107fb6bb44"
    assert take(split, 400, 3).ids_sha256() == "b106afe3bac0cbd4d844842116026167e7dbd36bbdcbfef4d911b733799315f8"


@pytest.mark.parametrize(
    ("counts", "rows", "expected"),
    [
        # Rare classes are given more than their part, and the large one pays for it.
        ([970, *[1] * 30], 35, [5, *[1] * 30]),
        ([200, 2], 2, [1, 1]),
        ([50, 50, 1, 1], 4, [1, 1, 1, 1]),
        ([60, 40, 0, 1], 10, [5, 4, 0, 1]),
        # Every class stays, though fewer rows were asked for.
        ([970, *[1] * 30], 20, [1] * 31),
        ([50, 50, 1], 1, [1, 1, 1]),
    ],
)
def test_take_keeps_every_class_and_never_returns_more_than_asked_where_that_can_be(
    counts: list[int], rows: int, expected: list[int]
) -> None:
    assert np.bincount(take(make_split(counts), rows, 0).labels, minlength=len(counts)).tolist() == expected


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(DsLoraError, match=r"0\.5"):
        carve(make_split([10, 10]), fraction, seed=0)
