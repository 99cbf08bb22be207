"""Times of several models, taken in turns, and what they say.

Machines change their speed from one second to the next, so only ratios of neighbours are compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dslora.plan import Plan
from dslora.plan.fit import size

_RESAMPLES = 2_000


def groups(plans: Mapping[str, Plan], reference: str, memory: float) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Who takes turns with whom, since those who do are in memory at once.

    Args:
        plans: What each needs, by the estimate of ``dslora plan``.
        reference: Whom the others are compared with.
        memory: Bytes that there are.

    Returns:
        All in one group where they fit beside each other, else each other one with the reference alone; and of those
        who don't fit even so, the reason.
    """
    others = [name for name in plans if name != reference]
    if _together([*plans.values()]) <= memory:
        return [tuple(plans)], {}
    pairs: list[tuple[str, ...]] = []
    refused: dict[str, str] = {}
    for name in others:
        needed = _together([plans[reference], plans[name]])
        if needed <= memory:
            pairs.append((reference, name))
        else:
            refused[name] = (
                f"{name} of {plans[name].spec.base} takes turns with {reference}, so both are in memory at once: "
                f"about {size(needed)}, and there are {size(memory)} ({plans[name].device})."
            )
    return pairs, refused


def _together(plans: Sequence[Plan]) -> float:
    """Bytes of models that are all loaded and trained one at a time."""
    weights = sum(plan.memory.base + plan.memory.trained + plan.memory.state for plan in plans)
    step = max(plan.memory.activations + plan.memory.transient for plan in plans)
    return weights + step + plans[0].memory.process


def take_turns(
    names: Sequence[str],
    rounds: int,
    warm_up: int,
    timed: Callable[[str, int], float],
    finished: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Seconds of each name in each round.

    Everybody starts a round equally often: who comes after a long batch of another finds a warmer cache.

    Args:
        names: Who is timed.
        rounds: How often, the warm-up among them.
        warm_up: Rounds at the beginning that do not count.
        timed: Runs one of them in the round of that number, and says how long it took.
        finished: Told the number of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            taken = timed(name, number)
            if number >= warm_up:
                seconds[name].append(taken)
        finished(number)
    return seconds


def ratio(seconds: list[float], reference: list[float], seed: int) -> dict[str, float]:
    """Time over the reference's, with a 95 % interval by bootstrap over batches.

    The median over batches of the ratio of neighbours, weighed by the batch's own time: one disturbed step moves a
    sum, not this.
    """
    own, other = np.asarray(seconds), np.asarray(reference)
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(own), (_RESAMPLES, len(own)))
    resampled = [_weighted_median(own[rows] / other[rows], other[rows]) for rows in chosen]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "ratio": round(_weighted_median(own / other, other), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "ratioOfSums": round(float(own.sum() / other.sum()), 4),
    }


def _weighted_median(values: Any, weights: Any) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] / 2)])
