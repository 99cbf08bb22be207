"""A run: one folder that holds how a classifier was trained and what came of it.

run.json           settings, data (checksums, counts), library versions, result
development.json   which rows the development split has
best/              the trained model (``Classifier.load``)
metrics.jsonl      one line an epoch
tensorboard/       the same for TensorBoard
checkpoint.pt      where a killed run resumes
evaluation/        written by ``dslora evaluate``
"""

import importlib.metadata
import json
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from dslora.bases import load_tokenizer, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, GateColumn, build_classifier, longest_input
from dslora.data import Dataset, load_dataset, take
from dslora.encoding import TextEncoder, text_encoder
from dslora.errors import DataError, DsLoraError
from dslora.export.ranks import live_components
from dslora.files import write_json
from dslora.folder import whole_folder
from dslora.inference import Predictions, predict, predict_windows
from dslora.methods import find_method
from dslora.ngrams import NAME as NGRAMS
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.checkpoint import Progress
from dslora.train.loop import BEST, Split, TrainingResult, resolve_device, train
from dslora.train.processes import Processes
from dslora.train.settings import TrainSettings

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

    def predict(self, texts: Sequence[str], temperature: float = 1.0) -> Predictions:
        """Answers for posts; see :func:`dslora.inference.predict`."""

    def gate_columns(self) -> list[GateColumn]:
        """Meaning of the columns of the predictions' gates."""

    def live_columns(self) -> list[int]:
        """Columns of modules that can still change an answer."""


@dataclass(frozen=True)
class Run:
    """A finished run of a PyTorch model as it was read from its folder."""

    computed_by: ClassVar[str] = "pytorch-fp32"

    folder: Path
    data: DataSettings
    settings: TrainSettings
    classifier: Classifier
    encoder: TextEncoder
    tokenizer: Any
    record: dict[str, Any]

    @property
    def spec(self) -> ClassifierSpec:
        return self.classifier.spec

    def predict(self, texts: Sequence[str], temperature: float = 1.0) -> Predictions:
        return predict(self.classifier, self.encoder, texts, temperature)

    def gate_columns(self) -> list[GateColumn]:
        return self.classifier.gate_columns()

    def live_columns(self) -> list[int]:
        return [i for i, layer in enumerate(self.classifier.gated_layers()) if live_components(layer).any()]


def train_run(
    folder: Path,
    data: DataSettings,
    spec: ClassifierSpec,
    settings: TrainSettings,
    *,
    dataset: Dataset | None = None,
    on_epoch: Callable[[Progress, float], None] = lambda progress, macro_f1: None,
    quiet: bool = False,
) -> TrainingResult:
    """Trains into ``folder``, or goes on where a killed run stopped.

    Args:
        folder: The run's folder.
        data: Which data set; ignored for loading when ``dataset`` is given.
        spec: What to build.
        settings: How to train.
        dataset: Already loaded, to save reading it twice.
        on_epoch: See :func:`dslora.train.train`.
        quiet: No progress bar.
    """
    processes = Processes(settings.device)
    dataset = dataset or data.load()
    kept = classifiable(dataset, spec.normalization)
    train_rows = kept.splits["train"]
    if settings.train_rows:
        train_rows = take(train_rows, settings.train_rows, settings.seed)
    development = kept.splits["development"]
    encoder = encoder_of(spec, load_tokenizer(resolve_base(spec.base)))

    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    classifier = build_classifier(spec, settings.base_dtype)
    _check_length(spec)
    record = describe_run(dataset, kept, data, spec, settings, len(train_rows))
    record["remarks"] = classifier.method.remarks(classifier.encoder, spec.adapter)
    held_out = Split(_first_windows(encoder, development.texts), development.labels.tolist())
    if not classifier.method.trains:
        return keep_untrained(
            folder, record, dataset, lambda: _as_it_is(folder, classifier, encoder, held_out, settings)
        )
    result = train(
        classifier,
        encoder,
        Split(_first_windows(encoder, train_rows.texts), train_rows.labels.tolist()),
        held_out,
        settings,
        folder,
        data_key=json.dumps([_files(dataset), asdict(replace(data, data_dir=None))], sort_keys=True),
        on_accepted=lambda: dataset.write_split(folder / SPLIT_FILE),
        on_epoch=on_epoch,
        quiet=quiet,
        processes=processes,
    )
    if not processes.is_main or (folder / RUN_FILE).is_file():
        # Finished before: what it says of versions and commit is about the training, not about today.
        return result
    write_json(folder / RUN_FILE, {**record, "result": asdict(result)})
    return result


def classifiable(dataset: Dataset, normalization: tuple[str, ...]) -> Dataset:
    """The data set without rows of which normalisation leaves nothing.

    Raises:
        DataError: A class is left without a row.
    """
    kept = dataset.without_refused(normalization)
    for name in ("train", "development"):
        missing = [label for label, count in kept.class_counts(name).items() if count == 0]
        if missing:
            raise DataError(
                f"{dataset.name}: normalisation leaves nothing of any {name} row of {', '.join(missing)}. Expected "
                "every class in every split. Leave steps out (--normalization), or add rows of that class."
            )
    return kept


def describe_run(
    dataset: Dataset, kept: Dataset, data: DataSettings, spec: Any, settings: TrainSettings, train_rows: int
) -> dict[str, Any]:
    """What ``run.json`` says but for the result.

    Args:
        dataset: As loaded.
        kept: Without the rows that normalisation refuses.
        data: How it was asked for.
        spec: Of the model.
        settings: Of the training.
        train_rows: How many rows were trained on.
    """
    files = _files(dataset)
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
        DsLoraError: The folder holds a run with other settings or other data.
    """
    path = folder / RUN_FILE
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        same = ("dataset", "spec", "training")
        if [found.get(name) for name in same] == json.loads(json.dumps([record[name] for name in same])):
            return TrainingResult(**found["result"])
    if path.is_file() or (folder / CHECKPOINT).is_file():
        raise DsLoraError(
            f"{folder}: holds a run with other settings or other data. Use another --out for a new run, or --overwrite."
        )
    result = make()
    dataset.write_split(folder / SPLIT_FILE)
    write_json(path, {**record, "result": asdict(result)})
    return result


def _as_it_is(
    folder: Path, classifier: Classifier, encoder: TextEncoder, development: Split, settings: TrainSettings
) -> TrainingResult:
    """Measures and keeps a model that is not trained."""
    started = time.perf_counter()
    logits, _ = predict_windows(classifier.to(resolve_device(settings.device)), encoder, development.windows)
    with whole_folder(folder / BEST, replace=True) as best:
        classifier.save(best)
    seconds = time.perf_counter() - started
    return TrainingResult(macro_f1(logits, development.labels), 0, 0, seconds, 0, 0.0)


def macro_f1(logits: NDArray[np.floating], labels: Sequence[int]) -> float:
    """Macro-F1 of the most probable labels."""
    return float(f1_score(np.asarray(labels), logits.argmax(axis=1), average="macro", zero_division=0))


def _files(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    return {name: [vars(file) for file in split.files] for name, split in dataset.splits.items()}


def encoder_of(spec: ClassifierSpec, tokenizer: Any) -> TextEncoder:
    """From a text to the windows that a classifier reads: with its prompt around them, where it has one."""
    method = find_method(spec.method)
    frame = method.frame(tokenizer, spec.adapter, spec.labels, spec.positive_labels)
    return text_encoder(tokenizer, spec.normalization, spec.max_tokens, spec.window_overlap, frame)


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


def load_run(folder: Path) -> Run:
    """Reads a finished run of a PyTorch model.

    Raises:
        DsLoraError: The folder is none, its training has not finished, or its model is of another kind.
    """
    record = read_record(folder)
    if record["spec"]["method"] == NGRAMS:
        raise DsLoraError(
            f"{folder} is a run of {NGRAMS}: counted words with one weight each, no PyTorch model that could become a "
            "graph. It can be evaluated (dslora evaluate). To export a model, train one with another method."
        )
    classifier = Classifier.load(folder / BEST)
    tokenizer = load_tokenizer(resolve_base(classifier.spec.base))
    return Run(
        folder,
        data_of(record),
        TrainSettings(**record["training"]),
        classifier,
        encoder_of(classifier.spec, tokenizer),
        tokenizer,
        record,
    )


def is_own_data(run: TrainedRun, dataset: Dataset) -> bool:
    """Whether a data set is the one that a run was trained on, with the same development rows."""
    held_out = json.loads((run.folder / SPLIT_FILE).read_text(encoding="utf-8"))
    recorded = run.record["dataset"]["splits"]
    return held_out["idsSha256"] == dataset.splits["development"].ids_sha256() and all(
        recorded.get(name, {}).get("files") == [vars(file) for file in dataset.splits[name].files]
        for name in ("train", "development")
    )


def _check_length(spec: ClassifierSpec) -> None:
    longest = longest_input(spec.base)
    if longest is not None and spec.max_tokens > longest:
        raise DsLoraError(
            f"--max-tokens {spec.max_tokens} is more than the {longest} that base model {resolve_base(spec.base).id!r} "
            "reads. Lower it: longer posts are read in windows."
        )


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


def _first_windows(encoder: TextEncoder, texts: tuple[str, ...]) -> list[list[int]]:
    """What training reads of each text: all of it, or its first window where it is longer."""
    return [encoder.windows(encoder.ids(text))[0] for text in texts]
