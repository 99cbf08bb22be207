"""What a trained run is worth: calibration and thresholds on the development split, figures on any split."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from dslora.data import Dataset, Split
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
from dslora.inference import softmax
from dslora.run_record import TrainedRun, is_own_data, is_own_split, shares_data

# Rows of all splits.
ALL: Final = "all"

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


def split_for(run: TrainedRun, dataset: Dataset, split: str) -> Split:
    """A split's rows, or with ``ALL`` those of all splits, less those of which the model reads nothing.

    Raises:
        DsLoraError: The data set has no such split, or other labels than the model, or calls others offensive.
    """
    if split not in (*dataset.splits, ALL):
        raise DsLoraError(f"{dataset.name} has no split {split!r}. It has: {', '.join(dataset.splits)}.")
    if dataset.labels != run.spec.labels:
        raise DsLoraError(
            f"The model was trained for labels {', '.join(run.spec.labels)}, but {dataset.name} has "
            f"{', '.join(dataset.labels)}. Evaluate it on data with the same labels."
        )
    if dataset.positive_labels != run.spec.positive_labels:
        raise DsLoraError(
            f"The model was trained for {', '.join(run.spec.positive_labels)} to mean offensive, but of "
            f"{dataset.name} {', '.join(dataset.positive_labels)} would. Leave --positive-labels out."
        )
    rows = dataset.rows if split == ALL else dataset.splits[split]
    return rows.without_refused(run.read)[0]


def other_data(run: TrainedRun, dataset: Dataset) -> DsLoraError:
    """The error for data that are not those of the run where they have to be."""
    return DsLoraError(
        f"{dataset.name} is not what {run.folder} was trained on: its files or its development rows differ, so rows of "
        "the training could pass for new ones. Name the same data, development fraction and split seed, or train "
        "again. Other data that only share the name are measured once they have another."
    )


def calibrate(run: TrainedRun, dataset: Dataset) -> Calibration:
    """Temperature, thresholds and distribution from the development split; kept in the run's folder.

    Raises:
        DsLoraError: The data are not the run's.
    """
    if not is_own_data(run, dataset):
        raise other_data(run, dataset)
    rows = split_for(run, dataset, "development")
    labels = rows.labels
    predictions = run.predict(rows.texts)
    spec = run.spec
    temperature = fit_temperature(predictions.logits, labels)
    if predictions.windows.max() > 1:
        # Which window of a long text decides may depend on the temperature.
        predictions = run.predict(rows.texts, temperature)
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
            run.gate_columns(),
            predictions.tokens,
            kept=run.live_columns(),
        ),
    )
    write_json(run.folder / _FILE, asdict(calibration))
    return calibration


def load_calibration(run: TrainedRun, dataset: Dataset) -> Calibration:
    """What :func:`calibrate` kept, or made anew where it has not run.

    It is always of the run's own development split, whatever data the model is then measured on.
    """
    path = run.folder / _FILE
    if not path.is_file():
        return calibrate(run, dataset if is_own_data(run, dataset) else run.data.load())
    values = json.loads(path.read_text(encoding="utf-8"))
    values["thresholds"] = {use: Threshold(**threshold) for use, threshold in values["thresholds"].items()}
    return Calibration(**values)


def evaluate(run: TrainedRun, dataset: Dataset, split: str | None = None) -> Report:
    """Figures of the model on a split, written to ``evaluation/<split>.json`` and ``.md``.

    Those on other data than the run's have the data's name before the split's. Temperature and thresholds come from the
    run's development split. Choose nothing by a test split's figures.

    Args:
        run: A finished run.
        dataset: Its data, or others with the same labels.
        split: ``train``, ``development``, ``test``, or ``ALL`` of other data. By itself ``development``; of other data
            the test split, and all rows where their source defines none: the model has been trained on none of them.

    Raises:
        DsLoraError: The data have no such split or other labels, or rows that are asked for as new ones may be rows
            that the model was trained on.
    """
    shared = shares_data(run, dataset)
    if split is None:
        split = "development" if shared else ("test" if "test" in dataset.splits else ALL)
    if shared and split in ("development", ALL) and not is_own_data(run, dataset):
        raise other_data(run, dataset)
    if shared and split == ALL:
        raise DsLoraError(
            f"{dataset.name} is what {run.folder} was trained on, so a figure on all of its rows would say nothing. "
            f"Expected one of the splits: {', '.join(dataset.splits)}."
        )
    calibration = load_calibration(run, dataset)
    rows = split_for(run, dataset, split)
    predictions = run.predict(rows.texts, calibration.temperature)
    spec = run.spec
    report = build_report(
        model=run.folder.name,
        dataset=dataset.name,
        split=split,
        precision=run.computed_by,
        labels=spec.labels,
        positive_labels=spec.positive_labels,
        logits=predictions.logits,
        truth=rows.labels,
        gates=predictions.gates,
        columns=run.gate_columns(),
        temperature=calibration.temperature,
        thresholds=calibration.thresholds,
    )
    whose = "" if is_own_split(run, dataset, split) else re.sub(r"[^\w.-]+", "-", dataset.name) + "-"
    report.write(run.folder / _FOLDER, f"{whose}{split}")
    return report
