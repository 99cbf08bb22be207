"""The command ``dslora``: look at data, train, evaluate, export, or all of it (pipeline).

dslora pipeline --data olid --data-dir data --out runs/olid --bundle models/olid-minilm
"""

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dslora.errors import DsLoraError
from dslora.options import add_settings, refuse_foreign_options, settings_from

if TYPE_CHECKING:
    from dslora.run import DataSettings

# What a folder holds that a training, finished or not, has written.
_MARKS = ("run.json", "checkpoint.pt", "metrics.jsonl", "development.json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dslora", description="Train, evaluate and export DS-LoRA classifiers of offensive posts."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model; resumes a run that was killed")
    _add_data(train)
    _add_training(train)
    train.set_defaults(handler=_train)

    evaluate = commands.add_parser("evaluate", help="measure a trained run on a split")
    evaluate.add_argument("run", type=Path, help="folder that dslora train wrote")
    evaluate.add_argument("--split", default="development", help="development, test or train (default: development)")
    _add_data(evaluate, required=False)
    evaluate.set_defaults(handler=_evaluate)

    export = commands.add_parser("export", help="write the ONNX bundle of a trained run")
    export.add_argument("run", type=Path, help="folder that dslora train wrote")
    _add_data(export, required=False)
    _add_bundle(export)
    export.set_defaults(handler=_export)

    data = commands.add_parser("data", help="look at a data set")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="counts, classes, repeated texts, lengths, and what is left out and why")
    _add_data(check)
    _add_reading(check)
    check.add_argument("--json", action="store_true", help="print JSON instead of tables")
    check.set_defaults(handler=_check_data)

    pipeline = commands.add_parser("pipeline", help="train, evaluate on development and test, export")
    _add_data(pipeline)
    _add_training(pipeline)
    _add_bundle(pipeline)
    pipeline.set_defaults(handler=_pipeline)
    return parser


def _add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    from dslora.data import DATASETS

    group = parser.add_argument_group("data" if required else "data (default: as the run was trained)")
    group.add_argument(
        "--data",
        required=required,
        help=f"{', '.join(DATASETS)}, or a CSV, TSV or JSON Lines file, or a folder of such files",
    )
    group.add_argument("--data-dir", help="folder with the named data sets (default: DSLORA_DATA_DIR)")
    group.add_argument("--text-column", help="column with the posts, for a file of your own (default: text)")
    group.add_argument("--label-column", help="column with the labels, for a file of your own (default: label)")
    group.add_argument("--positive-labels", nargs="+", metavar="LABEL", help="labels that mean offensive")
    group.add_argument(
        "--development-fraction",
        type=float,
        help="share of training rows to hold out where the data has no development split (default: 0.1)",
    )
    group.add_argument("--split-seed", type=int, help="seed of that split (default: 0)")


def _add_reading(group: argparse._ActionsContainer) -> None:
    from dslora.bases import DEFAULT_BASE

    group.add_argument(
        "--base", default=DEFAULT_BASE, help=f"Hub id, folder or packaged base (default: {DEFAULT_BASE})"
    )
    group.add_argument("--max-tokens", type=int, default=128, help="longest window (default: 128)")
    group.add_argument("--normalization", nargs="+", metavar="STEP", help="steps in order (default: by data set)")


def _add_training(parser: argparse.ArgumentParser) -> None:
    from dslora.methods import METHODS

    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--overwrite", action="store_true", help="start again where --out holds another run")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    group = parser.add_argument_group("model")
    _add_reading(group)
    summary = "; ".join(f"{method.name}: {method.summary}" for method in METHODS.values())
    group.add_argument("--method", default="ds-lora", help=f"{summary} (default: ds-lora)")
    group.add_argument("--window-overlap", type=int, default=32, help="tokens that windows share (default: 32)")
    add_settings(parser)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("bundle")
    group.add_argument("--bundle", type=Path, required=True, help="folder to write")
    group.add_argument("--name", help="model name (default: the folder's)")
    group.add_argument("--model-version", default="1.0.0", help="model version (default: 1.0.0)")
    group.add_argument(
        "--graphs",
        nargs="+",
        choices=("fp32", "int8"),
        default=["int8"],
        help="precisions to write (default: int8)",
    )
    group.add_argument("--languages", nargs="+", default=["en"], help="languages of the training data (default: en)")
    group.add_argument("--license", default="Apache-2.0", help="SPDX id of the bundle (default: Apache-2.0)")
    group.add_argument(
        "--splits",
        nargs="+",
        default=["development", "test"],
        help="splits to state figures of; leave test out until nothing is chosen any more (default: development test)",
    )
    group.add_argument("--replace", action="store_true", help="replace a bundle that is already there")


def _check_data(arguments: argparse.Namespace) -> None:
    from dslora.bases import load_tokenizer, resolve_base
    from dslora.data.check import check_dataset

    dataset = _data_settings(arguments).load()
    tokenizer = load_tokenizer(resolve_base(arguments.base))
    check = check_dataset(
        dataset,
        _normalization(arguments, dataset.name, tokenizer),
        lambda text: len(tokenizer(text, truncation=False)["input_ids"]),
        arguments.max_tokens,
    )
    print(json.dumps(check.to_json(), indent=2) if arguments.json else check.to_markdown(), end="")


def _normalization(arguments: argparse.Namespace, dataset: str, tokenizer: Any) -> tuple[str, ...]:
    from dslora.normalization import default_steps

    return tuple(arguments.normalization or default_steps(dataset, _is_uncased(tokenizer)))


def _train(arguments: argparse.Namespace) -> None:
    from dslora.bases import load_tokenizer, resolve_base
    from dslora.classifier import ClassifierSpec, default_pooling
    from dslora.methods import find_method
    from dslora.run import train_run
    from dslora.sparsity import L1Settings
    from dslora.train import TrainSettings

    method = find_method(arguments.method)
    refuse_foreign_options(arguments, method.settings, method.name)
    settings = settings_from(arguments, TrainSettings)
    data = _data_settings(arguments)
    dataset = data.load()
    steps = _normalization(arguments, dataset.name, load_tokenizer(resolve_base(arguments.base)))
    spec = ClassifierSpec(
        base=arguments.base,
        method=method.name,
        labels=tuple(dataset.labels),
        positive_labels=tuple(dataset.positive_labels),
        normalization=steps,
        max_tokens=arguments.max_tokens,
        window_overlap=arguments.window_overlap,
        pooling=default_pooling(arguments.base),
        adapter=settings_from(arguments, method.settings),
        l1=settings_from(arguments, L1Settings) if method.sparse else None,
    )
    with _setting_aside(arguments.out, arguments.overwrite):
        result = train_run(arguments.out, data, spec, settings, dataset=dataset, quiet=arguments.quiet)
    print(
        f"{arguments.out}: development macro-F1 {result.macro_f1:.4f} in epoch {result.epoch} of {result.epochs}, "
        f"{result.parameters:,} trainable parameters, {result.zeros:.1%} exact zeros in A and B, "
        f"{result.seconds:.0f} s"
    )


@contextmanager
def _setting_aside(folder: Path, overwrite: bool) -> Iterator[None]:
    """Moves an old run out of the way for a new one; it comes back when the new one fails before it has begun.

    Raises:
        DsLoraError: The folder is no run, or no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise DsLoraError(f"{folder} is a file. Name a folder for the run.")
    if not overwrite or not folder.exists():
        yield
        return
    if any(folder.iterdir()) and not any((folder / name).exists() for name in _MARKS):
        raise DsLoraError(f"{folder} is not a run, so --overwrite does not replace it. Name another folder.")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        yield
    finally:
        if any((folder / name).exists() for name in ("run.json", "checkpoint.pt")):
            shutil.rmtree(old)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            old.rename(folder)


def _evaluate(arguments: argparse.Namespace) -> None:
    from dslora.assess import evaluate
    from dslora.run import load_run

    run = load_run(arguments.run)
    print(evaluate(run, _data_settings(arguments, run.data).load(), arguments.split).to_markdown())


def _export(arguments: argparse.Namespace) -> None:
    from dslora.publish import publish, summary
    from dslora.run import load_run

    run = load_run(arguments.run)
    report = publish(
        run,
        _data_settings(arguments, run.data).load(),
        arguments.bundle,
        name=arguments.name or arguments.bundle.name,
        version=arguments.model_version,
        precisions=tuple(arguments.graphs),
        languages=tuple(arguments.languages),
        license=arguments.license,
        splits=tuple(arguments.splits),
        replace=arguments.replace,
    )
    print(summary(report))


def _pipeline(arguments: argparse.Namespace) -> None:
    from dslora.assess import calibrate, evaluate
    from dslora.folder import check_target
    from dslora.run import load_run

    # Asked before hours of training, not after.
    check_target(arguments.bundle, replace=arguments.replace)
    _train(arguments)
    run = load_run(arguments.out)
    dataset = _data_settings(arguments).load()
    calibrate(run, dataset)
    for split in arguments.splits:
        if split in dataset.splits:
            report = evaluate(run, dataset, split)
            print(f"{split}: macro-F1 {report.metrics.macro_f1}, n = {report.metrics.n}")
    arguments.run = arguments.out
    _export(arguments)


def _data_settings(arguments: argparse.Namespace, run: "DataSettings | None" = None) -> "DataSettings":
    """What the data options say; for a trained run, what it was trained on where they say nothing."""
    from dataclasses import replace

    from dslora.data import DATASETS
    from dslora.run import DataSettings

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


def _is_uncased(tokenizer: Any) -> bool:
    return bool(tokenizer.tokenize("A") == tokenizer.tokenize("a"))


def _quieten_libraries() -> None:
    """Leaves the terminal to our own messages and progress bar."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, or 1 after an error that the user can put right."""
    arguments = _parser().parse_args(argv)
    _quieten_libraries()
    try:
        arguments.handler(arguments)
    except DsLoraError as error:
        print(f"dslora: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resume = arguments.command in ("train", "pipeline")
        hint = " Run the same command again, without --overwrite, to resume." if resume else ""
        print(f"dslora: interrupted.{hint}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
