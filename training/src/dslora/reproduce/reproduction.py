"""One command from nothing to the report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dslora.bases import load_tokenizer, resolve_base
from dslora.errors import DsLoraError
from dslora.reproduce.cell import Cell
from dslora.reproduce.cost import measure_cost
from dslora.reproduce.experiments import Experiment
from dslora.reproduce.gain import measure_gain
from dslora.reproduce.plan import plan
from dslora.reproduce.presets import PRESETS, Preset
from dslora.reproduce.results import Results
from dslora.reproduce.search import needed
from dslora.reproduce.study import Study, remember
from dslora.reproduce.transfer import loaded
from dslora.reproduce.work import drain_in_processes

RESULTS: Final = "cells"


def reproduce(
    experiments: Sequence[Experiment],
    preset: Preset,
    *,
    study: Study,
    seeds: int,
    cells: Path,
    out: Path,
    data_dir: str | None,
    workers: int = 1,
) -> None:
    """Computes what is missing, one table or figure after another, and writes the report after each.

    Args:
        experiments: In this order; none writes the report alone.
        preset: Settings.
        study: What the report is about.
        seeds: Training seeds 0, 1, ….
        cells: Folder for runs and locks.
        out: Folder of the report; results go to ``cells`` in it.
        data_dir: Folder with the named data sets.
        workers: Processes.

    Raises:
        DsLoraError: There is nothing to report, or what stands in the folders is of other data.
    """
    from dslora.reproduce.report import write_report

    results = Results(out / RESULTS)
    presets = [preset] if study.is_own else list({**PRESETS, preset.name: preset}.values())
    if experiments and study.is_own:
        # Nothing is written of what cannot be read.
        for base in preset.bases:
            load_tokenizer(resolve_base(base))
        if study.data:
            loaded(study.data, data_dir)
        study = remember(out, study)
    for experiment in experiments:
        if experiment.kind == "cost":
            measure_cost(out, preset)
        done: set[str] = set()
        # Results of one wave settle what the next one needs.
        while wave := [cell for cell in _needed(experiment, preset, seeds, results) if cell.key not in done]:
            missing = sum(results.load(cell) is None for cell in wave)
            print(f"{experiment.title}: {missing} of {len(wave)} cells to compute", file=sys.stderr)
            drain_in_processes(wave, cells, results, data_dir, workers)
            done |= {cell.key for cell in wave}
        if experiment.kind == "strengths":
            measure_gain(out, preset, experiment, results, cells)
        # Another command may have asked more of the folder meanwhile.
        study = remember(out, study)
        write_report(out, results, presets, study.shown, study)
        print(f"{experiment.title}, preset {preset.name}: {len(done)} cells, report in {out}")
    if not experiments:
        # A page without a figure in it, where another one may stand, helps nobody.
        if not any(results.folder.glob("*.json")):
            raise DsLoraError(
                f"{results.folder} has no results to report. Name a report's folder with --out, or run a table first."
            )
        write_report(out, results, presets, study.shown, study)


def _needed(experiment: Experiment, preset: Preset, seeds: int, results: Results) -> list[Cell]:
    """Every cell that is known to be needed by now."""
    if experiment.kind == "search":
        return needed(experiment, preset, seeds, results)
    return plan(experiment, preset, range(seeds), results)
