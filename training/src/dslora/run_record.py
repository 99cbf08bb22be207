"""What is written down of a run, and what every kind of run tells evaluation."""

import importlib.metadata
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from dslora.classifier import GateColumn
from dslora.data import Dataset, load_dataset
from dslora.errors import DataError, DsLoraError, OtherRunError
from dslora.files import write_json
from dslora.inference import Predictions
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.loop import TrainingResult
from dslora.train.settings import FREE, TrainSettings

RUN_FILE = "run.json"
SPLIT_FILE = "development.json"
_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


@dataclass(frozen=True)
class DataSettings:
    """Which data set, and how its development split is made; see ``dslora.data.load_dataset``."""

    name: str
    data_dir: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    development_fraction: float = 0.1
    split_seed: int = 0
    positive_labels: tuple[str, ...] = ()

    def load(self) -> Dataset:
        return load_dataset(
            self.name,
            self.data_dir,
            text_column=self.text_column,
            label_column=self.label_column,
            development_fraction=self.development_fraction,
            seed=self.split_seed,
            positive_labels=self.positive_labels or None,
        )


class Labelling(Protocol):
    """What every kind of model says of its answers."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def positive_labels(self) -> tuple[str, ...]: ...
    @property
    def normalization(self) -> tuple[str, ...]: ...


class TrainedRun(Protocol):
    """A finished run of any kind of model, as evaluation sees it."""

    @property
    def folder(self) -> Path: ...
    @property
    def data(self) -> DataSettings: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def spec(self) -> Labelling: ...
    @property
    def computed_by(self) -> str:
        """Name of library and precision in reports."""

    def read(self, text: str) -> object:
        """What the model reads of a post.

        Raises:
            NormalizationError: It is nothing.
        """

    def predict(self, texts: Sequence[str], temperature: float = 1.0) -> Predictions:
        """Answers for posts; see :func:`dslora.inference.predict`."""

    def gate_columns(self) -> list[GateColumn]:
        """Meaning of the columns of the predictions' gates."""

    def live_columns(self) -> list[int]:
        """Columns of modules that can still change an answer."""


def classifiable(dataset: Dataset, read: Callable[[str], object]) -> Dataset:
    """The data set without rows of which a model reads nothing.

    Args:
        dataset: As loaded.
        read: As :meth:`TrainedRun.read`.

    Raises:
        DataError: A class is left without a row.
    """
    kept = dataset.without_refused(read)
    for name in kept.splits:
        missing = [label for label, count in kept.class_counts(name).items() if count == 0]
        if missing:
            raise DataError(
                f"{dataset.name}: nothing is left to read of any {name} row of {', '.join(missing)}. Expected every "
                "class in every split. Leave steps out (--normalization), or add rows of that class."
            )
    return kept


def describe_run(
    dataset: Dataset, kept: Dataset, data: DataSettings, spec: Any, settings: TrainSettings, train_rows: int
) -> dict[str, Any]:
    """What ``run.json`` says but for the result.

    Args:
        dataset: As loaded.
        kept: Without the rows of which the model reads nothing.
        data: How it was asked for.
        spec: Of the model.
        settings: Of the training.
        train_rows: How many rows were trained on.
    """
    files = files_of(dataset)
    return {
        "data": asdict(data),
        "dataset": {
            "name": dataset.name,
            "license": dataset.license,
            "citation": dataset.citation,
            "splits": {
                name: {"rows": len(split), "classes": kept.class_counts(name), "files": files[name]}
                for name, split in kept.splits.items()
            },
            "trainRows": train_rows,
            "dropped": dict(kept.dropped),
            "overlaps": [vars(overlap) for overlap in kept.overlaps],
        },
        "spec": asdict(spec),
        "training": asdict(settings),
        "libraries": library_versions(),
        "commit": source_commit(),
    }


def finished_result(folder: Path, record: dict[str, Any]) -> TrainingResult | None:
    """The result of this very run, where it is finished; None where the folder holds no finished one.

    Args:
        folder: The run's folder.
        record: As :func:`describe_run` returns it.

    Raises:
        OtherRunError: The folder holds a run with other settings or other data.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if _decisive(found) != _decisive(json.loads(json.dumps(record))):
        raise OtherRunError(
            f"{folder}: holds a run with other settings or other data. Use another --out for a new run, or --overwrite."
        )
    return TrainingResult(**found["result"])


def _decisive(record: dict[str, Any]) -> list[Any]:
    """What tells one run from another."""
    training = {name: value for name, value in record["training"].items() if name not in FREE}
    dataset = record["dataset"]
    read = [{**split, "files": checksums(split["files"])} for _, split in sorted(dataset["splits"].items())]
    # Where it lies and what it is called decides nothing.
    data = {name: value for name, value in record["data"].items() if name not in ("name", "data_dir")}
    return [read, data, dataset["trainRows"], dataset["dropped"], record["spec"], training]


def keep_untrained(
    folder: Path, record: dict[str, Any], dataset: Dataset, make: Callable[[], TrainingResult]
) -> TrainingResult:
    """Writes a run that is made in one go, or finds that it is there.

    Args:
        folder: The run's folder.
        record: As :func:`describe_run` returns it.
        dataset: As loaded.
        make: Writes ``best``.

    Raises:
        OtherRunError: The folder holds a run with other settings or other data.
    """
    if (result := finished_result(folder, record)) is not None:
        return result
    if (folder / CHECKPOINT).is_file():
        raise OtherRunError(
            f"{folder}: holds a run of another method. Use another --out for a new run, or --overwrite."
        )
    result = make()
    dataset.write_split(folder / SPLIT_FILE)
    write_json(folder / RUN_FILE, {**record, "result": asdict(result)})
    return result


def macro_f1(logits: NDArray[np.floating], labels: Sequence[int]) -> float:
    """Macro-F1 of the most probable labels."""
    return float(f1_score(np.asarray(labels), logits.argmax(axis=1), average="macro", zero_division=0))


def files_of(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    return {name: [vars(file) for file in split.files] for name, split in dataset.splits.items()}


def checksums(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """What files hold, whatever they are called: the name of one from the Hub has its commit in it."""
    return [file["sha256"] for file in files]


def contents(dataset: Dataset) -> dict[str, list[str]]:
    """Checksums of a data set's files, by split."""
    return {name: checksums(files) for name, files in files_of(dataset).items()}


def data_key(dataset: Dataset, data: DataSettings) -> str:
    """Tells apart what is trained on and how it is read; not where it lies or what it is called."""
    return json.dumps([contents(dataset), asdict(replace(data, name="", data_dir=None))], sort_keys=True)


def read_record(folder: Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run.

    Raises:
        DsLoraError: The folder is none, or its training has not finished.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        state = (
            "its training has not finished; run dslora train with the same --out"
            if folder.is_dir()
            else "it does not exist"
        )
        raise DsLoraError(f"{folder} is not a finished run: {state}. Expected a folder that dslora train wrote.")
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def data_of(record: dict[str, Any]) -> DataSettings:
    """Which data a run was trained on."""
    return DataSettings(**{**record["data"], "positive_labels": tuple(record["data"]["positive_labels"])})


def is_own_data(run: TrainedRun, dataset: Dataset) -> bool:
    """Whether a data set is the one that a run was trained on, with the same development rows."""
    held_out = json.loads((run.folder / SPLIT_FILE).read_text(encoding="utf-8"))
    return held_out["idsSha256"] == dataset.splits["development"].ids_sha256() and all(
        is_own_split(run, dataset, name) for name in ("train", "development")
    )


def shares_data(run: TrainedRun, dataset: Dataset) -> bool:
    """Whether a data set goes by the name of the one that a run was trained on, or has a file of it.

    Its development split may then hold rows that the run was trained on: where rows are held out, which of them are
    depends on their order, their number and the seed.
    """
    recorded = run.record["dataset"]
    known = {file["sha256"] for split in recorded["splits"].values() for file in split["files"]}
    files = {file.sha256 for split in dataset.splits.values() for file in split.files}
    return _known_as(recorded["name"]) == _known_as(dataset.name) or not known.isdisjoint(files)


def is_own_split(run: TrainedRun, dataset: Dataset, split: str) -> bool:
    """Whether a split has the files that the run has recorded for it."""
    recorded = run.record["dataset"]["splits"]
    return split in recorded and checksums(recorded[split]["files"]) == contents(dataset)[split]


def _known_as(name: str) -> str:
    """A data set of the Hub without configuration and revision: others have many of the same rows."""
    return name.partition("@")[0].partition(":")[0]


def library_versions() -> dict[str, str]:
    """Versions of what trained and exported the model."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def source_commit() -> str | None:
    """Commit of the package's checkout; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
