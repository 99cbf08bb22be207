"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dslora.evaluation.metrics import Floats, Integers

# Beyond these the answer says more about too few posts than about the model.
_COLDEST: Final = 0.05
_HOTTEST: Final = 20.0


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """Find the T that makes softmax(logits / T) most likely on held-out posts.

    The negative log-likelihood is convex in 1/T, so a bounded search finds its one minimum. Where every
    post is classified rightly it falls for ever as T goes to 0: the posts then say nothing about T, and 1
    is returned.

    Args:
        logits: [n, L].
        labels: true classes, [n].

    Returns:
        T in [0.05, 20].
    """
    rows = np.arange(len(labels))
    wide = logits.astype(np.float64)
    others = wide.copy()
    others[rows, labels] = -np.inf
    if (wide[rows, labels] > others.max(axis=1)).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(wide / math.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(
        loss,
        bounds=(math.log(_COLDEST), math.log(_HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(float(found.x))
