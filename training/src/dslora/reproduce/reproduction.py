"""One command from nothing to the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dslora.reproduce.cost import measure_cost
from dslora.reproduce.experiments import Experiment, plan
from dslora.reproduce.gain import measure_gain
from dslora.reproduce.presets import PRESETS, Preset
from dslora.reproduce.results import Results
from dslora.reproduce.work import drain_in_processes

RESULTS: Final = "cells"


def reproduce(
    experiments: Sequence[Experiment],
    preset: Preset,
    *,
    shown: Sequence[Experiment],
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
        shown: What the report looks for.
        seeds: Training seeds 0, 1, ….
        cells: Folder for runs and locks.
        out: Folder of the report; results go to ``cells`` in it.
        data_dir: Folder with the named data sets.
        workers: Processes.
    """
    from dslora.reproduce.report import write_report

    results = Results(out / RESULTS)
    presets = list({**PRESETS, preset.name: preset}.values())
    for experiment in experiments:
        if experiment.kind == "cost":
            measure_cost(out, preset)
        tuning, _ = plan([experiment], preset, seeds, results)
        if tuning:
            drain_in_processes(tuning, cells, results, data_dir, workers)
        # Settled only now: the first wave has chosen.
        _, final = plan([experiment], preset, seeds, results)
        drain_in_processes(final, cells, results, data_dir, workers)
        if experiment.kind == "strengths":
            measure_gain(out, preset, experiment, results, cells)
        write_report(out, results, presets, shown)
        print(f"{experiment.title}, preset {preset.name}: {len(final)} cells, report in {out}")
    if not experiments:
        write_report(out, results, presets, shown)
