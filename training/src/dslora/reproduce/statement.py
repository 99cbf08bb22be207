"""Sentences that follow from figures, so that nobody has to read a table to be told what it does not say."""

from dslora.reproduce.bootstrap import Difference


def points(value: float, signed: bool = False) -> str:
    """A share as points with one decimal, with a real minus sign."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-", "−")


def compared(label: str, reference: str, found: Difference, paper_gain: float | None = None) -> str:
    """What a difference says, and how it stands to the paper's.

    Args:
        label: The method.
        reference: What it is compared with.
        found: In shares of 1.
        paper_gain: The paper's difference, in points, where it is known.
    """
    interval = _interval(found)
    if found.seen:
        where = "above" if found.value > 0 else "below"
        sentence = f"{label} is {points(abs(found.value))} points {where} {reference} ({interval})."
    else:
        able = (
            ""
            if found.detectable is None
            else f"; a true difference of {points(found.detectable)} or more would have been seen in four of five such "
            "runs"
        )
        sentence = (
            f"{label}: no difference from {reference} seen ({points(found.value, True)} points, {interval}{able})."
        )
    # What one pair of runs says of the paper's mean is next to nothing.
    if paper_gain is None or found.seeds == 1:
        return sentence
    return f"{sentence} {_against_paper(found, paper_gain)}"


def _interval(found: Difference) -> str:
    low, high = (points(limit, True) for limit in found.interval95)
    return f"95 % interval{' of texts alone, one seed' if found.seeds == 1 else ''} {low} to {high}"


def _against_paper(found: Difference, gain: float) -> str:
    shown = points(gain / 100, True)
    low, high = found.interval95
    inside = low <= gain / 100 <= high
    if not inside:
        return f"The paper's {shown} lies outside the interval: it is not reproduced on this base."
    if found.seen:
        return f"The paper's {shown} lies inside the interval: it is reproduced."
    return f"The paper's {shown} lies inside the interval too: this run neither confirms it nor speaks against it."


def gate_worth(label: str, found: Difference) -> str:
    """What the gates' dependence on the text is worth, where it can be seen: as learnt less fixed to their mean."""
    interval = _interval(found)
    if found.value > 0:
        return f"{label}: the gates' dependence on the text is worth {points(found.value)} points ({interval})."
    return (
        f"{label}: the model is better with gates fixed to their mean, by {points(-found.value)} points ({interval})."
    )
