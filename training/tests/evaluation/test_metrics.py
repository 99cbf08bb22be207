"""Measures against scikit-learn, intervals against drawing posts one by one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from dslora.errors import DsLoraError
from dslora.evaluation.metrics import (
    Floats,
    Integers,
    auroc,
    confusion_counts,
    expected_calibration_error,
    macro_f1_difference,
    measure,
)

NAMES = ("normal", "offensive", "hate")
POSITIVE = ("offensive", "hate")


def predictions(n: int, classes: int = 3, seed: int = 0, skill: float = 1.0) -> tuple[Floats, Integers]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += skill
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


def test_agrees_with_scikit_learn() -> None:
    probabilities, labels = predictions(500)
    metrics = measure(probabilities, labels, NAMES, POSITIVE)
    predicted = probabilities.argmax(axis=1)
    expected = precision_recall_fscore_support(labels, predicted)
    actual = [(each.precision.value, each.recall.value, each.f1.value, each.support) for each in metrics.classes]
    np.testing.assert_allclose(np.array(actual).T, np.array(expected))
    assert metrics.macro_f1.value == pytest.approx(expected[2].mean())
    precision, recall = expected[0].mean(), expected[1].mean()
    # As evaluationScriptGermeval2018.pl computes it.
    assert metrics.f1_of_means.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert metrics.accuracy.value == pytest.approx(accuracy_score(labels, predicted))
    assert np.array_equal(metrics.confusion, confusion_matrix(labels, predicted))
    area = roc_auc_score(labels > 0, probabilities[:, 1:].sum(axis=1))
    assert metrics.auroc_offensive.value == pytest.approx(area)


def test_area_counts_ties_half() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 300) / 4, rng.random(300) < 0.3
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert auroc(np.zeros(4), np.array([True, False, True, False])) == 0.5
    assert auroc(np.zeros(4), np.ones(4, dtype=bool)) is None


def test_class_that_is_never_predicted_counts_as_zero() -> None:
    probabilities = np.tile([0.6, 0.3, 0.1], (6, 1))
    metrics = measure(probabilities, np.array([0, 0, 0, 1, 1, 2]), NAMES, POSITIVE)
    assert [each.f1.value for each in metrics.classes] == pytest.approx([2 / 3, 0, 0])
    assert metrics.classes[1].precision.value == 0


def test_intervals_agree_with_drawing_posts_one_by_one() -> None:
    probabilities, labels = predictions(300)
    metrics = measure(probabilities, labels, NAMES, POSITIVE, resamples=4000)
    predicted = probabilities.argmax(axis=1)
    scores = probabilities[:, 1:].sum(axis=1)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        rows = rng.integers(300, size=300)
        f1 = precision_recall_fscore_support(labels[rows], predicted[rows])[2]
        area = roc_auc_score(labels[rows] > 0, scores[rows])
        drawn.append([f1.mean(), f1[1], accuracy_score(labels[rows], predicted[rows]), area])
    expected = np.percentile(drawn, [2.5, 97.5], axis=0).T
    measured = [
        metrics.macro_f1.interval95,
        metrics.classes[1].f1.interval95,
        metrics.accuracy.interval95,
        metrics.auroc_offensive.interval95,
    ]
    # 400 draws place a 2.5 % quantile to within about a tenth of the interval's width.
    width = expected[:, 1] - expected[:, 0]
    assert (np.abs(np.array(measured) - expected) < 0.15 * width[:, None]).all()


def test_intervals_hold_the_value_and_narrow_with_more_posts() -> None:
    widths = []
    for n in (200, 3200):
        probabilities, labels = predictions(n)
        for _, each in measure(probabilities, labels, NAMES, POSITIVE).named():
            assert each.interval95[0] <= each.value <= each.interval95[1]
        low, high = measure(probabilities, labels, NAMES, POSITIVE).macro_f1.interval95
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_seed_decides_the_resamples() -> None:
    probabilities, labels = predictions(200)
    first, again, other = (
        measure(probabilities, labels, NAMES, POSITIVE, resamples=500, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.macro_f1.interval95 != other.macro_f1.interval95
    assert first.macro_f1.value == other.macro_f1.value


def test_order_of_posts_does_not_matter() -> None:
    probabilities, labels = predictions(200)
    order = np.random.default_rng(0).permutation(200)
    here, there = (
        measure(probabilities[rows], labels[rows], NAMES, POSITIVE, resamples=100) for rows in (slice(None), order)
    )
    assert here.macro_f1 == there.macro_f1
    assert here.auroc_offensive.value == pytest.approx(there.auroc_offensive.value)
    assert here.calibration_error == pytest.approx(there.calibration_error)


def test_two_thousand_resamples_of_two_thousand_posts_are_quick() -> None:
    probabilities, labels = predictions(2000)
    start = time.perf_counter()
    measure(probabilities, labels, NAMES, POSITIVE, resamples=2000)
    assert time.perf_counter() - start < 2


def test_difference_is_paired() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 400)
    predicted = labels.copy()
    predicted[:100] = (labels[:100] + 1) % 3
    same = macro_f1_difference(predicted, predicted, labels, 3)
    assert (same.value, same.interval95) == (0, (0, 0))
    better = predicted.copy()
    better[:8] = labels[:8]
    gain = macro_f1_difference(better, predicted, labels, 3)
    loss = macro_f1_difference(predicted, better, labels, 3)
    f1 = [precision_recall_fscore_support(labels, each)[2].mean() for each in (better, predicted)]
    assert gain.value == pytest.approx(f1[0] - f1[1])
    assert loss.value == pytest.approx(-gain.value)
    # Eight posts more of the same kind: surely better, where two separate intervals would overlap.
    assert gain.interval95[0] > 0


def test_confusion_has_true_classes_as_rows() -> None:
    counts = confusion_counts(np.array([1, 1, 0]), np.array([0, 1, 0]), 2)
    assert counts.tolist() == [[1, 1], [0, 1]]


def test_calibration_error_in_closed_form() -> None:
    # Sure at 0.9 and right in 3 of 4; at 0.6 and right in 1 of 2: 4/6 * 0.15 + 2/6 * 0.1.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


def test_calibration_error_of_certain_and_of_calibrated_answers() -> None:
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_calibration_error(certain, np.array([0, 0])) == 0
    assert expected_calibration_error(certain, np.array([1, 1])) == 1
    rng = np.random.default_rng(0)
    top = rng.uniform(0.5, 1, 200_000)
    labels = (rng.random(200_000) > top).astype(np.int64)
    assert expected_calibration_error(np.stack([top, 1 - top], axis=1), labels) < 0.005


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((2, 3)) / 3, np.array([0]), "do not fit"),
        (np.ones((0, 3)), np.array([], dtype=np.int64), "do not fit"),
        (np.array([[2.0, 1.0, -2.0]]), np.array([0]), "softmax"),
        (np.ones((2, 3)) / 3, np.array([0, 0]), "All posts are offensive, or none is"),
    ],
)
def test_wrong_input(probabilities: Floats, labels: Integers, message: str) -> None:
    with pytest.raises(DsLoraError, match=message):
        measure(probabilities, labels, NAMES, POSITIVE)
