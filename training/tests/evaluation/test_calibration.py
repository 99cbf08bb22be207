"""Temperature scaling against closed forms and against a search over a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from dslora.evaluation.calibration import fit_temperature
from dslora.evaluation.metrics import Floats, Integers


def noisy(n: int = 2000, classes: int = 3, seed: int = 0) -> tuple[Floats, Integers]:
    """Logits whose softmax are the true probabilities of the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 2
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def test_two_classes_in_closed_form() -> None:
    # Every margin is m and a share p is right: the best temperature has sigmoid(m / T) = p.
    margin, share = 4.0, 0.8
    logits = np.tile([margin, 0.0], (100, 1))
    labels = np.repeat([0, 1], [80, 20])
    expected = margin / math.log(share / (1 - share))
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_undoes_a_scale(scale: float) -> None:
    logits, labels = noisy(20_000)
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.05)


def test_no_temperature_of_a_grid_is_better() -> None:
    logits, labels = noisy(300)
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits / temperature, axis=1)[rows, labels].mean())

    found = loss(fit_temperature(logits, labels))
    assert found <= min(loss(temperature) for temperature in np.geomspace(0.06, 19, 500)) + 1e-9


def test_posts_that_are_all_right_say_nothing() -> None:
    logits, _ = noisy(50)
    assert fit_temperature(logits, logits.argmax(axis=1)) == 1.0


def test_posts_that_are_all_wrong_stay_within_bounds() -> None:
    logits, _ = noisy(50)
    assert 10 < fit_temperature(logits, logits.argmin(axis=1)) <= 20


def test_single_precision_and_large_logits() -> None:
    logits, labels = noisy(500)
    single = (logits * 1e4).astype(np.float32)
    assert fit_temperature(single, labels) == pytest.approx(20, rel=1e-3)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-4
    )
