"""The report's figures: one style, intervals drawn, colours that colour-blind people can tell apart (Okabe and Ito)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.figure import Figure

from dslora.evaluation.metrics import Measurement
from dslora.files import replacing
from dslora.reproduce.bootstrap import macro_f1
from dslora.reproduce.experiments import Variant, unit_of
from dslora.reproduce.rows import Row, reference_of

_BLUE: Final = "#0072B2"
_ORANGE: Final = "#D55E00"
_GREY: Final = "#666666"
_GREEN: Final = "#009E73"
# What the penalty makes zero at once, as curves show it.
_UNITS: Final = (("element", "DS-LoRA", _ORANGE, "s"), ("component", "DS-LoRA, whole components", _GREEN, "D"))
# On the axis of λ, so that intervals of two curves do not hide each other.
_ASIDE: Final = {"element": -0.003, "component": 0.003}
# Any: the stubs want each name as a literal.
_STYLE: Final[Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.grid.axis": "both",
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "dslora",
}


def save(figure: Figure, path: Path) -> None:
    """Writes ``path`` with the endings svg and png."""
    for ending in ("svg", "png"):
        metadata = {"Date": None} if ending == "svg" else {}
        with replacing(path.with_suffix(f".{ending}")) as temporary, pyplot.rc_context(_STYLE):
            figure.savefig(temporary, format=ending, dpi=150, bbox_inches="tight", metadata=metadata)
    pyplot.close(figure)


def drop(figure: Figure) -> None:
    """Forgets a figure that nobody wants."""
    pyplot.close(figure)


def differences(rows: Sequence[Row], title: str) -> Figure | None:
    """Differences from LoRA with intervals, the paper's beside them."""
    found = [
        (row, change)
        for row in rows
        if row.by_seed
        and (reference := reference_of(rows, row)) is not None
        and (change := row.less(reference)) is not None
    ]
    if not found:
        return None
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.42 * len(found)))
        axes.axvline(0, color=_GREY, linewidth=1)
        published = False
        for place, (row, change) in enumerate(reversed(found)):
            low, high = change.interval95
            axes.plot([100 * low, 100 * high], [place, place], color=_BLUE, linewidth=2, solid_capstyle="butt")
            axes.plot(100 * change.value, place, "o", color=_BLUE)
            if row.paper is not None and row.paper.gain is not None:
                label = None if published else "the paper's, on its base models"
                axes.plot(row.paper.gain, place, "D", color=_ORANGE, fillstyle="none", label=label)
                published = True
        axes.set_yticks(range(len(found)), [row.label for row, _ in reversed(found)])
        over = "texts, one seed" if all(change.seeds == 1 for _, change in found) else "seeds and texts"
        axes.set_xlabel(f"macro-F1 less LoRA's, points (95 % interval over {over})")
        axes.set_title(title, loc="left")
        if published:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
        return figure


def ranks(rows: Sequence[Row], title: str) -> Figure | None:
    """Macro-F1 of LoRA and DS-LoRA over ranks, of the seeds that all points have."""
    shown = [row for row in rows if row.by_seed]
    if not shown:
        return None
    # A point of more seeds than its neighbours would bend the curve by them.
    seeds = sorted(set.intersection(*(set(row.by_seed) for row in shown))) or None
    number = f", {len(seeds)} seed{'s' if len(seeds) > 1 else ''}" if seeds else ""
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(6, 3.6))
        for method, label, colour, marker, shift in (
            ("lora", "LoRA", _BLUE, "o", 0.97),
            ("ds-lora", "DS-LoRA", _ORANGE, "s", 1.03),
        ):
            curve = [row for row in shown if row.variant.method == method]
            if curve:
                # Side by side, so that intervals do not hide each other.
                places = [row.variant.adapter["rank"] * shift for row in curve]
                values = [row.outcomes(seeds).interval(macro_f1) for row in curve]
                _curve(axes, places, values, label, colour, marker)
        every = sorted({row.variant.adapter["rank"] for row in shown})
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [str(rank) for rank in every])
        axes.minorticks_off()
        axes.set_xlabel("rank")
        axes.set_ylabel("macro-F1, points (95 % interval)")
        # Above the legend.
        axes.set_title(f"{title}{number}", loc="left", pad=24)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        return figure


def strengths(rows: Sequence[Row], title: str) -> Figure | None:
    """Macro-F1 and zeros over λ, with LoRA's macro-F1 as a band."""
    shown = [row for row in rows if row.by_seed and row.variant.method != "lora"]
    if not shown:
        return None
    reference = reference_of(rows, shown[0])
    with pyplot.rc_context(_STYLE):
        figure, (above, below) = pyplot.subplots(2, 1, figsize=(6, 5), sharex=True, height_ratios=(3, 2))
        if reference is not None:
            lora = reference.interval(macro_f1)
            above.axhspan(100 * lora.interval95[0], 100 * lora.interval95[1], color=_BLUE, alpha=0.12, linewidth=0)
            above.axhline(100 * lora.value, color=_BLUE, linestyle="--", label="LoRA and its interval")
        for unit, label, colour, marker in _UNITS:
            curve = [row for row in shown if unit_of(row.variant) == unit]
            if not curve:
                continue
            places = _places([row.variant for row in curve], [row.variant for row in shown])
            _curve(above, places, [row.interval(macro_f1) for row in curve], label, colour, marker)
            zeros = [[100 * result["zeros"] for result in row.by_seed.values()] for row in curve]
            middle = [sum(values) / len(values) for values in zeros]
            spans = [
                [mean - min(values) for mean, values in zip(middle, zeros, strict=True)],
                [max(values) - mean for mean, values in zip(middle, zeros, strict=True)],
            ]
            below.errorbar(places, middle, yerr=spans, color=colour, marker=marker, capsize=3)
        above.set_ylabel("macro-F1, points\n(95 % interval)")
        # Above the legend, which is as wide as the figure.
        above.set_title(title, loc="left", pad=24)
        above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
        below.set_ylabel("exact zeros in A and B, %\n(lowest to highest seed)")
        below.set_xlabel("λ")
        below.set_ylim(0, 100)
        return figure


def gains(found: Mapping[str, Any], variants: Sequence[Variant], title: str) -> Figure | None:
    """Rank left, size and time of the served graph over λ (:mod:`dslora.reproduce.gain`), beside merged LoRA's."""
    models = found["models"]
    measured = [variant for variant in variants if variant.label in models and variant.method != "lora"]
    if not measured:
        return None
    with pyplot.rc_context(_STYLE):
        figure, panels = pyplot.subplots(4, 1, figsize=(6, 8.5), sharex=True)
        for unit, label, colour, marker in _UNITS:
            curve = [variant for variant in measured if unit_of(variant) == unit]
            if not curve:
                continue
            places = _places(curve, measured)
            own = [models[variant.label] for variant in curve]
            left = [100 * each["rank"]["left"] / each["rank"]["of"] for each in own]
            panels[0].plot(places, left, color=colour, marker=marker, label=label)
            panels[1].plot(places, [each["bytesMore"] / 1024 for each in own], color=colour, marker=marker)
            for panel, shape in zip(panels[2:], found["shapes"], strict=True):
                times = [each["time"][shape] for each in own]
                more = [Measurement(each["ratio"] - 1, (each["low"] - 1, each["high"] - 1)) for each in times]
                _curve(panel, places, more, label, colour, marker)
        for panel, shape in zip(panels[2:], found["shapes"], strict=True):
            panel.axhline(0, color=_BLUE, linestyle="--")
            panel.set_ylabel(f"time at {shape} over\nmerged LoRA's, %\n(95 % interval)")
        panels[0].set_ylabel("rank left, %")
        panels[0].set_ylim(0, 105)
        panels[0].set_title(title, loc="left", pad=24)
        panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        panels[1].set_ylabel("graph over merged\nLoRA's, KiB")
        panels[-1].set_xlabel("λ")
        return figure


def _places(curve: Sequence[Variant], shown: Sequence[Variant]) -> list[float]:
    """λ of a curve's points, a little aside where another curve has points at the same λ."""
    several = len({unit_of(variant) for variant in shown}) > 1
    return [
        float(variant.l1.get("strength", 0.0)) + (_ASIDE[unit_of(variant)] if several else 0.0) for variant in curve
    ]


def _curve(
    axes: Any, places: Sequence[float], values: Sequence[Measurement], label: str, colour: str, marker: str
) -> None:
    means = [100 * each.value for each in values]
    spans = [
        [100 * (each.value - each.interval95[0]) for each in values],
        [100 * (each.interval95[1] - each.value) for each in values],
    ]
    axes.errorbar(places, means, yerr=spans, label=label, color=colour, marker=marker, capsize=3)
