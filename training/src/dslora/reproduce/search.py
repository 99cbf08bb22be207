"""Which kind of gate and of penalty beats LoRA at equal parameters.

Candidates are compared on the development split in rounds: all with one seed, the best third of them with a second
one, and so on (successive halving, Jamieson and Talwalkar 2016; by thirds as in Hyperband, Li et al. 2018). The best of
many is partly the luckiest, in its seeds and on those texts, so it is trained again with seeds that chose nothing,
beside plain LoRA with as many trainable parameters: only their difference on the test split says whether it wins.
"""

import math
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
# One of so many goes on to the next round, but never fewer than the finalists, which every further seed then compares.
_FACTOR: Final = 3
_FINALISTS: Final = 3
_DEVELOPMENT: Final = "development"


def rounds(experiment: Experiment, preset: Preset, base: str, data: str, results: Results) -> list[list[Row]]:
    """Every round that is complete: its candidates, the best first, compared with seeds 0 to the round's own number.

    A candidate that could not be run takes part in none. No rounds while one is missing altogether.
    """
    rows = gather(experiment, preset, base, data, results)
    if len(rows) < len(experiment.rows(preset)):
        return []
    left = [row for row in rows if row.by_seed]
    candidates = len(left)
    complete: list[list[Row]] = []
    while left and all(len(complete) in row.by_seed for row in left):
        seeds = range(len(complete) + 1)
        complete.append(sorted(left, key=lambda row: -_score(row, seeds)))
        left = complete[-1][: _kept(candidates, len(complete))]
    return complete


def _score(row: Row, seeds: Sequence[int]) -> float:
    return row.outcomes(seeds, split=_DEVELOPMENT).mean(macro_f1)


def _kept(candidates: int, number: int) -> int:
    """How many of the candidates take part in a round; the first has number 0."""
    share: int = _FACTOR**number
    return max(_FINALISTS, math.ceil(candidates / share))


def needed(experiment: Experiment, preset: Preset, seeds: int, results: Results) -> list[Cell]:
    """Cells of the first round and, for each base and data set, of the first one that is not complete.

    After the last round, ``seeds`` of them, come the best candidate and plain LoRA with as many fresh seeds.
    """
    cells = plan(experiment, preset, [0], results)
    for base in preset.bases:
        for data in experiment.data:
            complete = rounds(experiment, preset, base, data, results)
            if not complete:
                continue
            if len(complete) < seeds:
                left = complete[-1][: _kept(len(complete[0]), len(complete))]
                variants, chosen = tuple(row.variant for row in left), range(len(complete), len(complete) + 1)
            else:
                variants, chosen = _pair(complete[-1][0].variant), range(FRESH, FRESH + seeds)
            again = replace(experiment, data=(data,), rows=_only(variants))
            cells += plan(again, replace(preset, bases=(base,)), chosen, results)
    return cells


def _pair(variant: Variant) -> tuple[Variant, Variant]:
    return variant, references(variant)[1]


def _only(variants: tuple[Variant, ...]) -> Callable[[Preset], tuple[Variant, ...]]:
    return lambda preset: variants


def search(experiment: Experiment, preset: Preset, base: str, data: str, results: Results) -> list[str]:
    """Candidates, the furthest and best first, and whether fresh seeds confirm the best one. Lines of Markdown."""
    complete = rounds(experiment, preset, base, data, results)
    if not complete:
        return []
    winner = complete[-1][0]
    last = range(len(complete))
    # Not candidates, but what a reader compares them with.
    known = [gather_row(row, preset, base, data, results, last) for row in references(winner.variant)]
    beside = [row for row in known if row is not None and row.by_seed.keys() == set(last)]
    finalists = sorted((*complete[-1], *beside), key=lambda row: -_score(row, last))
    standing = [(row, last) for row in finalists]
    for number in reversed(range(len(complete) - 1)):
        gone_on = {row.label for row in complete[number + 1]}
        standing += [(row, range(number + 1)) for row in complete[number] if row.label not in gone_on]
    lines = [
        [
            f"{row.label} (reference)" if row in beside else row.label,
            str(len(seeds)),
            measured(row.outcomes(seeds, split=_DEVELOPMENT).interval(macro_f1)),
            differing(row.gate_worth(seeds, _DEVELOPMENT)) if row.gated else NOTHING,
            f"{row.mean(lambda result: result['zeros'], seeds):.1%}",
            f"{row.any['parameters']:,}",
        ]
        for row, seeds in standing
    ]
    further = "".join(f", the best {len(rows)} with {number}" for number, rows in enumerate(complete[1:], 2))
    return [
        f"{len(complete[0])} candidates, compared on the {winner.any[_DEVELOPMENT]['n']:,} texts of the development "
        f"split alone: all with one seed{further}. The best of many is partly the luckiest: only seeds that chose "
        "nothing, on the test split, say whether it wins. Epochs are chosen on the development split too, with gates "
        "as learnt: what gates are worth comes out a little too high there.",
        "",
        *table(
            ["candidate", "seeds", "development macro-F1", "gates as learnt less fixed", "zeros", "parameters"], lines
        ),
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
