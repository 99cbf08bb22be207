"""The rows of a table, gathered from the results of their cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from dslora.evaluation.metrics import Measurement
from dslora.reproduce.bootstrap import Difference, Measure, Outcomes, difference, macro_f1
from dslora.reproduce.experiments import Experiment, Variant
from dslora.reproduce.paper import PUBLISHED, Published
from dslora.reproduce.plan import choose, make_cell
from dslora.reproduce.presets import Preset
from dslora.reproduce.results import Results, unpack

# Seeds that are looked for, whatever number a command asked for.
MOST_SEEDS: Final = 20


@dataclass(frozen=True)
class Row:
    """One row with at least one result, or with the reason why there is none.

    Attributes:
        variant: What it is.
        by_seed: The result of each seed that has one.
        refused: Why it could not be run.
        paper: What the paper's table says in this row.
    """

    variant: Variant
    by_seed: dict[int, dict[str, Any]]
    refused: str | None
    paper: Published | None

    @property
    def label(self) -> str:
        return self.variant.label

    @property
    def any(self) -> dict[str, Any]:
        """One of the results, for what is the same in all."""
        return next(iter(self.by_seed.values()))

    @property
    def split(self) -> str:
        """The split that figures come from: test, or development where the data set has no other."""
        return "test" if "test" in self.any else "development"

    @property
    def gated(self) -> bool:
        return bool(self.by_seed) and "gates" in self.any

    @property
    def development(self) -> float:
        """Macro-F1 on the development split, mean over seeds."""
        return self.mean(lambda result: result["development"]["macroF1"])

    def outcomes(self, seeds: Sequence[int] | None = None, fixed: bool = False, split: str | None = None) -> Outcomes:
        """Predictions on that split.

        Args:
            seeds: All that there are if absent.
            fixed: With gates fixed to their mean.
            split: Another split.
        """
        split = split or self.split
        chosen = [self.by_seed[seed] for seed in (self.by_seed if seeds is None else seeds)]
        predicted = [(result["gatesFixed"] if fixed else result)[split]["predicted"] for result in chosen]
        return _outcomes(tuple(predicted), self.any[split]["truth"], len(self.any["labels"]))

    def mean(self, value: Callable[[dict[str, Any]], float], seeds: Sequence[int] | None = None) -> float:
        """Mean over seeds, all if absent, of a number of the results."""
        return float(np.mean([value(self.by_seed[seed]) for seed in (self.by_seed if seeds is None else seeds)]))

    def interval(self, measure: Measure) -> Measurement:
        """Mean over seeds with its interval over seeds and texts."""
        return self.outcomes().interval(measure)

    def less(self, other: "Row", measure: Measure = macro_f1, split: str | None = None) -> Difference | None:
        """This row less another on the seeds that both have; None where there are none."""
        common = sorted(self.by_seed.keys() & other.by_seed.keys())
        if not common:
            return None
        return difference(measure, self.outcomes(common, split=split), other.outcomes(common, split=split))

    def gate_worth(self, seeds: Sequence[int] | None = None, split: str | None = None) -> Difference:
        """Gates as learnt less gates fixed to their mean, of one and the same models."""
        learnt, fixed = (self.outcomes(seeds, fixed, split) for fixed in (False, True))
        return difference(macro_f1, learnt, fixed)


@lru_cache(maxsize=128)
def _outcomes(predicted: tuple[str, ...], truth: str, classes: int) -> Outcomes:
    """Unpacked, and resampled once however many tables show it."""
    return Outcomes(np.stack([unpack(text) for text in predicted]), unpack(truth), classes)


def gather(experiment: Experiment, preset: Preset, base: str, data: str, results: Results) -> list[Row]:
    """Rows with something to show, in the table's order."""
    rows = []
    for variant in experiment.rows(preset):
        paper = PUBLISHED.get((experiment.name, data, variant.label))
        row = gather_row(variant, preset, base, data, results, range(MOST_SEEDS), paper)
        if row is not None:
            rows.append(row)
    return rows


def gather_row(
    variant: Variant,
    preset: Preset,
    base: str,
    data: str,
    results: Results,
    seeds: Sequence[int],
    paper: Published | None = None,
) -> Row | None:
    """One row of those seeds that have a result; None where there is nothing to show."""
    choice = choose(preset, base, data, variant, results)
    if choice is None:
        return None
    cells = [make_cell(preset, base, data, variant, seed, choice) for seed in seeds]
    found = {cell.seed: result for cell in cells if (result := results.load(cell)) is not None}
    refused = next((reason for cell in cells if (reason := results.refusal(cell))), None)
    return Row(variant, found, None if found else refused, paper) if found or refused else None


def reference_of(rows: Sequence[Row], row: Row) -> Row | None:
    """LoRA's row to compare with, of the same rank where a figure has several; None of itself or without results."""
    rank = row.variant.adapter.get("rank")
    for other in rows:
        if other.variant.method == "lora" and other.by_seed and other.variant.adapter.get("rank") == rank:
            return None if other is row else other
    return None
