"""Gates by class in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from dslora.errors import DsLoraError
from dslora.evaluation.gates import gate_quantiles, summarize_gates

COLUMNS = [(layer, module) for layer in range(4) for module in ("query", "value")]
LABELS = np.array([0, 0, 1, 1])
POSITIVE = LABELS == 1
RIGHT = np.array([True, False, True, True])


def test_mean_deviation_and_spread() -> None:
    gates = np.zeros((4, 8), dtype=np.float32)
    gates[:, 3] = [0.2, 0.4, 0.6, 1.0]
    summary = summarize_gates(gates, COLUMNS, LABELS, 2, POSITIVE, RIGHT)
    assert summary is not None
    row = summary.modules[3]
    assert list(row.layers) == [1]
    assert str(row) == "layer 1 value"
    assert row.mean == pytest.approx((0.3, 0.8))
    assert row.sd == pytest.approx((0.1, 0.2))
    assert row.spread == pytest.approx(np.std([0.2, 0.4, 0.6, 1.0]))
    assert summary.modules[0].mean == pytest.approx((0, 0))
    assert summary.overall.mean == pytest.approx((0.3 / 8, 0.1))
    assert summary.auroc_offensive == 1
    # One wrong answer, above one of three right ones.
    assert summary.auroc_error == pytest.approx(1 / 3)


def test_groups_cover_all_layers_in_order() -> None:
    gates = np.random.default_rng(0).random((4, 8))
    summary = summarize_gates(gates, COLUMNS, LABELS, 2, POSITIVE, RIGHT)
    assert summary is not None
    assert [str(group) for group in summary.groups] == ["layers 0–1", "layer 2", "layer 3"]
    assert summary.groups[0].mean[1] == pytest.approx(gates[2:, :4].mean())
    one_layer = summarize_gates(gates[:, :2], COLUMNS[:2], LABELS, 2, POSITIVE, RIGHT)
    assert one_layer is not None
    assert len(one_layer.groups) == 1


def test_nothing_to_separate() -> None:
    gates = np.full((4, 8), 0.5)
    summary = summarize_gates(gates, COLUMNS, LABELS, 2, POSITIVE, np.ones(4, dtype=bool))
    assert summary is not None
    assert (summary.auroc_offensive, summary.auroc_error) == (0.5, None)
    assert summary.overall.spread == 0


def test_method_without_gates() -> None:
    assert summarize_gates(np.zeros((4, 0)), [], LABELS, 2, POSITIVE, RIGHT) is None
    assert gate_quantiles(np.zeros((4, 0)), LABELS, 2).shape == (0, 2, 101)


def test_shapes_must_fit() -> None:
    with pytest.raises(DsLoraError, match="do not fit"):
        summarize_gates(np.zeros((4, 3)), COLUMNS, LABELS, 2, POSITIVE, RIGHT)


def test_quantiles_of_an_even_ladder_are_the_ladder() -> None:
    ladder = np.linspace(0, 1, 101)
    gates = np.concatenate([ladder, ladder / 2])[:, None] * [1.0, 0.5]
    order = np.random.default_rng(0).permutation(202)
    quantiles = gate_quantiles(gates[order], np.repeat([0, 1], 101)[order], 2)
    assert quantiles.shape == (2, 2, 101)
    np.testing.assert_allclose(quantiles[0, 0], ladder)
    np.testing.assert_allclose(quantiles[1, 1], ladder / 4)
