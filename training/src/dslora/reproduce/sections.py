"""The report's sections, one function a kind of table. Each returns lines of Markdown."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from dslora.evaluation.metrics import Integers, by_class
from dslora.reproduce import paper
from dslora.reproduce.bootstrap import Difference, f1_of_class, germeval, macro_f1
from dslora.reproduce.markdown import NOTHING, across, bullets, detectable, differing, measured, table
from dslora.reproduce.results import unpack
from dslora.reproduce.rows import Row, reference_of
from dslora.reproduce.statement import compared, gate_worth, points

# Below this spread between texts a gate says next to nothing.
_CONSTANT: Final = 0.02
_EXAMPLES: Final = 20
# With fewer, an interval of 95 % for one system's accuracy is wider than 10 points.
_FEW_TEXTS: Final = 250


def comparison(rows: Sequence[Row], data: str) -> list[str]:
    """A table of methods beside the paper's figures, the differences from LoRA, and what they say."""
    measured_rows = [row for row in rows if row.by_seed]
    if not measured_rows:
        return refusals(rows)
    labels = measured_rows[0].any["labels"]
    head = ["method", "paper", "macro-F1", "less LoRA", "detectable", *(f"F1 {label}" for label in labels)]
    if data == "germeval2018":
        head.append("F1 of means")
    head += ["development", "zeros", "rank left", "parameters", "seeds"]
    lines, sentences = [], []
    for row in measured_rows:
        reference = reference_of(measured_rows, row)
        found = None if reference is None else row.less(reference)
        rank = [result["rank"]["left"] for result in row.by_seed.values()]
        of = row.any["rank"]["of"]
        lines.append(
            [
                row.label + (" ¹" if row.variant.beyond else ""),
                _published(row),
                measured(row.interval(macro_f1)),
                differing(found),
                detectable(found),
                *(measured(row.interval(f1_of_class(index))) for index in range(len(labels))),
                *([measured(row.interval(germeval))] if data == "germeval2018" else []),
                points(row.development),
                f"{row.mean(lambda result: result['zeros']):.1%}" if of else NOTHING,
                f"{np.mean(rank):.0f} of {of}" if of else NOTHING,
                f"{row.any['parameters']:,}",
                _seeds(row, found),
            ]
        )
        if found is not None and reference is not None:
            sentences.append(compared(row.label, reference.label, found, row.paper.gain if row.paper else None))
    split = measured_rows[0].split
    texts = measured_rows[0].any[split]["n"]
    note = f"{texts:,} texts of the {split} split. Points, mean over seeds, 95 % intervals in brackets."
    if split == "development":
        note += (
            " These data have no test split: each model's best epoch was chosen on these texts, so every figure is "
            "somewhat too high, and the intervals do not cover that."
        )
    if texts < _FEW_TEXTS:
        note += (
            f" One text is {points(1 / texts)} points of accuracy: so few tell apart only methods that differ widely."
        )
    if any(row.variant.beyond for row in measured_rows):
        note += " ¹ not in the paper's table."
    if any(len(row.by_seed) == 1 for row in measured_rows):
        note += " Of rows with one seed, intervals cover texts alone."
    sentences += _never_answered(measured_rows)
    return [note, "", *table(head, lines), *bullets(sentences + _refused(rows)), *_gates_of(measured_rows)]


def refusals(rows: Sequence[Row]) -> list[str]:
    """Rows that could not be run, and why."""
    return bullets(_refused(rows))


def _refused(rows: Sequence[Row]) -> list[str]:
    return [f"{row.label}: not run: {row.refused}" for row in rows if not row.by_seed]


def _never_answered(rows: Sequence[Row]) -> list[str]:
    """Models that have given a class up, which a macro-F1 alone does not say."""
    said = []
    for row in rows:
        predicted = row.outcomes().predicted
        for index, label in enumerate(row.any["labels"]):
            without = int((~(predicted == index).any(axis=1)).sum())
            if without:
                seeds = "" if len(row.by_seed) == 1 else f" with {without} of {len(row.by_seed)} seeds"
                said.append(f"{row.label} never answers {label}{seeds}: compare no other figure of it.")
    return said


def _seeds(row: Row, found: Difference | None) -> str:
    """How many, and how many the reference has too."""
    own = len(row.by_seed)
    return f"{own}" if found is None or found.seeds == own else f"{own}, of which LoRA has {found.seeds}"


def _published(row: Row) -> str:
    known = row.paper
    if known is None:
        return NOTHING
    parts = [
        *([f"{known.macro_f1:.1f}"] if known.macro_f1 is not None else []),
        *([f"{known.gain:+.1f} over LoRA"] if known.gain is not None else []),
        *(f"F1 {label} {value:.1f}" for label, value in known.f1.items()),
        *([known.note] if known.note else []),
    ]
    return "; ".join(parts)


def _gates_of(rows: Sequence[Row]) -> list[str]:
    """The control of every gated row: gates fixed to their mean over the development split."""
    gated = [row for row in rows if row.gated]
    if not gated:
        return []
    lines, sentences = [], []
    for row in gated:
        worth = row.gate_worth()
        labels = row.any["labels"]
        lines.append(
            [
                row.label,
                measured(row.outcomes(fixed=True).interval(macro_f1)),
                differing(worth),
                detectable(worth),
                *(f"{_mean_gate(row, index):.3f}" for index in range(len(labels))),
                f"{row.mean(lambda result: result['gates']['overall']['spread']):.3f}",
                f"{_module_spread(row):.3f}",
                _auroc(row, "aurocOffensive"),
                _auroc(row, "aurocError"),
            ]
        )
        if worth.seen:
            sentences.append(gate_worth(row.label, worth))
    head = [
        *("gates", "macro-F1, fixed to mean", "as learnt less fixed", "detectable"),
        *(f"mean gate, {label}" for label in gated[0].any["labels"]),
        *("spread of mean gate", "spread of single gates", "AUROC offensive", "AUROC error"),
    ]
    return ["What the gates are worth:", "", *table(head, lines), *bullets(sentences + _without_effect(gated))]


def _without_effect(gated: Sequence[Row]) -> list[str]:
    """Gates that say nothing, and gates whose saying changes nothing."""
    idle = [row.label for row in gated if not row.gate_worth().seen]
    flat = [f"{row.label} ({_module_spread(row):.3f})" for row in gated if _module_spread(row) < _CONSTANT]
    return [
        *([f"Fixing every gate to its mean changes nothing that could be seen: {'; '.join(idle)}."] if idle else []),
        *([f"Gates hardly differ between texts and so explain nothing: {'; '.join(flat)}."] if flat else []),
    ]


def _mean_gate(row: Row, index: int) -> float:
    return row.mean(lambda result: result["gates"]["overall"]["mean"][index])


def _module_spread(row: Row) -> float:
    return row.mean(lambda result: float(np.mean([module["spread"] for module in result["gates"]["modules"]])))


def _auroc(row: Row, name: str) -> str:
    values = [result["gates"]["overall"][name] for result in row.by_seed.values()]
    return NOTHING if None in values else f"{np.mean(values):.3f}"


def gates(rows: Sequence[Row]) -> list[str]:
    """Mean gates by class and group of layers."""
    shown = [row for row in rows if row.gated]
    if not shown:
        return []
    row = shown[0]
    labels = row.any["labels"]
    names = ("early", "middle", "late")
    lines = []
    for group in range(len(row.any["gates"]["groups"])):
        of = [result["gates"]["groups"][group] for result in row.by_seed.values()]
        first, last = of[0]["layers"]
        aurocs = [each["aurocOffensive"] for each in of]
        lines.append(
            [
                f"{names[group]} (layers {first}–{last})",
                *(
                    f"{np.mean([each['mean'][i] for each in of]):.3f} ± {np.mean([each['sd'][i] for each in of]):.3f} "
                    f"({_range([each['mean'][i] for each in of])})"
                    for i in range(len(labels))
                ),
                f"{np.mean([each['spread'] for each in of]):.3f}",
                NOTHING if None in aurocs else f"{np.mean(aurocs):.3f}",
            ]
        )
    return [
        f"The paper: {paper.GATES}. Here: mean ± standard deviation over the texts of a class, on the "
        f"{row.any['gates']['split']} split, mean over {len(row.by_seed)} seeds (lowest and highest mean of a seed).",
        "",
        *table(["layers", *labels, "spread", "AUROC offensive"], lines),
        *bullets(_gate_sentences(row, labels, names)),
        *_gates_of([row]),
    ]


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def _gate_sentences(row: Row, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    results = list(row.by_seed.values())
    overall = [result["gates"]["overall"]["mean"] for result in results]
    ordered = sum(all(a < b for a, b in pairwise(means)) for means in overall)
    gaps = across([means[-1] - means[0] for means in overall], lambda gap: f"{gap:+.3f}")
    highest = [
        names[int(np.argmax([np.mean(group["mean"]) for group in result["gates"]["groups"]]))] for result in results
    ]
    sentences = [
        f"The mean gate rises in the order {' < '.join(labels)} in {ordered} of {len(results)} seeds.",
        f"{labels[-1]} less {labels[0]}: {gaps}.".replace("-", "−"),
    ]
    counts = ", ".join(f"{highest.count(name)} times the {name}" for name in names if name in highest)
    return [*sentences, f"Layers with the highest mean gate: {counts}."]


def examples(rows: Sequence[Row]) -> list[str]:
    """Row numbers that LoRA gets wrong and DS-LoRA right in every seed, and how often it is the other way round."""
    by_label = {row.label: row for row in rows if row.by_seed}
    if len(by_label) < 2:
        return []
    lora, ours = by_label["LoRA"], by_label["DS-LoRA"]
    common = sorted(lora.by_seed.keys() & ours.by_seed.keys())
    if not common:
        return []
    truth = ours.outcomes(common).truth
    right_ours = ours.outcomes(common).predicted == truth
    right_lora = lora.outcomes(common).predicted == truth
    gains, losses = right_ours & ~right_lora, right_lora & ~right_ours
    numbers = _row_numbers(ours.any, ours.split, len(truth))
    mean_gates = np.stack([unpack(ours.by_seed[seed]["gates"]["meanGate"]) for seed in common]).mean(axis=0) / 255
    always = np.flatnonzero(gains.all(axis=0))
    labels = ours.any["labels"]
    lora_says = lora.outcomes(common).predicted
    lines = [
        [
            str(numbers[i]),
            labels[truth[i]],
            ", ".join(labels[each] for each in dict.fromkeys(lora_says[:, i].tolist())),
            f"{mean_gates[i]:.2f}",
        ]
        for i in always[:_EXAMPLES]
    ]
    return [
        f"Over {len(common)} seed{'s' if len(common) > 1 else ''} DS-LoRA is right where LoRA of the same seed is "
        f"wrong {gains.sum(axis=1).mean():.0f} times on average, and wrong where LoRA is right "
        f"{losses.sum(axis=1).mean():.0f} times, of {len(truth):,} texts. In every seed the first holds for "
        f"{len(always)} texts and the second for {int(losses.all(axis=0).sum())}. A list of the first kind alone, as "
        f"below and in the paper, shows no advantage. The mean gate of all texts is {mean_gates.mean():.2f} ± "
        f"{mean_gates.std():.2f}. Rows are counted from 0 in the {ours.split} split.",
        "",
        *(table(["row", "class", "LoRA says", "mean gate of DS-LoRA"], lines) if lines else []),
    ]


def _row_numbers(result: dict[str, Any], split: str, rows: int) -> list[int]:
    left_out = set(result[split]["leftOut"])
    return [i for i in range(rows + len(left_out)) if i not in left_out]


def safeguards(rows: Sequence[Row]) -> list[str]:
    """False positives on neutral sentences, and figures on the other data sets."""
    shown = [row for row in rows if row.by_seed and "identity" in row.any]
    if not shown:
        return []
    identity = []
    for row in shown:
        results = list(row.by_seed.values())
        terms = {
            term: float(np.mean([result["identity"]["byTerm"][term][0] for result in results]))
            for term in results[0]["identity"]["byTerm"]
        }
        ranked = sorted(terms, key=lambda term: -terms[term])
        most = ", ".join(f"{term} {terms[term]:.0%}" for term in ranked[:3] if terms[term] > 0)
        identity.append(
            [
                row.label,
                across([result["identity"]["rate"] for result in results], "{:.1%}".format),
                f"{row.mean(lambda result: result['identity']['sd']):.1%}",
                f"{row.mean(lambda result: result['identity']['swing']):.2f}",
                most or "none",
                f"{sum(rate == 0 for rate in terms.values())} of {len(terms)}",
                str(len(results)),
            ]
        )
    sentences = shown[0].any["identity"]["sentences"]
    targets = list(dict.fromkeys(target for row in shown for target in row.any["transfer"]))
    moved = [[row.label, *(_transferred(row, target) for target in targets)] for row in shown]
    return [
        f"Neutral sentences of ours ({sentences} for each term) in which only the identity changes; every positive "
        "answer is false. The swing is how far a sentence's probability of being offensive moves from one term to "
        "another, on average. In parentheses the lowest and the highest seed.",
        "",
        *table(
            [
                *("method", "false positives", "sd over terms", "swing"),
                *("terms with most", "terms without any", "seeds"),
            ],
            identity,
        ),
        "Tested on the other data sets, offensive or not (macro-F1 in points; in parentheses the lowest and the "
        "highest seed, which says nothing of chance in the texts):",
        "",
        *table(["method", *(_target(shown, target) for target in targets)], moved),
    ]


def _target(rows: Sequence[Row], name: str) -> str:
    """A data set with its numbers of texts, where one was tested on."""
    counts = next(iter(_confusions(rows, name)), None)
    if counts is None:
        return name
    return f"{name} ({counts.sum():,} texts, {counts[1].sum():,} offensive)"


def _transferred(row: Row, target: str) -> str:
    counts = _confusions([row], target)
    if not counts:
        missing = [
            result["transfer"][target]["missing"] for result in row.by_seed.values() if target in result["transfer"]
        ]
        return missing[0] if missing else NOTHING
    return across([float(by_class(each)[2].mean()) for each in counts], points)


def _confusions(rows: Sequence[Row], target: str) -> list[Integers]:
    """True by predicted on another data set, of every seed that was tested on it."""
    found = [result["transfer"].get(target, {}) for row in rows for result in row.by_seed.values()]
    return [np.array(each["confusion"]) for each in found if "confusion" in each]
