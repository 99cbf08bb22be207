"""What a sweep tries: choices and ranges by option name."""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from dslora.errors import DsLoraError
from dslora.methods import Method


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A number between two, both included."""

    low: float
    high: float
    logarithmic: bool
    whole: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Both, as whole numbers where all are."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


Space = Mapping[str, Choices | Range]


def parse_space(texts: Iterable[str]) -> dict[str, Choices | Range]:
    """``rank=4,8,16`` is a choice; ``learning-rate=1e-4..1e-2`` a range, logarithmic where it spans a factor of ten.

    Raises:
        DsLoraError: A text is neither.
    """
    space: dict[str, Choices | Range] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-")
        if not equals or not re.fullmatch(r"[a-z0-9-]+", name) or not values:
            raise DsLoraError(f"{text!r} is no search. Expected NAME=A,B,C or NAME=LOW..HIGH, such as rank=4,8,16.")
        low, dots, high = values.partition("..")
        space[name] = _range(text, low, high) if dots else Choices(tuple(values.split(",")))
    return space


def _range(text: str, low: str, high: str) -> Range:
    try:
        first, last = float(low), float(high)
    except ValueError as error:
        raise DsLoraError(f"{text!r}: the ends of a range must be numbers.") from error
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise DsLoraError(f"{text!r}: the first end of a range must be below the second.")
    whole = re.fullmatch(r"\d+", low) is not None and re.fullmatch(r"\d+", high) is not None
    return Range(first, last, logarithmic=first > 0 and last / first >= 10, whole=whole)


def default_space(method: Method) -> dict[str, Choices | Range]:
    """What is worth a search for a method: sizes it has, its learning rate, and lambda where it is sparse."""
    names = {field.name for field in dataclasses.fields(method.settings)}
    texts = ["learning-rate=1e-4..1e-2"]
    texts += ["rank=4,8,16", "alpha=8,16,32"] if "rank" in names else []
    # AdaLoRA starts above the rank that it ends with.
    texts += ["initial-rank=24"] if "initial_rank" in names else []
    texts += ["bottleneck=8,16,32,64"] if "bottleneck" in names else []
    texts += ["gate-hidden=0,16,32"] if "gate_hidden" in names else []
    texts += ["gate-learning-rate=1e-4..1e-2"] if method.gated else []
    texts += ["l1-strength=0.1..0.7"] if method.sparse else []
    return parse_space(texts)


def largest(space: Space) -> Iterator[dict[str, Any]]:
    """Settings that need the most memory: numbers at their largest, with each value of what is no number."""
    numbers: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for name, what in space.items():
        if isinstance(what, Range):
            numbers[name] = what.ends[1]
            continue
        try:
            numbers[name] = max(what.values, key=float)
        except ValueError:
            others += [(name, value) for value in what.values]
    for name, value in others:
        yield {**numbers, name: value}
    if not others:
        yield numbers


def suggest(trial: optuna.Trial, name: str, what: Choices | Range) -> Any:
    """Optuna's next value of a setting."""
    if isinstance(what, Choices):
        return trial.suggest_categorical(name, what.values)
    if what.whole:
        low, high = what.ends
        return trial.suggest_int(name, int(low), int(high), log=what.logarithmic)
    return trial.suggest_float(name, what.low, what.high, log=what.logarithmic)
