"""Which kind of gate and of penalty beats LoRA at equal parameters.

Candidates are compared on the development split. The best of many is partly the luckiest, so it is trained again with
seeds that chose nothing, beside plain LoRA with as many trainable parameters, and only that says whether it wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from dslora.reproduce.bootstrap import macro_f1
from dslora.reproduce.cell import Cell
from dslora.reproduce.experiments import EQUAL, Experiment, Variant
from dslora.reproduce.markdown import bullets, measured, table
from dslora.reproduce.plan import plan
from dslora.reproduce.presets import Preset
from dslora.reproduce.results import Results
from dslora.reproduce.rows import MOST_SEEDS, Row, gather, gather_row
from dslora.reproduce.statement import compared

# Far above those of any table, which would show them otherwise.
FRESH: Final = 100
_DEVELOPMENT: Final = "development"
# What decides how many parameters a gate has.
_GATE_SIZE: Final = ("gate_kind", "gate_hidden", "gate_shared")


def equal_to(variant: Variant) -> Variant:
    """Plain LoRA with as many trainable parameters as a candidate."""
    size = {name: value for name, value in variant.adapter.items() if name in _GATE_SIZE}
    return Variant(f"LoRA, parameters of {variant.label}" if size else EQUAL, "lora-equal", size, beyond=True)


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
    """What the best candidate and its LoRA need with fresh seeds; nothing while a candidate lacks a seed."""
    cells: list[Cell] = []
    for base in preset.bases:
        for data in experiment.data:
            rows, common = candidates(experiment, preset, base, data, results)
            if not set(common) >= set(range(seeds)):
                continue
            pair = replace(experiment, data=(data,), rows=_pair(best(rows, common).variant))
            cells += plan(pair, replace(preset, bases=(base,)), range(FRESH, FRESH + seeds), results)
    return cells


def search(experiment: Experiment, preset: Preset, base: str, data: str, results: Results) -> list[str]:
    """Candidates, the best first, and whether fresh seeds confirm the best one. Lines of Markdown."""
    rows, seeds = candidates(experiment, preset, base, data, results)
    if not seeds:
        return []
    scored = [(row, row.outcomes(seeds, split=_DEVELOPMENT).interval(macro_f1)) for row in rows]
    lines = [
        [
            row.label,
            measured(score),
            f"{row.mean(lambda result: result['zeros']):.1%}",
            f"{row.any['parameters']:,}",
        ]
        for row, score in sorted(scored, key=lambda pair: -pair[1].value)
    ]
    winner = best(rows, seeds)
    return [
        f"{len(rows)} candidates, {len(seeds)} seeds each, compared on the {winner.any[_DEVELOPMENT]['n']:,} texts of "
        "the development split alone. The best of many is partly the luckiest: only seeds that chose nothing say "
        "whether it wins.",
        "",
        *table(["candidate", "development macro-F1", "zeros", "parameters"], lines),
        *bullets(_confirmed(winner, preset, base, data, results)),
    ]


def _confirmed(winner: Row, preset: Preset, base: str, data: str, results: Results) -> list[str]:
    fresh = range(FRESH, FRESH + MOST_SEEDS)
    ours, reference = (
        gather_row(variant, preset, base, data, results, fresh) for variant in _pair(winner.variant)(preset)
    )
    if ours is None or reference is None or not ours.by_seed.keys() & reference.by_seed.keys():
        return [f"Best on the development split: {winner.label}. Not tried with fresh seeds yet."]
    sentences = [
        f"Best on the development split: {winner.label} ({ours.any['parameters']:,} parameters). Trained again with "
        f"fresh seeds beside {reference.label} ({reference.any['parameters']:,})."
    ]
    for split in dict.fromkeys((_DEVELOPMENT, ours.split)):
        less = ours.less(reference, split=split)
        assert less is not None
        values = " and ".join(measured(row.outcomes(split=split).interval(macro_f1)) for row in (ours, reference))
        sentences.append(
            f"Fresh seeds ({len(ours.by_seed)}), {split} split ({ours.any[split]['n']:,} texts): {values}. "
            f"{compared(ours.label, reference.label, less)}"
        )
    return sentences


def _pair(variant: Variant) -> Callable[[Preset], tuple[Variant, ...]]:
    return lambda preset: (variant, equal_to(variant))
