"""Which cells a table or figure needs, as far as results settle it."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from dslora.methods import METHODS
from dslora.ngrams import NAME as NGRAMS
from dslora.ngrams import TRAINING_OPTIONS
from dslora.reproduce.cell import Cell, known_settings
from dslora.reproduce.experiments import Experiment, Variant
from dslora.reproduce.presets import RATE_OF_METHOD, Preset
from dslora.reproduce.results import Results


def make_cell(
    preset: Preset,
    base: str,
    data: str,
    variant: Variant,
    seed: int,
    chosen: Mapping[str, Any] | None = None,
    tuning: bool = False,
) -> Cell:
    """The cell of a row.

    Args:
        preset: Settings.
        base: One of the preset's.
        data: Data set.
        variant: The row.
        seed: Seed.
        chosen: Values from the preset's grid, by dotted name.
        tuning: Whether it serves to choose them.
    """
    picked: dict[str, dict[str, Any]] = {"adapter": {}, "l1": {}, "training": {}}
    for name, value in (chosen or {}).items():
        group, _, setting = name.partition(".")
        picked[group][setting] = value
    sparse = _is_sparse(variant.method)
    adapter: dict[str, Any] = {
        "rank": preset.rank,
        "dropout": 0.1,
        "gate_kind": "learned",
        "gate_hidden": 16,
        "gate_pooling": "instance",
        "gate_scale": 2.0,
        "gate_standardize": True,
        **picked["adapter"],
        **variant.adapter,
    }
    adapter["alpha"] = preset.alpha_ratio * adapter["rank"]
    adapter["initial_rank"] = adapter["rank"] * 3 // 2
    training = dict(preset.training)
    if "learning_rate" in picked["training"]:
        # One rate for adapter, gates and head, as the presets have it.
        rate = picked["training"]["learning_rate"]
        training |= {"learning_rate": rate, "gate_learning_rate": rate, "head_learning_rate": rate}
    if variant.method == NGRAMS:
        training = {name: value for name, value in training.items() if name in TRAINING_OPTIONS}
    else:
        training["learning_rate"] *= RATE_OF_METHOD.get(variant.method, 1.0)
        training |= variant.training
        training |= {name: factor * training[name] for name, factor in variant.factors.items()}
    return Cell(
        data=data,
        base=base,
        method=variant.method,
        adapter=known_settings(variant.method, adapter),
        l1={**preset.l1, **picked["l1"], **variant.l1} if sparse else None,
        training=training,
        seed=seed,
        max_tokens=preset.max_tokens,
        transfer_rows=preset.transfer_rows,
        tuning=tuning,
    )


def _is_sparse(method: str) -> bool:
    return method in METHODS and METHODS[method].sparse


def _axes(preset: Preset, variant: Variant) -> dict[str, tuple[Any, ...]]:
    """Of the preset's grid, what this row leaves to choose."""
    sparse = _is_sparse(variant.method)
    trains = variant.method in METHODS and METHODS[variant.method].trains

    def applies(name: str) -> bool:
        group, _, setting = name.partition(".")
        if group == "adapter":
            known = known_settings(variant.method, {setting: 0})
            return variant.equals is None and setting in known and setting not in variant.adapter
        if group == "l1":
            return sparse and setting not in variant.l1
        return trains

    return {name: values for name, values in preset.grid.items() if applies(name)}


def _inherited(preset: Preset, base: str, data: str, variant: Variant, results: Results) -> dict[str, Any] | None:
    """What is chosen of the adapter of the row that this one equals; None while that is open."""
    if variant.equals is None:
        return {}
    chosen = choose(preset, base, data, variant.equals, results)
    if chosen is None:
        return None
    return {name: value for name, value in chosen.items() if name.startswith("adapter.")}


def tuning_cells(
    preset: Preset, base: str, data: str, variant: Variant, results: Results
) -> Iterator[tuple[dict[str, Any], Cell]]:
    """Every choice of the grid with its cell, of seed 0; nothing where there is nothing to choose, or not yet."""
    axes = _axes(preset, variant)
    inherited = _inherited(preset, base, data, variant, results)
    if not axes or inherited is None:
        return
    for values in product(*axes.values()):
        choice = {**inherited, **dict(zip(axes, values, strict=True))}
        yield choice, make_cell(preset, base, data, variant, 0, choice, tuning=True)


def choose(preset: Preset, base: str, data: str, variant: Variant, results: Results) -> dict[str, Any] | None:
    """The choice with the best development macro-F1, the first on a tie; None while a candidate is missing."""
    inherited = _inherited(preset, base, data, variant, results)
    if inherited is None:
        return None
    best: tuple[float, dict[str, Any]] | None = None
    for choice, cell in tuning_cells(preset, base, data, variant, results):
        result = results.load(cell)
        if result is None:
            if results.refusal(cell) is not None:
                continue
            return None
        score = result["development"]["macroF1"]
        if best is None or score > best[0]:
            best = score, choice
    return best[1] if best else inherited


def plan(experiment: Experiment, preset: Preset, seeds: Iterable[int], results: Results) -> list[Cell]:
    """Every cell that is known to be needed, each once: those that choose settings first, then seed by seed.

    While a cell of the first kind has no result, what depends on it is missing from the list.
    """
    places = [
        (base, data, variant)
        for base in preset.bases
        for data in experiment.data
        for variant in experiment.rows(preset)
    ]
    cells = {cell.key: cell for place in places for _, cell in tuning_cells(preset, *place, results)}
    settled = [(place, choose(preset, *place, results)) for place in places]
    for seed in seeds:
        for place, choice in settled:
            if choice is not None:
                cell = make_cell(preset, *place, seed, choice)
                cells.setdefault(cell.key, cell)
    return list(cells.values())
