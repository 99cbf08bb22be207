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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dslora.bases import load_tokenizer, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, build_classifier, longest_input
from dslora.data import Dataset, load_dataset, take
from dslora.encoding import TextEncoder, text_encoder
from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.train.loop import BEST, Split, TrainingResult, train
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


@dataclass(frozen=True)
class Run:
    """A finished run as it was read from its folder."""

    folder: Path
    data: DataSettings
    settings: TrainSettings
    classifier: Classifier
    encoder: TextEncoder
    tokenizer: Any
    record: dict[str, Any]


def train_run(
    folder: Path,
    data: DataSettings,
    spec: ClassifierSpec,
    settings: TrainSettings,
    *,
    dataset: Dataset | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Trains into ``folder``, or goes on where a killed run stopped.

    Args:
        folder: The run's folder.
        data: Which data set; ignored for loading when ``dataset`` is given.
        spec: What to build.
        settings: How to train.
        dataset: Already loaded, to save reading it twice.
        quiet: No progress bar.
    """
    dataset = dataset or data.load()
    kept = dataset.without_refused(spec.normalization)
    train_rows = kept.splits["train"]
    if settings.train_rows:
        train_rows = take(train_rows, settings.train_rows, settings.seed)
    development = kept.splits["development"]
    tokenizer = load_tokenizer(resolve_base(spec.base))
    encoder = text_encoder(tokenizer, spec.normalization, spec.max_tokens, spec.window_overlap)

    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    classifier = build_classifier(spec)
    _check_length(spec)
    files = {name: [vars(file) for file in split.files] for name, split in dataset.splits.items()}
    result = train(
        classifier,
        encoder,
        Split(_first_windows(encoder, train_rows.texts), train_rows.labels.tolist()),
        Split(_first_windows(encoder, development.texts), development.labels.tolist()),
        settings,
        folder,
        data_key=json.dumps([files, asdict(replace(data, data_dir=None))], sort_keys=True),
        on_accepted=lambda: dataset.write_split(folder / SPLIT_FILE),
        quiet=quiet,
    )
    if (folder / RUN_FILE).is_file():
        # Finished before: what it says of versions and commit is about the training, not about today.
        return result
    write_json(
        folder / RUN_FILE,
        {
            "data": asdict(data),
            "dataset": {
                "name": dataset.name,
                "license": dataset.license,
                "citation": dataset.citation,
                "splits": {
                    name: {"rows": len(split), "classes": kept.class_counts(name), "files": files[name]}
                    for name, split in kept.splits.items()
                },
                "trainRows": len(train_rows),
                "dropped": dict(kept.dropped),
                "overlaps": [vars(overlap) for overlap in kept.overlaps],
            },
            "spec": asdict(spec),
            "training": asdict(settings),
            "libraries": library_versions(),
            "commit": source_commit(),
            "result": asdict(result),
        },
    )
    return result


def load_run(folder: Path) -> Run:
    """Reads a finished run.

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
    record = json.loads(path.read_text(encoding="utf-8"))
    classifier = Classifier.load(folder / BEST)
    tokenizer = load_tokenizer(resolve_base(classifier.spec.base))
    spec = classifier.spec
    data = dict(record["data"])
    data["positive_labels"] = tuple(data["positive_labels"])
    return Run(
        folder,
        DataSettings(**data),
        TrainSettings(**record["training"]),
        classifier,
        text_encoder(tokenizer, spec.normalization, spec.max_tokens, spec.window_overlap),
        tokenizer,
        record,
    )


def is_own_data(run: Run, dataset: Dataset) -> bool:
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
