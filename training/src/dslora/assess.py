"""What a trained run is worth: calibration and thresholds on the development split, figures on any split."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dslora.data import Dataset
from dslora.errors import DsLoraError
from dslora.evaluation import (
    Report,
    Threshold,
    build_report,
    choose_thresholds,
    distribution,
    expected_calibration_error,
    fit_temperature,
    is_positive,
    offensive,
)
from dslora.files import write_json
from dslora.inference import Predictions, predict, softmax
from dslora.run import Run

_FILE = "calibration.json"
_FOLDER = "evaluation"


@dataclass(frozen=True)
class Calibration:
    """Chosen on the development split, which is never trained on.

    Attributes:
        temperature: Divides the logits.
        ece_before, ece_after: Expected calibration error without and with it.
        thresholds: By use.
        distribution: The manifest's ``distribution``.
    """

    temperature: float
    ece_before: float
    ece_after: float
    thresholds: dict[str, Threshold]
    distribution: dict[str, Any]


def normalized_split(run: Run, dataset: Dataset, split: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Texts and labels of a split as the model is given them; texts of which nothing is left are dropped.

    Raises:
        DsLoraError: The data set has no such split, or other labels than the model.
    """
    if split not in dataset.splits:
        raise DsLoraError(f"{dataset.name} has no split {split!r}. It has: {', '.join(dataset.splits)}.")
    if dataset.labels != run.classifier.spec.labels:
        raise DsLoraError(
            f"The model was trained for labels {', '.join(run.classifier.spec.labels)}, but {dataset.name} has "
            f"{', '.join(dataset.labels)}. Evaluate it on data with the same labels."
        )
    rows = dataset.without_refused(run.classifier.spec.normalization).splits[split]
    return rows.texts, rows.labels


def calibrate(run: Run, dataset: Dataset) -> Calibration:
    """Temperature, thresholds and distribution from the development split; kept in the run's folder."""
    texts, labels = normalized_split(run, dataset, "development")
    predictions = predict(run.classifier, run.encoder, texts)
    spec = run.classifier.spec
    temperature = fit_temperature(predictions.logits, labels)
    raw, probabilities = softmax(predictions.logits), softmax(predictions.logits, temperature)
    positive = is_positive(labels, spec.labels, spec.positive_labels)
    calibration = Calibration(
        temperature,
        expected_calibration_error(raw, labels),
        expected_calibration_error(probabilities, labels),
        dict(choose_thresholds(offensive(probabilities, spec.labels, spec.positive_labels), positive)),
        distribution(
            "development",
            probabilities,
            labels,
            spec.labels,
            predictions.gates,
            run.classifier.gate_columns(),
            predictions.tokens,
        ),
    )
    write_json(run.folder / _FILE, asdict(calibration))
    return calibration


def load_calibration(run: Run, dataset: Dataset) -> Calibration:
    """What :func:`calibrate` kept, or made anew where it has not run."""
    path = run.folder / _FILE
    if not path.is_file():
        return calibrate(run, dataset)
    values = json.loads(path.read_text(encoding="utf-8"))
    values["thresholds"] = {use: Threshold(**threshold) for use, threshold in values["thresholds"].items()}
    return Calibration(**values)


def evaluate(run: Run, dataset: Dataset, split: str) -> Report:
    """Figures of the PyTorch model on a split, written to ``evaluation/<split>.json`` and ``.md``.

    Temperature and thresholds come from the development split. Choose nothing by a test split's figures.
    """
    calibration = load_calibration(run, dataset)
    texts, labels = normalized_split(run, dataset, split)
    report = report_of(run, dataset, split, labels, predict(run.classifier, run.encoder, texts), calibration)
    report.write(run.folder / _FOLDER)
    return report


def report_of(
    run: Run,
    dataset: Dataset,
    split: str,
    labels: NDArray[np.int64],
    predictions: Predictions,
    calibration: Calibration,
) -> Report:
    """The report of predictions that were already made."""
    spec = run.classifier.spec
    return build_report(
        model=run.folder.name,
        dataset=dataset.name,
        split=split,
        precision="pytorch-fp32",
        labels=spec.labels,
        positive_labels=spec.positive_labels,
        logits=predictions.logits,
        truth=labels,
        gates=predictions.gates,
        columns=run.classifier.gate_columns(),
        temperature=calibration.temperature,
        thresholds=calibration.thresholds,
    )
