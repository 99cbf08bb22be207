"""Measures of a classifier on labelled posts, with bootstrap intervals.

Accuracy, precision, recall and F1 are functions of the confusion counts alone. Drawing n posts with
replacement and counting again is one multinomial draw from those counts, so a resample costs L² numbers
instead of n. Intervals are percentile intervals (Efron and Tibshirani 1993, section 13.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dslora.errors import DsLoraError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

RESAMPLES: Final = 2000
CALIBRATION_BINS: Final = 15
_CONFIDENCE: Final = 0.95
# Resamples of single posts are drawn in blocks of this many counts, 16 MB, whatever the number of posts.
_BLOCK: Final = 2_000_000


@dataclass(frozen=True)
class Measurement:
    """A value and its 95 % bootstrap interval."""

    value: float
    interval95: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval95
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class ClassMetrics:
    """Measures of one class against the rest; `support` is its number of posts."""

    label: str
    support: int
    precision: Measurement
    recall: Measurement
    f1: Measurement


@dataclass(frozen=True)
class Metrics:
    """Measures of one split.

    Attributes:
        n: posts.
        accuracy: share of posts whose most probable class is the true one.
        macro_f1: unweighted mean of the classes' F1.
        f1_of_means: harmonic mean of the classes' mean precision and mean recall: GermEval 2018's own measure.
        classes: in the order of the labels.
        confusion: posts by true (row) and predicted (column) class.
        calibration_error: expected calibration error, 15 equal-width bins of the top probability.
        auroc_offensive: area under the ROC curve of `offensive`, the summed probability of positive labels.
    """

    n: int
    accuracy: Measurement
    macro_f1: Measurement
    f1_of_means: Measurement
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    auroc_offensive: Measurement

    def named(self) -> Iterator[tuple[str, Measurement]]:
        """Every measure that has an interval, under the name that a bundle's manifest gives it."""
        yield "macroF1", self.macro_f1
        yield "f1OfMeans", self.f1_of_means
        yield "accuracy", self.accuracy
        for each in self.classes:
            yield f"f1:{each.label}", each.f1
            yield f"precision:{each.label}", each.precision
            yield f"recall:{each.label}", each.recall
        yield "aurocOffensive", self.auroc_offensive


def measure(
    probabilities: Floats,
    labels: Integers,
    names: Sequence[str],
    positive_labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """Measure predictions against true classes.

    Where a ratio has nothing under it (no post predicted as a class, say), it counts as 0.

    Args:
        probabilities: [n, L], rows sum to 1. The prediction is the most probable class, the first on a tie.
        labels: true classes, [n], in [0, L).
        names: the L class names.
        positive_labels: those that mean offensive.
        resamples: bootstrap resamples behind each interval.
        seed: of the resampling.

    Raises:
        DsLoraError: shapes do not fit, there are no posts, or the values are not probabilities.
    """
    _check(probabilities, labels, len(names))
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_counts(predicted, labels, len(names))
    rng = np.random.default_rng(seed)
    drawn = _resample(confusion, resamples, rng)
    accuracy = _with_interval(_accuracy(confusion), _accuracy(drawn))
    precision, recall, f1 = by_class(confusion)
    precisions, recalls, f1s = by_class(drawn)
    return Metrics(
        n=len(labels),
        accuracy=accuracy,
        macro_f1=_with_interval(f1.mean(), f1s.mean(axis=-1)),
        f1_of_means=_with_interval(f1_of_means(precision, recall), f1_of_means(precisions, recalls)),
        classes=tuple(
            ClassMetrics(
                label=name,
                support=int(confusion[index].sum()),
                precision=_with_interval(precision[index], precisions[:, index]),
                recall=_with_interval(recall[index], recalls[:, index]),
                f1=_with_interval(f1[index], f1s[:, index]),
            )
            for index, name in enumerate(names)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration_error=expected_calibration_error(probabilities, labels),
        auroc_offensive=_auroc_with_interval(
            offensive(probabilities, names, positive_labels),
            is_positive(labels, names, positive_labels),
            resamples,
            rng,
        ),
    )


def macro_f1_difference(
    predicted: Integers,
    other: Integers,
    labels: Integers,
    classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Measurement:
    """Macro-F1 of `predicted` less that of `other` on the same posts, with a paired bootstrap interval.

    Both are measured on each resample, so what the posts have in common cancels.

    Args:
        predicted: classes, [n].
        other: classes, [n].
        labels: true classes, [n].
        classes: number of classes.
        resamples: bootstrap resamples.
        seed: of the resampling.
    """
    cells = (labels * classes + predicted) * classes + other
    joint = np.bincount(cells, minlength=classes**3).reshape(classes, classes, classes)
    drawn = _resample(joint, resamples, np.random.default_rng(seed))

    def difference(counts: Integers) -> NDArray[np.float64]:
        first, second = (by_class(counts.sum(axis=axis))[2].mean(axis=-1) for axis in (-1, -2))
        return np.asarray(first - second)

    return _with_interval(difference(joint), difference(drawn))


def confusion_counts(predicted: Integers, labels: Integers, classes: int) -> Integers:
    """Count posts by true (row) and predicted (column) class, [L, L]."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def expected_calibration_error(probabilities: Floats, labels: Integers, bins: int = CALIBRATION_BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of the top probability.

    Guo et al. 2017 (arXiv 1706.04599), equation 3; bins are open below and closed above.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Probability that a positive scores above a negative, ties counting half; None if a side is empty.

    Args:
        scores: [n].
        positive: [n].
    """
    if positive.all() or not positive.any():
        return None
    return float(_weighted_auroc(scores, positive, np.ones((1, len(scores)), dtype=np.int64))[0])


def offensive(probabilities: Floats, names: Sequence[str], positive_labels: Sequence[str]) -> Floats:
    """Sum the probabilities of the positive labels, [n], in [0, 1]."""
    columns = [names.index(label) for label in positive_labels]
    return np.asarray(np.minimum(probabilities[:, columns].sum(axis=1), 1))


def is_positive(labels: Integers, names: Sequence[str], positive_labels: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each post whether its true class is a positive one, [n]."""
    return np.isin(labels, [names.index(label) for label in positive_labels])


def _check(probabilities: Floats, labels: Integers, classes: int) -> None:
    if probabilities.shape != (len(labels), classes) or not len(labels):
        raise DsLoraError(
            f"Probabilities of shape {probabilities.shape} do not fit {len(labels)} labels of {classes} "
            "classes. Expected [n, L] with n > 0. Evaluate all posts of the split with the model they "
            "belong to."
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3) or probabilities.min() < 0:
        raise DsLoraError(
            "The values are not probabilities. Expected rows of numbers from 0 that sum to 1. Apply the softmax first."
        )


def _resample(counts: Integers, resamples: int, rng: np.random.Generator) -> Integers:
    n = counts.sum()
    return rng.multinomial(n, counts.ravel() / n, size=resamples).reshape(resamples, *counts.shape)


def _resample_posts(n: int, resamples: int, rng: np.random.Generator) -> Integers:
    """How often each post is drawn, [resamples, n]."""
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n)


def _accuracy(confusion: Integers) -> NDArray[np.float64]:
    return np.asarray(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def by_class(confusion: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1, each [..., L], of confusion counts [..., L, L]."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    actual = confusion.sum(axis=-1)
    claimed = confusion.sum(axis=-2)
    return _ratio(hits, claimed), _ratio(hits, actual), _ratio(2 * hits, actual + claimed)


def f1_of_means(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """GermEval 2018's measure of precision and recall by class, each [..., L]: [...]."""
    mean_precision, mean_recall = precision.mean(axis=-1), recall.mean(axis=-1)
    below = mean_precision + mean_recall
    ratio = np.divide(2 * mean_precision * mean_recall, below, out=np.zeros(np.shape(below)), where=below > 0)
    return np.asarray(ratio)


def _ratio(above: Integers, below: Integers) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros(below.shape), where=below > 0)


def _with_interval(value: Any, drawn: NDArray[np.float64]) -> Measurement:
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Measurement(float(value), (float(low), float(high)))


def _auroc_with_interval(
    scores: Floats, positive: NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> Measurement:
    value = auroc(scores, positive)
    if value is None:
        raise DsLoraError(
            "All posts are offensive, or none is, so they cannot be told apart. Expected both in the split. "
            "Evaluate on more posts."
        )
    n = len(scores)
    block = max(1, _BLOCK // n)
    drawn = [
        _weighted_auroc(scores, positive, _resample_posts(n, min(block, resamples - start), rng))
        for start in range(0, resamples, block)
    ]
    return _with_interval(value, np.concatenate(drawn))


def _weighted_auroc(scores: Floats, positive: NDArray[np.bool_], weights: Integers) -> NDArray[np.float64]:
    """Area by the rank sum, for each row of post counts [resamples, n]; 0.5 where a side is empty."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    counts = weights[:, order]
    above = np.add.reduceat(np.where(positive[order], counts, 0), starts, axis=1)
    below = np.add.reduceat(np.where(positive[order], 0, counts), starts, axis=1)
    wins = (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return np.asarray(np.divide(wins, pairs, out=np.full(len(pairs), 0.5), where=pairs > 0))
