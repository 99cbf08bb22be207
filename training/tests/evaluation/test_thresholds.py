"""Thresholds against trying every cut one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from dslora.errors import DsLoraError
from dslora.evaluation.metrics import Floats
from dslora.evaluation.thresholds import choose_thresholds, measure_threshold


def scores(n: int, seed: int, skill: float, levels: int | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.35
    positive[:2] = [True, False]
    values = 1 / (1 + np.exp(-(rng.normal(size=n) + skill * (positive - 0.5))))
    if levels:
        values = np.round(values * levels) / levels
    return values.astype(np.float32), positive


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "levels"), [(12, None), (150, None), (150, 6)])
def test_agrees_with_trying_every_cut(seed: int, n: int, levels: int | None) -> None:
    offensive, positive = scores(n, seed, skill=2, levels=levels)
    chosen = choose_thresholds(offensive, positive)
    cuts = [measure_threshold(offensive, positive, float(value)) for value in np.unique(offensive)]
    macro_f1 = [f1_score(positive, offensive >= cut.value, average="macro") for cut in cuts]
    best = f1_score(positive, offensive.astype(np.float64) >= chosen["balanced"].value, average="macro")
    assert best == pytest.approx(max(macro_f1))
    assert chosen["high-recall"].recall == min(cut.recall for cut in cuts if cut.recall >= 0.9)
    enough = [cut for cut in cuts if cut.recall >= 0.05]
    precise = [cut.recall for cut in enough if cut.precision >= 0.9]
    if precise:
        assert chosen["high-precision"].recall == max(precise)
        assert chosen["high-precision"].precision >= 0.9
    else:
        assert chosen["high-precision"].precision == max(cut.precision for cut in enough)


@pytest.mark.parametrize("seed", range(4))
def test_reports_what_is_measured_at_the_value(seed: int) -> None:
    offensive, positive = scores(300, seed, skill=1.5)
    for threshold in choose_thresholds(offensive, positive).values():
        assert measure_threshold(offensive, positive, threshold.value) == threshold
        assert 0 <= threshold.value <= 1


def test_lies_between_two_scores() -> None:
    offensive = np.array([0.1, 0.2, 0.6, 0.9])
    positive = np.array([False, False, True, True])
    chosen = choose_thresholds(offensive, positive)
    assert [threshold.value for threshold in chosen.values()] == pytest.approx([0.4, 0.4, 0.4])
    # Rounding of an exported graph flips nothing.
    for shift in (-1e-4, 1e-4):
        again = measure_threshold(offensive + shift, positive, chosen["balanced"].value)
        assert (again.precision, again.recall) == (1, 1)


def test_neighbours_in_single_precision() -> None:
    low = np.float32(0.5)
    offensive = np.array([low, np.nextafter(low, np.float32(1))])
    chosen = choose_thresholds(offensive, np.array([False, True]))
    assert (chosen["balanced"].precision, chosen["balanced"].recall) == (1, 1)


def test_order_of_uses() -> None:
    offensive, positive = scores(500, 0, skill=2)
    chosen = choose_thresholds(offensive, positive)
    assert chosen["high-recall"].value <= chosen["balanced"].value <= chosen["high-precision"].value


def test_a_lucky_handful_is_not_high_precision() -> None:
    # The three highest scores are right, below them one in two: 0.9 holds for 3 % of the posts alone.
    offensive = np.r_[0.99, 0.98, 0.97, np.linspace(0.5, 0.9, 200)]
    positive = np.r_[True, True, True, np.arange(200) % 2 == 0]
    chosen = choose_thresholds(offensive, positive)["high-precision"]
    assert chosen.recall >= 0.05
    assert chosen.precision < 0.9


def test_nothing_flagged_and_one_kind_only() -> None:
    nothing = measure_threshold(np.array([0.1, 0.2]), np.array([True, False]), 0.5)
    assert (nothing.precision, nothing.recall) == (0, 0)
    with pytest.raises(DsLoraError, match="no threshold"):
        choose_thresholds(np.array([0.1, 0.2]), np.array([True, True]))


def test_uses_are_in_order_where_one_threshold_reaches_every_target() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(400) < 0.4
    # Both targets are reached far on the wrong side of the balanced threshold.
    scores = np.clip(np.where(positive, 0.8, 0.2) + generator.normal(0, 0.12, 400), 0, 1)
    found = choose_thresholds(scores, positive)
    assert found["high-recall"].value <= found["balanced"].value <= found["high-precision"].value
    assert found["high-recall"].recall >= 0.9
    assert found["high-precision"].precision >= 0.9
