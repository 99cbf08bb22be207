"""An evaluation, as JSON for machines and Markdown for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from dslora.evaluation.gates import GateRow, GateSummary, summarize_gates
from dslora.evaluation.metrics import (
    CALIBRATION_BINS,
    RESAMPLES,
    Floats,
    Integers,
    Measurement,
    Metrics,
    expected_calibration_error,
    is_positive,
    measure,
    offensive,
)
from dslora.evaluation.thresholds import Threshold, measure_threshold
from dslora.files import write_json, write_text


@dataclass(frozen=True)
class Report:
    """What was measured for one model on one split.

    Attributes:
        model: name of the model or run.
        dataset: name of the data set.
        split: train, development or test; all: the rows of all of them.
        precision: of what was measured: `pytorch-fp32`, or the precision of an exported graph.
        labels: class names, L.
        positive_labels: those that mean offensive.
        temperature: that the logits were divided by.
        calibration_error_raw: expected calibration error before that; `metrics` has it after.
        metrics: measures with intervals.
        thresholds: by use, with precision and recall as measured on this split.
        gates: None for a method without gates.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """

    model: str
    dataset: str
    split: str
    precision: str
    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    temperature: float
    calibration_error_raw: float
    metrics: Metrics
    thresholds: Mapping[str, Threshold]
    gates: GateSummary | None
    seed: int
    resamples: int

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        metrics = self.metrics
        return {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "precision": self.precision,
            "n": metrics.n,
            "labels": list(self.labels),
            "positiveLabels": list(self.positive_labels),
            "bootstrap": {"resamples": self.resamples, "seed": self.seed},
            "metrics": {name: _measurement(each) for name, each in metrics.named()},
            "support": {each.label: each.support for each in metrics.classes},
            "confusion": [list(row) for row in metrics.confusion],
            "calibration": {
                "temperature": self.temperature,
                "bins": CALIBRATION_BINS,
                "eceBefore": self.calibration_error_raw,
                "eceAfter": metrics.calibration_error,
            },
            "thresholds": {use: asdict(each) for use, each in self.thresholds.items()},
            "gates": self.gates and self._gates_json(self.gates),
        }

    def to_markdown(self) -> str:
        """Tables for people, ending in a line break."""
        metrics = self.metrics
        parts = [
            f"# {self.model} on {self.dataset}, {self.split} {'rows' if self.split == 'all' else 'split'}",
            f"{metrics.n:,} posts, {self.precision}. Brackets: 95 % bootstrap interval ({self.resamples:,} "
            f"resamples, seed {self.seed}).",
            _table(
                ["measure", "value"],
                [
                    ["macro-F1", str(metrics.macro_f1)],
                    ["F1 of mean precision and mean recall (GermEval's)", str(metrics.f1_of_means)],
                    ["accuracy", str(metrics.accuracy)],
                    [
                        f"AUROC of offensive ({' + '.join(self.positive_labels)})",
                        str(metrics.auroc_offensive),
                    ],
                    [
                        f"calibration error ({CALIBRATION_BINS} bins), before and after temperature "
                        f"{self.temperature:.3f}",
                        f"{self.calibration_error_raw:.3f}, {metrics.calibration_error:.3f}",
                    ],
                ],
            ),
            "## By class",
            _table(
                ["class", "posts", "precision", "recall", "F1"],
                [
                    [each.label, str(each.support), str(each.precision), str(each.recall), str(each.f1)]
                    for each in metrics.classes
                ],
            ),
            "## Confusion",
            _table(
                ["true \\ predicted", *self.labels],
                [[name, *map(str, row)] for name, row in zip(self.labels, metrics.confusion, strict=True)],
            ),
        ]
        if self.thresholds:
            parts += [
                "## Thresholds",
                "Chosen on the development split; a post is flagged where `offensive` is at least the "
                "threshold. Precision and recall of flagged posts are of this split.",
                _table(
                    ["use", "threshold", "precision", "recall"],
                    [
                        [use, f"{each.value:.3f}", f"{each.precision:.3f}", f"{each.recall:.3f}"]
                        for use, each in self.thresholds.items()
                    ],
                ),
            ]
        if self.gates is not None:
            parts += ["## Gates", *self._gates_markdown(self.gates)]
        return "\n\n".join(parts) + "\n"

    def manifest_entries(self) -> list[dict[str, Any]]:
        """List the measures as entries of the manifest's `evaluation`."""
        return [
            {
                "dataset": self.dataset,
                "split": self.split,
                "precision": self.precision,
                "n": self.metrics.n,
                "metric": name,
                **_measurement(each),
            }
            for name, each in self.metrics.named()
        ]

    def write(self, folder: Path, name: str) -> None:
        """Write `<name>.json` and `<name>.md` into a folder, each whole or not at all."""
        write_json(folder / f"{name}.json", self.to_json())
        write_text(folder / f"{name}.md", self.to_markdown())

    def _gates_json(self, gates: GateSummary) -> dict[str, Any]:
        def row(each: GateRow) -> dict[str, Any]:
            return {
                "layers": list(each.layers),
                "module": each.module,
                "mean": dict(zip(self.labels, each.mean, strict=True)),
                "sd": dict(zip(self.labels, each.sd, strict=True)),
                "spread": each.spread,
            }

        return {
            "overall": row(gates.overall),
            "groups": [row(each) for each in gates.groups],
            "modules": [row(each) for each in gates.modules],
            "aurocOffensive": gates.auroc_offensive,
            "aurocError": gates.auroc_error,
        }

    def _gates_markdown(self, gates: GateSummary) -> list[str]:
        def cells(name: str, each: GateRow) -> list[str]:
            by_class = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(each.mean, each.sd, strict=True)]
            return [name, *by_class, f"{each.spread:.4f}"]

        rows = [cells("mean of all", gates.overall)]
        rows += [cells(str(each), each) for each in (*gates.groups, *gates.modules)]
        return [
            "Mean ± standard deviation over the posts of each true class; spread is the standard deviation "
            "over all posts.",
            _table(["gate", *self.labels, "spread"], rows),
            f"AUROC of the mean gate: {_optional(gates.auroc_offensive)} for offensive against other posts, "
            f"{_optional(gates.auroc_error)} for wrong against right answers (0.5: the gate does not tell "
            "them apart; below: it is lower for the first).",
        ]


def build_report(
    *,
    model: str,
    dataset: str,
    split: str,
    precision: str,
    labels: Sequence[str],
    positive_labels: Sequence[str],
    logits: Floats,
    truth: Integers,
    gates: Floats,
    columns: Sequence[tuple[int, str]],
    temperature: float = 1.0,
    thresholds: Mapping[str, Threshold] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Measure predictions on one split.

    Args:
        model: name for the report.
        dataset: name for the report.
        split: name for the report and its files.
        precision: name for the report.
        labels: class names, L.
        positive_labels: those that mean offensive.
        logits: [n, L]. For a graph that answers probabilities: their logarithm, with `temperature` left at 1.
        truth: true classes, [n].
        gates: [n, modules].
        columns: (layer, module) of each column of the gates.
        temperature: fitted on the development split.
        thresholds: chosen on the development split; measured here anew.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        DsLoraError: shapes do not fit, or the split has offensive posts only, or none.
    """
    raw = softmax(logits.astype(np.float64), axis=1)
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    positive = is_positive(truth, labels, positive_labels)
    scores = offensive(probabilities, labels, positive_labels)
    return Report(
        model=model,
        dataset=dataset,
        split=split,
        precision=precision,
        labels=tuple(labels),
        positive_labels=tuple(positive_labels),
        temperature=temperature,
        calibration_error_raw=expected_calibration_error(raw, truth),
        metrics=measure(probabilities, truth, labels, positive_labels, resamples=resamples, seed=seed),
        thresholds={use: measure_threshold(scores, positive, each.value) for use, each in (thresholds or {}).items()},
        gates=summarize_gates(gates, columns, truth, len(labels), positive, probabilities.argmax(axis=1) == truth),
        seed=seed,
        resamples=resamples,
    )


def _measurement(measurement: Measurement) -> dict[str, Any]:
    return {"value": measurement.value, "interval95": list(measurement.interval95)}


def _optional(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A user's label may hold the one character that a table cannot.
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    alignment = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], alignment, *lines[1:]))
