"""What one finished run has to say: everything that tables, figures and intervals are made from later."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dslora.assess import split_for
from dslora.data import Dataset
from dslora.evaluation.gates import GateRow, summarize_gates
from dslora.evaluation.metrics import auroc, by_class, confusion_counts, f1_of_means, is_positive
from dslora.inference import Predictions
from dslora.methods import AdaLoraSettings
from dslora.reproduce.cell import Cell
from dslora.reproduce.controls import gates_fixed
from dslora.reproduce.identity import identity_swaps
from dslora.reproduce.results import pack
from dslora.reproduce.transfer import language_of, transfer
from dslora.run import Run
from dslora.run_record import TrainedRun, contents
from dslora.sparsity import ModuleSparsity, measure_sparsity
from dslora.train.loop import resolve_device

_GATE_LEVELS = 255


def scores(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, Any]:
    """Macro-F1, F1 by class, GermEval's measure and accuracy of confusion counts [L, L]."""
    precision, recall, f1 = by_class(confusion)
    return {
        "n": int(confusion.sum()),
        "macroF1": float(f1.mean()),
        "f1": dict(zip(labels, f1.tolist(), strict=True)),
        "f1OfMeans": float(f1_of_means(precision, recall)),
        "accuracy": float(np.trace(confusion) / confusion.sum()),
    }


def measure_run(run: TrainedRun, dataset: Dataset, cell: Cell, data_dir: str | None) -> dict[str, Any]:
    """Scores a finished run.

    The test split is scored here and nowhere else, with settings that were fixed before the run began. A cell that
    serves to choose settings has no test figures and no controls.

    Args:
        run: Finished.
        dataset: What it was trained on.
        cell: What it is.
        data_dir: Where other data sets are.
    """
    zeros = 0.0
    modules: list[ModuleSparsity] = []
    if isinstance(run, Run):
        run.classifier.to(resolve_device(run.settings.device))
        zeros, modules = measure_sparsity(run.classifier)
    result = run.record["result"]
    splits = ["development"] if cell.tuning or "test" not in dataset.splits else ["development", "test"]
    kept = {name: split_for(run, dataset, name) for name in splits}
    found = {name: run.predict(kept[name].texts) for name in splits}
    measured: dict[str, Any] = {
        "labels": list(dataset.labels),
        "positiveLabels": list(dataset.positive_labels),
        "files": contents(dataset),
        "trainRows": run.record["dataset"]["trainRows"],
        "parameters": result["parameters"],
        "epochs": result["epochs"],
        "bestEpoch": result["epoch"],
        "secondsPerEpoch": round(result["seconds"] / max(1, result["epochs"]), 1),
        "zeros": zeros,
        "rank": {"left": sum(m.surviving_rank for m in modules), "of": _rank_at_start(run, modules)},
        "libraries": run.record["libraries"],
        "commit": run.record["commit"],
    }
    for name in splits:
        rows, before = kept[name], dataset.splits[name]
        measured[name] = _split(found[name], rows.labels, dataset.labels)
        present = set(rows.ids)
        measured[name]["leftOut"] = [i for i, row_id in enumerate(before.ids) if row_id not in present]
    columns = run.gate_columns()
    if columns:
        assert isinstance(run, Run)
        last = splits[-1]
        measured["gates"] = {
            "split": last,
            **_gates(found[last], kept[last].labels, dataset, columns),
        }
        means = found["development"].gates.mean(axis=0, dtype=np.float64)
        with gates_fixed(run.classifier, means.tolist()):
            fixed = {name: run.predict(kept[name].texts) for name in splits}
        measured["gatesFixed"] = {
            name: _split(fixed[name], kept[name].labels, dataset.labels, truth=False) for name in splits
        }
    if not cell.tuning:
        measured["identity"] = identity_swaps(run, language_of(cell.data))
        measured["transfer"] = transfer(run, cell.data, data_dir, cell.transfer_rows)
    return measured


def _rank_at_start(run: TrainedRun, modules: list[ModuleSparsity]) -> int:
    """Of all modules together; AdaLoRA's have lost some by the time that they are measured."""
    adapter = run.spec.adapter if isinstance(run, Run) else None
    if isinstance(adapter, AdaLoraSettings):
        return adapter.initial_rank * len(modules)
    return sum(module.rank for module in modules)


def _split(
    predictions: Predictions, labels: NDArray[np.int64], names: tuple[str, ...], truth: bool = True
) -> dict[str, Any]:
    predicted = predictions.logits.argmax(axis=1)
    measured = scores(confusion_counts(predicted, labels, len(names)), names)
    return {**measured, "predicted": pack(predicted), **({"truth": pack(labels)} if truth else {})}


def _gates(predictions: Predictions, labels: NDArray[np.int64], dataset: Dataset, columns: list[Any]) -> dict[str, Any]:
    positive = is_positive(labels, dataset.labels, dataset.positive_labels)
    correct = predictions.logits.argmax(axis=1) == labels
    summary = summarize_gates(predictions.gates, columns, labels, len(dataset.labels), positive, correct)
    assert summary is not None
    layer_of = np.array([layer for layer, _ in columns])

    def row(of: GateRow, values: NDArray[np.floating[Any]]) -> dict[str, Any]:
        return {
            "layers": [of.layers[0], of.layers[-1]],
            **({"module": of.module} if of.module else {}),
            "mean": [round(value, 5) for value in of.mean],
            "sd": [round(value, 5) for value in of.sd],
            "spread": round(of.spread, 5),
            "aurocOffensive": auroc(values, positive),
        }

    mean_gate = predictions.gates.mean(axis=1, dtype=np.float64)
    return {
        "overall": {**row(summary.overall, mean_gate), "aurocError": summary.auroc_error},
        "groups": [
            row(group, predictions.gates[:, np.isin(layer_of, group.layers)].mean(axis=1, dtype=np.float64))
            for group in summary.groups
        ],
        "modules": [row(module, predictions.gates[:, i]) for i, module in enumerate(summary.modules)],
        # Of each text, in 255ths, for the examples of table 8.
        "meanGate": pack((mean_gate * _GATE_LEVELS).round().clip(0, _GATE_LEVELS)),
    }
