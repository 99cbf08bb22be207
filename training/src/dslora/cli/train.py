"""``dslora train``: train a model."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dslora.cli.arguments import (
    IGNORE_MEMORY,
    add_data,
    add_training,
    data_settings,
    normalization,
    refuse_unused_options,
)
from dslora.options import refuse_foreign_options, refuse_training_options, settings_from

# What a folder holds that a training, finished or not, has written.
_MARKS = ("run.json", "checkpoint.pt", "metrics.jsonl", "development.json")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_training(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.folder import check_holds, check_writable
    from dslora.ngrams import NAME as NGRAMS

    check_writable(arguments.out)
    # One that was broken off may have no more than its model, which is too little to remove a folder for.
    check_holds(arguments.out, _MARKS if arguments.overwrite else (*_MARKS, "best"), "run")
    if arguments.method == NGRAMS:
        _train_ngrams(arguments)
    else:
        _train_model(arguments)


def _train_model(arguments: argparse.Namespace) -> None:
    from dslora.bases import load_tokenizer, resolve_base
    from dslora.classifier import ClassifierSpec, default_pooling
    from dslora.methods import find_method
    from dslora.plan import Division, check_fits
    from dslora.run import check_length, train_run
    from dslora.run_record import read_record
    from dslora.sparsity import L1Settings
    from dslora.train import TrainSettings
    from dslora.train.processes import Processes

    method = find_method(arguments.method)
    refuse_unused_options(arguments, method)
    settings = settings_from(arguments, TrainSettings)
    adapter = settings_from(arguments, method.settings)
    l1 = settings_from(arguments, L1Settings) if method.sparse else None
    method.check_machine()
    processes = Processes(settings.device)
    if not method.trains:
        processes.refuse_company(method.name)
    source = resolve_base(arguments.base)
    data = data_settings(arguments)
    dataset = data.load()
    spec = ClassifierSpec(
        base=arguments.base,
        method=method.name,
        labels=tuple(dataset.labels),
        positive_labels=tuple(dataset.positive_labels),
        normalization=normalization(arguments, dataset.name, load_tokenizer(source)),
        max_tokens=arguments.max_tokens,
        window_overlap=arguments.window_overlap,
        pooling=default_pooling(arguments.base),
        adapter=adapter,
        l1=l1,
    )
    check_length(spec)
    if method.trains and not arguments.ignore_memory:
        device = processes.device.type
        # A GPU is a process's own; the processes of one machine share its memory.
        sharing = int(os.environ.get("LOCAL_WORLD_SIZE", processes.count)) if device == "cpu" else 1
        division = Division(processes.count, processes.is_fsdp)
        check_fits(spec, settings, device, division=division, sharing=sharing, way_out=IGNORE_MEMORY)
    if processes.is_main and method.trains:
        for remark in settings.remarks(processes.device):
            print(remark, file=sys.stderr)
    with _setting_aside(arguments.out, arguments.overwrite):
        result = train_run(arguments.out, data, spec, settings, dataset=dataset, quiet=arguments.quiet)
    if not processes.is_main:
        return
    if not method.trains:
        print(f"{arguments.out}: development macro-F1 {result.macro_f1:.4f} without training, {result.seconds:.0f} s")
        return
    print(
        f"{arguments.out}: development macro-F1 {result.macro_f1:.4f} in epoch {result.epoch} of {result.epochs}, "
        f"{result.parameters:,} trainable parameters, {result.zeros:.1%} exact zeros in A and B, "
        f"{result.seconds:.0f} s"
    )
    for remark in read_record(arguments.out).get("remarks", ()):
        print(remark)


def _train_ngrams(arguments: argparse.Namespace) -> None:
    from dslora.ngram_run import train_ngrams
    from dslora.ngrams import NAME, TRAINING_OPTIONS, NgramSettings, NgramSpec
    from dslora.normalization import default_steps
    from dslora.train import TrainSettings
    from dslora.train.processes import Processes

    refuse_foreign_options(arguments, NgramSettings, NAME)
    refuse_training_options(arguments, NAME, used=TRAINING_OPTIONS, sparse=False)
    settings = settings_from(arguments, TrainSettings)
    adapter = settings_from(arguments, NgramSettings)
    Processes(settings.device).refuse_company(NAME)
    data = data_settings(arguments)
    dataset = data.load()
    steps = tuple(arguments.normalization or default_steps(dataset.name, True))
    spec = NgramSpec(tuple(dataset.labels), tuple(dataset.positive_labels), steps, adapter)
    with _setting_aside(arguments.out, arguments.overwrite):
        result = train_ngrams(arguments.out, data, spec, settings, dataset)
    print(
        f"{arguments.out}: development macro-F1 {result.macro_f1:.4f}, {result.parameters:,} weights, "
        f"{result.seconds:.0f} s"
    )


@contextmanager
def _setting_aside(folder: Path, overwrite: bool) -> Iterator[None]:
    """Moves an old run out of the way for a new one; it comes back when the new one fails before it has begun."""
    if not overwrite or not folder.exists() or not _writes():
        yield
        return
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


def _writes() -> bool:
    from dslora.train.processes import is_main_process

    return is_main_process()
