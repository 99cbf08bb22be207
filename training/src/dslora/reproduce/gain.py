"""What zeros buy: the graphs of figure 3's models as they would be served, their size and their time along λ.

One seed, the first: size and time hardly depend on it. The measure is merged LoRA, which costs what the base costs. A
measurement is kept like a cell: delete its file to measure again. Times are processor time, so other load hardly shows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import onnx_ir as ir

from dslora.classifier import Classifier
from dslora.export.graph import build_graph
from dslora.export.layouts import AUTO, SHAPES, arrange, candidates
from dslora.export.ranks import prune
from dslora.export.session import GraphSession
from dslora.files import write_json
from dslora.reproduce.experiments import REFERENCE as LORA
from dslora.reproduce.experiments import Experiment, Variant
from dslora.reproduce.markdown import bullets, over, table
from dslora.reproduce.plan import choose, make_cell
from dslora.reproduce.presets import Preset
from dslora.reproduce.results import Results
from dslora.run import load_run
from dslora.run_record import RUN_FILE
from dslora.turns import ratio, take_turns

_SEED: Final = 0
_ROUNDS: Final = 60
_WARM_UP: Final = 3
_DENSE: Final = "λ = 0"


def gain_file(out: Path, preset: Preset, base: str) -> Path:
    """Where a measurement is kept."""
    return out / f"zeros-{preset.name}-{base.rpartition('/')[2]}.json"


def measure_gain(
    out: Path, preset: Preset, experiment: Experiment, results: Results, cells: Path, rounds: int = _ROUNDS
) -> None:
    """Measures each base without a file whose finished runs, LoRA's among them, are all in the folder of runs.

    Args:
        out: Folder of the report.
        preset: Its bases.
        experiment: Figure 3.
        results: Which cells are finished.
        cells: Folder of runs.
        rounds: Runs of each graph and shape, in turns.
    """
    for base in preset.bases:
        path = gain_file(out, preset, base)
        runs = {} if path.is_file() else _runs(preset, base, experiment, results, cells)
        if LORA in runs:
            with TemporaryDirectory() as folder:
                sessions, models = _sessions(runs, Path(folder))
                shapes = {f"{rows}x{tokens}": (rows, tokens) for rows, tokens in SHAPES}
                for name, shape in shapes.items():
                    for label, compared in _time(sessions, shape, rounds).items():
                        models[label].setdefault("time", {})[name] = compared
            measured = {"seed": _SEED, "precision": "fp32", "rounds": rounds, "shapes": list(shapes), "models": models}
            write_json(path, measured)


def _runs(
    preset: Preset, base: str, experiment: Experiment, results: Results, cells: Path
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folder and result of each finished run by the label of its row; none while one is elsewhere."""
    found = {}
    for data in experiment.data:
        for variant in experiment.rows(preset):
            choice = choose(preset, base, data, variant, results)
            if choice is None:
                continue
            cell = make_cell(preset, base, data, variant, _SEED, choice)
            result = results.load(cell)
            if result is not None:
                found[variant.label] = cells / cell.name, result
    return found if all((folder / RUN_FILE).is_file() for folder, _ in found.values()) else {}


def _sessions(
    runs: Mapping[str, tuple[Path, dict[str, Any]]], folder: Path
) -> tuple[dict[str, GraphSession], dict[str, dict[str, Any]]]:
    sessions, models = {}, {}
    for number, (label, (run_folder, result)) in enumerate(runs.items()):
        file = folder / f"{number}.onnx"
        saved = _save(load_run(run_folder).classifier, file)
        models[label] = {"zeros": result["zeros"], "rank": result["rank"], **saved}
        sessions[label] = GraphSession(file, threads=1)
    smallest = models[LORA]["bytes"]
    for model in models.values():
        model["bytesMore"] = model["bytes"] - smallest
    return sessions, models


def _save(classifier: Classifier, file: Path) -> dict[str, Any]:
    """Writes the float32 graph in its first fused layout, or as it is where nothing can be fused."""
    slim = prune(classifier)
    graph = build_graph(slim.classifier, 1.0)
    layout = candidates(graph, AUTO)[0]
    arranged = arrange(graph, slim.classifier.encoder.config.get_text_config().model_type, layout, "fp32")
    data = file.with_name(f"{file.name}.data")
    ir.save(arranged, file, external_data=data.name)
    return {
        "modules": {"left": sum(each.rank > 0 for each in slim.ranks), "of": len(slim.ranks)},
        "layout": layout,
        "nodes": len(arranged.graph),
        "bytes": sum(part.stat().st_size for part in (file, data) if part.exists()),
    }


def _time(sessions: Mapping[str, GraphSession], shape: tuple[int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Time of each graph over merged LoRA's, taking turns."""
    seconds = take_turns(
        list(sessions), _WARM_UP + rounds, _WARM_UP, lambda name, number: sessions[name].seconds(*shape)
    )
    return {name: ratio(values, seconds[LORA], 0) for name, values in seconds.items()}


def read_gain(out: Path, preset: Preset, base: str) -> dict[str, Any] | None:
    """A measurement; None where nothing was measured."""
    path = gain_file(out, preset, base)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def gain(found: Mapping[str, Any], variants: Sequence[Variant]) -> list[str]:
    """Lines of the section: what was measured, and what follows from it in words."""
    models, shapes = found["models"], found["shapes"]
    known = [variant.label for variant in variants if variant.label in models and variant.label != LORA]
    return [
        f"What zeros buy: the {found['precision']} graphs of seed {found['seed']} as they would be served, beside "
        "merged LoRA's, which costs what the base costs. Processor time of one run on one thread, medians of "
        "neighbouring runs with 95 % intervals, by rows x tokens.",
        "",
        *table(
            ["", "zeros", "rank left", "modules left", "KiB more", "nodes", *(f"time at {shape}" for shape in shapes)],
            [
                [
                    label,
                    f"{model['zeros']:.1%}",
                    f"{model['rank']['left']} of {model['rank']['of']}",
                    f"{model['modules']['left']} of {model['modules']['of']}",
                    f"{model['bytesMore'] / 1024:.0f}",
                    str(model["nodes"]),
                    *(over(model["time"][shape]) for shape in shapes),
                ]
                for label in known
                for model in [models[label]]
            ],
        ),
        *bullets([_statement(models, known, shape) for shape in shapes if _DENSE in known]),
    ]


def _statement(models: Mapping[str, Any], known: Sequence[str], shape: str) -> str:
    dense = models[_DENSE]["time"][shape]
    faster = [label for label in known if models[label]["time"][shape]["high"] < dense["low"]]
    if not faster:
        return f"At {shape} no model with zeros takes less time than {_DENSE} (their intervals meet)."
    told = ", ".join(f"{label} ({over(models[label]['time'][shape])})" for label in faster)
    return f"At {shape} these take less time than {_DENSE} ({over(dense)}): {told}."
