"""Pieces of Markdown."""

from collections.abc import Callable, Mapping, Sequence

from dslora.evaluation.metrics import Measurement
from dslora.reproduce.bootstrap import Difference
from dslora.reproduce.statement import points

NOTHING = "—"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one after it."""
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def measured(value: Measurement) -> str:
    """Points with interval."""
    low, high = value.interval95
    return f"{points(value.value)} [{points(low)}, {points(high)}]"


def differing(value: Difference | None) -> str:
    """Signed points with interval; bold where the interval excludes 0."""
    if value is None:
        return NOTHING
    low, high = value.interval95
    text = f"{points(value.value, True)} [{points(low, True)}, {points(high, True)}]"
    return f"**{text}**" if value.seen else text


def detectable(value: Difference | None) -> str:
    """Points of the smallest difference that would have been seen."""
    return NOTHING if value is None or value.detectable is None else points(value.detectable)


def across(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Mean over seeds, and the lowest and highest of one: three seeds or so have no interval worth the name."""
    mean = shown(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({shown(min(values))} to {shown(max(values))})"


def over(ratio: Mapping[str, float] | None) -> str:
    """Signed percent over a reference with interval, of what :func:`dslora.turns.ratio` measured."""
    if ratio is None:
        return NOTHING
    return f"{percent(ratio['ratio'])} [{percent(ratio['low'])}, {percent(ratio['high'])}]"


def percent(ratio: float | None) -> str:
    """Signed percent over a reference."""
    return NOTHING if ratio is None else f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def bullets(sentences: Sequence[str]) -> list[str]:
    """A list, and an empty line after it; nothing of nothing."""
    return [*(f"- {sentence}" for sentence in sentences), ""] if sentences else []
