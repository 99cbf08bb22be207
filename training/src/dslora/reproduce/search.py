"""Which kind of gate and of penalty beats LoRA at equal parameters.

Candidates are compared on the development split. The best of many is partly the luckiest, in its seeds and on those
texts, so it is trained again with seeds that chose nothing, beside plain LoRA with as many trainable parameters: only
their difference on the test split says whether it wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from dslora.reproduce.bootstrap import macro_f1
from dslora.reproduce.cell import Cell
from dslora.reproduce.experiments import Experiment, Variant, references
from dslora.reproduce.markdown import NOTHING, bullets, differing, measured, table
from dslora.reproduce.plan import plan
from dslora.reproduce.presets import Preset
from dslora.reproduce.results import Results
from dslora.reproduce.rows import MOST_SEEDS, Row, gather, gather_row
from dslora.reproduce.statement import compared, gate_worth

# Far above those of any table, which would show them otherwise.
FRESH: Final = 100
_DEVELOPMENT: Final = "development"


def best(rows: Sequence[Row], seeds: Sequence[int]) -> Row:
    """The candidate with the best development macro-F1 over those seeds, the first on a tie."""
    return max(rows, key=lambda row: row.outcomes(seeds, split=_DEVELOPMENT).mean(macro_f1))


def candidates(
    experiment: Experiment, preset: Preset, base: str, data: str, results: Results
) -> tuple[list[Row], list[int]]:
    """Candidates that could be run, and the seeds that all of them have; none while one is missing altogether."""
    rows = gather(experiment, preset, base, data, results)
    if len(rows) < len(experiment.rows(preset)):
        return [], []
    tried = [row for row in rows if row.by_seed]
    return tried, sorted(set.intersection(*(set(row.by_seed) for row in tried))) if tried else []


def confirmation(experiment: Experiment, preset: Preset, seeds: int, results: Results) -> list[Cell]:
    """What the best candidate and plain LoRA need with fresh seeds; nothing while a candidate lacks a seed."""
    cells: list[Cell] = []
    for base in preset.bases:
        for data in experiment.data:
            rows, common = candidates(experiment, preset, base, data, results)
            if not set(common) >= set(range(seeds)):
                continue
            again = replace(experiment, data=(data,), rows=_only(_pair(best(rows, common).variant)))
            cells += plan(again, replace(preset, bases=(base,)), range(FRESH, FRESH + seeds), results)
    return cells


def _pair(variant: Variant) -> tuple[Variant, Variant]:
    return variant, references(variant)[1]


def _only(variants: tuple[Variant, ...]) -> Callable[[Preset], tuple[Variant, ...]]:
    return lambda preset: variants


def search(experiment: Experiment, preset: Preset, base: str, data: str, results: Results) -> list[str]:
    """Candidates, the best first, and whether fresh seeds confirm the best one. Lines of Markdown."""
    rows, seeds = candidates(experiment, preset, base, data, results)
    if not seeds:
        return []
    winner = best(rows, seeds)
    # Not candidates, but what a reader compares them with.
    known = [gather_row(row, preset, base, data, results, seeds) for row in references(winner.variant)]
    beside = [row for row in known if row is not None and row.by_seed.keys() == set(seeds)]
    scored = [(row, row.outcomes(seeds, split=_DEVELOPMENT).interval(macro_f1)) for row in (*rows, *beside)]
    lines = [
        [
            f"{row.label} (reference)" if row in beside else row.label,
            measured(score),
            differing(row.gate_worth(seeds, _DEVELOPMENT)) if row.gated else NOTHING,
            f"{row.mean(lambda result: result['zeros']):.1%}",
            f"{row.any['parameters']:,}",
        ]
        for row, score in sorted(scored, key=lambda pair: -pair[1].value)
    ]
    return [
        f"{len(rows)} candidates, {len(seeds)} seeds each, compared on the {winner.any[_DEVELOPMENT]['n']:,} texts of "
        "the development split alone. The best of many is partly the luckiest: only seeds that chose nothing, on the "
        "test split, say whether it wins.",
        "",
        *table(["candidate", "development macro-F1", "gates as learnt less fixed", "zeros", "parameters"], lines),
        *bullets(_confirmed(winner, preset, base, data, results)),
    ]


def _confirmed(winner: Row, preset: Preset, base: str, data: str, results: Results) -> list[str]:
    """What the fresh seeds that both have say."""
    chosen = f"Best on the development split: {winner.label}."
    found = [
        gather_row(variant, preset, base, data, results, range(FRESH, FRESH + MOST_SEEDS))
        for variant in _pair(winner.variant)
    ]
    ours, reference = found
    if ours is None or reference is None:
        return [f"{chosen} Not tried with fresh seeds yet."]
    less = ours.less(reference)
    if less is None:
        return [f"{chosen} Not tried with fresh seeds yet."]
    seeds = sorted(ours.by_seed.keys() & reference.by_seed.keys())
    values = [row.outcomes(seeds).interval(macro_f1) for row in (ours, reference)]
    sentences = [
        f"{chosen} Trained again with {len(seeds)} fresh seeds ({ours.any['parameters']:,} parameters) beside "
        f"{reference.label} ({reference.any['parameters']:,}); macro-F1 on the {ours.any[ours.split]['n']:,} texts of "
        f"the {ours.split} split: {measured(values[0])} and {measured(values[1])}.",
        compared(ours.label, reference.label, less),
    ]
    if ours.gated:
        worth = ours.gate_worth(seeds)
        sentences.append(
            gate_worth(ours.label, worth)
            if worth.seen
            else f"{ours.label}, fresh seeds: fixing every gate to its mean changes nothing that could be seen "
            f"({differing(worth)})."
        )
    return sentences
