"""Thresholds on `offensive` for different uses, chosen on the development split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dslora.errors import DsLoraError
from dslora.evaluation.metrics import Floats

TARGET_PRECISION: Final = 0.9
TARGET_RECALL: Final = 0.9
# A precision over fewer posts than this share is chance.
_LEAST_RECALL: Final = 0.05


@dataclass(frozen=True)
class Threshold:
    """Posts are flagged where `offensive` ≥ value; precision and recall of `flagged` as measured."""

    value: float
    precision: float
    recall: float


def measure_threshold(offensive: Floats, positive: NDArray[np.bool_], value: float) -> Threshold:
    """Measure a threshold. With nothing flagged, precision counts as 0.

    Args:
        offensive: [n], in [0, 1].
        positive: whether the true class is a positive one, [n].
        value: the threshold.
    """
    # In double precision: rounded to float32, a value between two scores can fall on the lower one.
    flagged = offensive.astype(np.float64) >= value
    hits = int((flagged & positive).sum())
    return Threshold(value, hits / max(int(flagged.sum()), 1), hits / max(int(positive.sum()), 1))


def choose_thresholds(offensive: Floats, positive: NDArray[np.bool_]) -> dict[str, Threshold]:
    """Choose one threshold a use, by the names that the manifest gives them.

    - balanced: the highest macro-F1 of flagged against not flagged; on a tie the one nearest to 0.5.
    - high-precision: the smallest with precision ≥ 0.9 and recall ≥ 0.05. If there is none, the highest
      precision with recall ≥ 0.05.
    - high-recall: the largest with recall ≥ 0.9.

    High precision is never below balanced, and high recall never above it.

    Each value lies midway between two neighbouring scores, so that rounding in the exported graph does not
    flip the post that it was measured at.

    Args:
        offensive: [n], in [0, 1].
        positive: whether the true class is a positive one, [n].

    Raises:
        DsLoraError: all posts are positive, or none is.
    """
    if positive.all() or not positive.any():
        raise DsLoraError(
            "All posts are offensive, or none is, so no threshold can be chosen. Expected both in the "
            "development split. Add posts of the missing kind."
        )
    order = np.argsort(offensive, kind="stable")
    # Cut k flags every post with score ≥ scores[k]; the first of them in ascending order is at starts[k].
    scores, starts = np.unique(offensive.astype(np.float64)[order], return_index=True)
    hits = positive[order][::-1].cumsum()[::-1][starts]
    flagged = len(offensive) - starts
    n_positive = int(positive.sum())
    precision = hits / flagged
    recall = hits / n_positive
    quiet = len(offensive) - flagged
    f1_flagged = 2 * hits / (flagged + n_positive)
    f1_quiet = 2 * (quiet - (n_positive - hits)) / (quiet + len(offensive) - n_positive)
    values = (scores + np.r_[0.0, scores[:-1]]) / 2

    macro_f1 = f1_flagged + f1_quiet
    best = np.flatnonzero(macro_f1 >= macro_f1.max() - 1e-12)
    enough = recall >= _LEAST_RECALL
    precise = np.flatnonzero(enough & (precision >= TARGET_PRECISION))
    balanced = int(best[np.abs(values[best] - 0.5).argmin()])
    high_precision = int(precise[0]) if len(precise) else int(np.where(enough, precision, -1).argmax())
    high_recall = int(np.flatnonzero(recall >= TARGET_RECALL)[-1])
    # A good model reaches both targets at the balanced threshold; the others then are that one, or stricter and
    # laxer as their names promise.
    cuts: dict[str, int] = {
        "balanced": balanced,
        "high-precision": max(high_precision, balanced),
        "high-recall": min(high_recall, balanced),
    }
    return {use: measure_threshold(offensive, positive, float(values[cut])) for use, cut in cuts.items()}
