"""A run: one folder that holds how a classifier was trained and what came of it.

run.json           settings, data (checksums, counts), library versions, result
development.json   which rows the development split has
best/              the trained model (``Classifier.load``)
metrics.jsonl      one line an epoch
tensorboard/       the same for TensorBoard
checkpoint.pt      where a killed run resumes
evaluation/        written by ``dslora evaluate``
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from dslora.bases import base_config, load_tokenizer, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, GateColumn, build_classifier, longest_input
from dslora.data import Dataset, take
from dslora.encoding import TextEncoder, text_encoder
from dslora.errors import DsLoraError
from dslora.export.ranks import live_components
from dslora.files import write_json
from dslora.folder import whole_folder
from dslora.inference import Predictions, predict, predict_windows
from dslora.methods import find_method
from dslora.ngrams import NAME as NGRAMS
from dslora.run_record import (
    RUN_FILE,
    SPLIT_FILE,
    DataSettings,
    classifiable,
    data_key,
    data_of,
    describe_run,
    finished_result,
    keep_untrained,
    macro_f1,
    read_record,
)
from dslora.train.checkpoint import Progress
from dslora.train.launch import check_launch
from dslora.train.loop import BEST, Split, TrainingResult, resolve_device, train
from dslora.train.processes import Processes
from dslora.train.settings import TrainSettings

# Ids; what special tokens and overlap need comes on top and is known once there is a tokenizer.
_SHORTEST_WINDOW: Final = 8


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

    def read(self, text: str) -> list[int]:
        return self.encoder.ids(text)

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

    Raises:
        OtherRunError: The folder holds a run with other settings or of other data.
    """
    check_length(spec)
    processes = Processes(settings.device)
    if find_method(spec.method).trains:
        check_launch(spec, settings, processes)
    else:
        processes.refuse_company(spec.method)
    dataset = dataset or data.load()
    encoder = encoder_of(spec, load_tokenizer(resolve_base(spec.base)))
    kept = classifiable(dataset, encoder.ids)
    train_rows = kept.splits["train"]
    if settings.train_rows:
        train_rows = take(train_rows, settings.train_rows, settings.seed)
    development = kept.splits["development"]
    record = describe_run(dataset, kept, data, spec, settings, len(train_rows))
    # What it says of versions and commit is about the training, not about today.
    if (finished := finished_result(folder, record)) is not None:
        return finished

    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    classifier = build_classifier(spec, settings.base_dtype)
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
        data_key=data_key(dataset, data),
        on_accepted=lambda: dataset.write_split(folder / SPLIT_FILE),
        on_epoch=on_epoch,
        quiet=quiet,
        processes=processes,
    )
    if processes.is_main:
        write_json(folder / RUN_FILE, {**record, "result": asdict(result)})
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


def encoder_of(spec: ClassifierSpec, tokenizer: Any) -> TextEncoder:
    """From a text to the windows that a classifier reads: with its prompt around them, where it has one."""
    method = find_method(spec.method)
    frame = method.frame(tokenizer, spec.adapter, spec.labels, spec.positive_labels)
    return text_encoder(tokenizer, spec.normalization, spec.max_tokens, spec.window_overlap, frame)


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


def check_length(spec: ClassifierSpec) -> None:
    """Refuses windows that are longer than the base can read, or too short for any post.

    Nothing is loaded: the configurations of the presets are known.

    Raises:
        DsLoraError: They are.
    """
    if spec.max_tokens < _SHORTEST_WINDOW:
        raise DsLoraError(f"--max-tokens is {spec.max_tokens}; expected {_SHORTEST_WINDOW} or more.")
    longest = longest_input(base_config(spec.base))
    if longest is not None and spec.max_tokens > longest:
        raise DsLoraError(
            f"--max-tokens {spec.max_tokens} is more than the {longest} that base model {spec.base!r} reads. "
            "Lower it: longer posts are read in windows."
        )


def _first_windows(encoder: TextEncoder, texts: tuple[str, ...]) -> list[list[int]]:
    """What training reads of each text: all of it, or its first window where it is longer."""
    return [encoder.windows(encoder.ids(text))[0] for text in texts]
