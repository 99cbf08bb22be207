"""Groups of options that several commands share, and what they say."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dslora.options import add_settings, finite, refuse_foreign_options, refuse_training_options

if TYPE_CHECKING:
    from dslora.methods import Method
    from dslora.run_record import DataSettings

IGNORE_MEMORY: Final = "With --ignore-memory it is tried all the same."
# Settings of training that a method without a training knows too.
_WITHOUT_TRAINING: Final[tuple[str, ...]] = ("device", "seed", "base_precision")


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    from dslora.data import DATASETS

    group = parser.add_argument_group("data" if required else "data (default: as the run was trained)")
    group.add_argument(
        "--data",
        required=required,
        help=f"{', '.join(DATASETS)}, a CSV, TSV, JSON Lines or Parquet file, a folder of such files, or "
        "hub:owner/name[:configuration][@revision]",
    )
    group.add_argument("--data-dir", help="folder with the named data sets (default: DSLORA_DATA_DIR)")
    add_columns(group)
    group.add_argument(
        "--development-fraction",
        type=finite,
        help="share of training rows to hold out where the data has no development split (default: 0.1)",
    )
    group.add_argument("--split-seed", type=int, help="seed of that split (default: 0)")


def add_columns(group: argparse._ActionsContainer) -> None:
    """What has to be known to read a file of one's own."""
    group.add_argument("--text-column", help="column with the posts, for a file of your own (default: text)")
    group.add_argument("--label-column", help="column with the labels, for a file of your own (default: label)")
    group.add_argument("--positive-labels", nargs="+", metavar="LABEL", help="labels that mean offensive")


def add_reading(group: argparse._ActionsContainer) -> None:
    from dslora.bases import DEFAULT_BASE, known_bases

    group.add_argument(
        "--base",
        default=DEFAULT_BASE,
        help=f"Hub id, folder, GGUF file, or one of {', '.join(known_bases())} (default: {DEFAULT_BASE})",
    )
    group.add_argument("--max-tokens", type=int, default=128, help="longest window (default: 128)")
    group.add_argument("--normalization", nargs="+", metavar="STEP", help="steps in order (default: by data set)")


def add_training(parser: argparse.ArgumentParser) -> None:
    from dslora import ngrams
    from dslora.methods import METHODS

    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--overwrite", action="store_true", help="start again where --out holds another run")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--ignore-memory", action="store_true", help="train although dslora plan says that memory is too small"
    )
    group = parser.add_argument_group("model")
    add_reading(group)
    methods = {name: method.summary for name, method in METHODS.items()} | {ngrams.NAME: ngrams.SUMMARY}
    summary = "; ".join(f"{name}: {words}" for name, words in methods.items())
    group.add_argument("--method", default="ds-lora", help=f"{summary} (default: ds-lora)")
    group.add_argument("--window-overlap", type=int, default=32, help="tokens that windows share (default: 32)")
    add_settings(parser)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("bundle")
    group.add_argument("--bundle", type=Path, required=True, help="folder to write")
    group.add_argument("--name", help="model name (default: the folder's)")
    group.add_argument("--model-version", default="1.0.0", help="model version (default: 1.0.0)")
    group.add_argument(
        "--graphs",
        nargs="+",
        choices=("fp16", "int8", "int4", "fp32"),
        help="precisions to write: int8 for the CPU, fp16 for CUDA, int4 (weights of 4 bits) for large decoders, fp32 "
        "(default: int8, or fp16 with --provider cuda)",
    )
    group.add_argument(
        "--provider",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: run the graphs made for it there, and refuse one whose nodes fall back to the CPU (default: cpu)",
    )
    group.add_argument(
        "--layout",
        default="auto",
        help="arrangement of the graph: auto (the fastest on this machine, timed), reference, k-concat, one-gemm, "
        "small-gemm or naive (default: auto)",
    )
    group.add_argument(
        "--languages",
        nargs="+",
        metavar="TAG",
        help="languages of the training data, as BCP 47 tags (default: the data set's; en for your own data)",
    )
    group.add_argument("--license", default="Apache-2.0", help="SPDX id of the bundle (default: Apache-2.0)")
    group.add_argument(
        "--splits",
        nargs="+",
        default=["development", "test"],
        help="splits to state figures of; leave test out until nothing is chosen any more (default: development test)",
    )
    group.add_argument("--replace", action="store_true", help="replace a bundle that is already there")


def graphs(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Precisions that ``--graphs`` names, or that suit the provider."""
    return tuple(arguments.graphs or (("fp16",) if arguments.provider == "cuda" else ("int8",)))


def languages(arguments: argparse.Namespace, data: str) -> tuple[str, ...]:
    """What ``--languages`` names, or the data set's own language.

    Raises:
        DsLoraError: One is no tag.
    """
    from dslora.data import language_of
    from dslora.errors import DsLoraError

    for tag in arguments.languages or ():
        # As the manifest's schema has it, an hour of export later.
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", tag):
            raise DsLoraError(f"--languages {tag}: expected BCP 47 tags such as en, de or pt-BR.")
    return tuple(arguments.languages or (language_of(data),))


def refuse_unused_options(arguments: argparse.Namespace, method: "Method") -> None:
    """What would be without effect on a method.

    Raises:
        DsLoraError: Such an option was given.
    """
    from dataclasses import fields

    from dslora.train import TrainSettings

    refuse_foreign_options(arguments, method.settings, method.name)
    used = _WITHOUT_TRAINING
    if method.trains:
        names = (field.name for field in fields(TrainSettings))
        used = tuple(name for name in names if method.gated or not name.startswith("gate_"))
    refuse_training_options(arguments, method.name, used=used, sparse=method.sparse)


def data_settings(arguments: argparse.Namespace, run: "DataSettings | None" = None) -> "DataSettings":
    """What the data options say; for a trained run, what it was trained on where they say nothing."""
    from dataclasses import replace

    from dslora.data import DATASETS
    from dslora.run_record import DataSettings

    settings = run or DataSettings(name=arguments.data)
    if arguments.data and arguments.data in DATASETS:
        # Columns and positive labels are the data set's own.
        settings = replace(settings, text_column=None, label_column=None, positive_labels=())
    given = {
        "name": arguments.data,
        "data_dir": arguments.data_dir,
        "text_column": arguments.text_column,
        "label_column": arguments.label_column,
        "development_fraction": arguments.development_fraction,
        "split_seed": arguments.split_seed,
        "positive_labels": tuple(arguments.positive_labels) if arguments.positive_labels else None,
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def normalization(arguments: argparse.Namespace, dataset: str, tokenizer: Any) -> tuple[str, ...]:
    from dslora.encoding import is_uncased
    from dslora.normalization import default_steps

    return tuple(arguments.normalization or default_steps(dataset, is_uncased(tokenizer)))
