"""Intervals over seeds and examples at once, and what difference a run could have seen.

A figure of a method depends on which texts the test split happens to hold, and on which seeds it was trained with.
Both are drawn again, crossed: one resample draws n texts and S seeds with replacement, and all methods are measured
on the same draw. So what two methods share (hard texts, and with equal seeds the same training rows) cancels in
their difference. Source: Owen 2007, The pigeonhole bootstrap, section 2. With S seeds the variance between seeds
comes out too small by (S - 1) / S: three seeds give intervals that are somewhat too narrow, and one says nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dslora.evaluation.metrics import Integers, Measurement, by_class, confusion_counts, f1_of_means

Numbers = NDArray[np.float64]
# From confusion counts [..., L, L] to a number for each.
Measure = Callable[[Integers], Numbers]

# Limits of differences then move by about 0.03 points from one set of resamples to the next.
RESAMPLES: Final = 10_000
_SEED: Final = 0
# Resamples that are made, or counted in float32, at once.
_CHUNK: Final = 500
# 1.96 + 0.84: a true difference of so many standard errors is told from none at the 5 % level in 80 % of runs.
_DETECTABLE: Final = 2.80


def macro_f1(confusion: Integers) -> Numbers:
    """Mean of the classes' F1."""
    return np.asarray(by_class(confusion)[2].mean(axis=-1))


def f1_of_class(index: int) -> Measure:
    """F1 of one class."""
    return lambda confusion: by_class(confusion)[2][..., index]


def germeval(confusion: Integers) -> Numbers:
    """Harmonic mean of mean precision and mean recall, as GermEval 2018's script has it."""
    precision, recall, _ = by_class(confusion)
    return f1_of_means(precision, recall)


@dataclass(frozen=True, eq=False)
class Draws:
    """The resamples, the same for every method.

    Attributes:
        texts: How often each text is drawn, [resamples, n].
        seeds: Which seeds are drawn, as indices, [resamples, S].
    """

    texts: NDArray[np.uint8]
    seeds: Integers

    def confusions(self, predicted: Integers, truth: Integers, classes: int) -> Integers:
        """Counts of each seed's model on the drawn texts, [resamples, S, L, L].

        Args:
            predicted: Class indices of each seed's model, [S, n].
            truth: [n].
            classes: L.
        """
        # Whole numbers far below 2^24: sums in float32 are exact.
        cells = np.concatenate(
            [np.eye(classes * classes, dtype=np.float32)[truth * classes + row] for row in predicted], axis=1
        )
        counts = [self.texts[at : at + _CHUNK].astype(np.float32) @ cells for at in range(0, len(self.texts), _CHUNK)]
        return np.concatenate(counts).astype(np.int64).reshape(-1, len(predicted), classes, classes)

    def over_seeds(self, by_seed: Numbers) -> Numbers:
        """Mean over the drawn seeds of a number for each seed: [resamples, S] -> [resamples]."""
        return np.asarray(np.take_along_axis(by_seed, self.seeds, axis=1).mean(axis=1))


@lru_cache(maxsize=16)
def draw(texts: int, seeds: int, resamples: int = RESAMPLES) -> Draws:
    """Always the same resamples of so many texts and seeds; each combination of few seeds is drawn equally often."""
    if seeds**seeds <= resamples:
        every = np.resize(list(product(range(seeds), repeat=seeds)), (resamples, seeds))
        drawn = np.random.default_rng(_SEED).permutation(every)
    else:
        drawn = np.random.default_rng(_SEED).integers(seeds, size=(resamples, seeds))
    return Draws(_draw_texts(texts, resamples), drawn)


@lru_cache(maxsize=8)
def _draw_texts(texts: int, resamples: int) -> NDArray[np.uint8]:
    """How often each text is drawn, [resamples, n]."""
    rng = np.random.default_rng(_SEED)
    even = np.full(texts, 1 / texts)
    # No text is drawn 256 times where each is once on average.
    return np.concatenate(
        [
            rng.multinomial(texts, even, size=min(_CHUNK, resamples - at)).astype(np.uint8)
            for at in range(0, resamples, _CHUNK)
        ]
    )


@dataclass(frozen=True)
class Difference:
    """A method less its reference, paired by seed and text.

    Attributes:
        value, interval95: As measured; percentile interval.
        detectable: The smallest true difference that such a run tells from none in 80 % of cases (5 %, two-sided). None
            with one seed: how much seeds differ is then not known.
        seeds: That both have.
    """

    value: float
    interval95: tuple[float, float]
    detectable: float | None
    seeds: int

    @property
    def seen(self) -> bool:
        """Whether the interval excludes no difference, at the tenth of a point that tables show.

        Resamples tell no more: a limit nearer to 0 may lie on its other side with the next ones.
        """
        low, high = (round(100 * limit, 1) for limit in self.interval95)
        return low > 0 or high < 0


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Predictions of one method's models on one split.

    Attributes:
        predicted: Class indices, [S, n], in the order of the seeds.
        truth: [n].
        classes: L.
    """

    predicted: Integers
    truth: Integers
    classes: int

    def mean(self, measure: Measure) -> float:
        """Mean over seeds on the split as it is."""
        counts = [confusion_counts(row, self.truth, self.classes) for row in self.predicted]
        return float(measure(np.stack(counts)).mean())

    def drawn(self, measure: Measure) -> Numbers:
        """The same on each resample."""
        return draw(len(self.truth), len(self.predicted)).over_seeds(measure(self._confusions))

    def interval(self, measure: Measure) -> Measurement:
        """Mean over seeds with its interval."""
        return Measurement(self.mean(measure), _percentiles(self.drawn(measure)))

    @cached_property
    def _confusions(self) -> Integers:
        return draw(len(self.truth), len(self.predicted)).confusions(self.predicted, self.truth, self.classes)


def difference(measure: Measure, one: Outcomes, other: Outcomes) -> Difference:
    """``one`` less ``other``; both have the same seeds, in the same order, and the same texts."""
    drawn = one.drawn(measure) - other.drawn(measure)
    seeds = len(one.predicted)
    return Difference(
        one.mean(measure) - other.mean(measure),
        _percentiles(drawn),
        float(_DETECTABLE * drawn.std(ddof=1)) if seeds > 1 else None,
        seeds,
    )


def _percentiles(drawn: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
