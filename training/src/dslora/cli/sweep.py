"""``dslora sweep``: look for settings on the development split."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dslora.cli.arguments import (
    IGNORE_MEMORY,
    add_data,
    add_training,
    data_settings,
    normalization,
    refuse_unused_options,
)
from dslora.errors import DsLoraError
from dslora.options import settings_from

if TYPE_CHECKING:
    import torch

    from dslora.classifier import ClassifierSpec
    from dslora.data import Dataset
    from dslora.sweep import Space, Sweep
    from dslora.train import TrainSettings
    from dslora.train.checkpoint import Progress
    from dslora.train.loop import TrainingResult

# Options of a sweep that dslora train does not have, and those that a sweep sets by itself.
_OWN = ("--search", "--trials", "--workers", "--out")
_UNLEARNT = ("out", "overwrite", "quiet", "ignore-memory")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_training(parser)
    group = parser.add_argument_group("sweep")
    group.add_argument(
        "--search",
        nargs="+",
        metavar="NAME=VALUES",
        help="options to search, as NAME=A,B,C or NAME=LOW..HIGH (default: by method, without what is given)",
    )
    group.add_argument("--trials", type=int, default=20, help="trials in all, over workers and restarts (default: 20)")
    group.add_argument("--workers", type=int, default=1, help="processes that share the sweep (default: 1)")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.folder import check_holds, check_writable
    from dslora.sweep import table, write_result
    from dslora.train import TrainSettings
    from dslora.train.processes import resolve_device
    from dslora.workers import run_workers

    if arguments.trials < 1 or arguments.workers < 1:
        raise DsLoraError("--trials and --workers must be 1 or more.")
    if arguments.overwrite:
        raise DsLoraError("A sweep is never overwritten. Delete its folder, or name another --out.")
    check_writable(arguments.out)
    check_holds(arguments.out, ("study.db", "study.lock"), "sweep")
    sweep, _ = _prepare(arguments)
    settings = settings_from(arguments, TrainSettings)
    for remark in settings.remarks(resolve_device(settings.device)):
        print(remark, file=sys.stderr)
    given = sys.argv[2:] if sys.argv[1:2] == ["sweep"] else []
    failed = run_workers(arguments.workers, _work, (arguments,), vars(arguments))
    if len(failed) == arguments.workers:
        raise DsLoraError("Every worker of the sweep has failed; what went wrong stands above.")
    result = write_result(sweep, lambda settings: _command(arguments, given, settings))
    print(table(result))
    print(f"\nBest: macro-F1 {result['best']['macroF1']:.4f} on development. The test split was not read.")
    print(result["best"]["command"])


def _prepare(arguments: argparse.Namespace) -> "tuple[Sweep, Dataset]":
    """What is searched, checked before any trial starts."""
    from dslora.methods import find_method
    from dslora.ngrams import NAME as NGRAMS
    from dslora.run_record import data_key
    from dslora.sweep import Choices, Sweep, default_space, open_study, parse_space, without_test
    from dslora.train import TrainSettings
    from dslora.train.processes import resolve_device
    from dslora.train.settings import fingerprint

    if arguments.method == NGRAMS:
        raise DsLoraError(f"Method {NGRAMS} trains no model on a base, which is what is searched. Use dslora train.")
    method = find_method(arguments.method)
    if not method.trains:
        raise DsLoraError(
            f"Method {method.name} trains nothing, so all trials would be the same. Use dslora train, or search with "
            "another method."
        )
    method.check_machine()
    device = resolve_device(settings_from(arguments, TrainSettings).device)
    given = _given(arguments)
    space = parse_space(arguments.search) if arguments.search else _not_given(given, method.name, default_space(method))
    for name, what in space.items():
        for value in what.values if isinstance(what, Choices) else what.ends:
            _check_value(arguments, space, name, value)
    _refuse_given(given, space)
    data = data_settings(arguments)
    dataset = without_test(data.load())
    _check_fits(arguments, space, dataset, device)
    spec, settings = _spec(arguments, dataset)
    ranges = {name: repr(what) for name, what in space.items()}
    key = fingerprint(spec, settings.decisive(), ranges, data_key(dataset, data))
    sweep = Sweep(arguments.out, space, arguments.trials, settings.seed, key)
    open_study(sweep)
    return sweep, dataset


def _given(arguments: argparse.Namespace) -> set[str]:
    """Options of training that have another value than by default."""
    parser = argparse.ArgumentParser()
    add_training(parser)
    defaults = vars(parser.parse_args(["--out", ""]))
    return {name.replace("_", "-") for name, default in defaults.items() if getattr(arguments, name) != default}


def _not_given(given: set[str], method: str, space: "dict[str, Any]") -> "dict[str, Any]":
    """What is searched by itself, less the options that were given a value.

    Raises:
        DsLoraError: Nothing is left.
    """
    left = {name: what for name, what in space.items() if name not in given}
    if not left:
        raise DsLoraError(
            f"All that a sweep of {method} searches by itself is given: "
            f"{', '.join(f'--{name}' for name in space)}. Leave some of these out, or name others with --search."
        )
    return left


def _refuse_given(given: set[str], space: "Space") -> None:
    """Refuses what would be without effect.

    Raises:
        DsLoraError: An option is searched, and given too.
    """
    # The seed is also that of the search.
    both = [name for name in space if name != "seed" and name in given]
    if both:
        raise DsLoraError(
            f"{', '.join(f'--{name}' for name in both)}: given, and searched by --search too, so that what is given "
            "would be without effect. Expected one of both. Leave the option out, or take it out of --search."
        )


def _check_value(arguments: argparse.Namespace, space: "Space", name: str, value: Any) -> None:
    """Refuses a value with which no trial can be trained.

    Raises:
        DsLoraError: It is impossible both beside what is not searched and beside the largest of what is.
    """
    from dslora.sweep import largest

    try:
        _settings(_with(arguments, {name: value}))
    except DsLoraError:
        # AdaLoRA's final rank, say, has to be below its first one, which may be searched too.
        beside = [{**others, name: value} for others in largest(space) if others.keys() != {name}]
        if not beside:
            raise
        _settings(_with(arguments, beside[0]))


def _check_fits(arguments: argparse.Namespace, space: "Space", dataset: "Dataset", device: "torch.device") -> None:
    """Refuses a search whose largest model this machine cannot train, before hours of trials end there.

    Raises:
        DsLoraError: It cannot.
    """
    from dslora.plan import check_fits
    from dslora.run import check_length
    from dslora.sweep import largest

    for values in largest(space):
        spec, settings = _spec(_with(arguments, values), dataset)
        settings.check_device(device)
        check_length(spec)
        if not arguments.ignore_memory:
            check_fits(spec, settings, device.type, sharing=arguments.workers, way_out=IGNORE_MEMORY)


def _work(arguments: argparse.Namespace, number: int) -> None:
    """One worker."""
    from dslora.sweep import work

    sweep, dataset = _prepare(arguments)

    def train(
        values: Mapping[str, Any], folder: Path, on_epoch: "Callable[[Progress, float], None]"
    ) -> "TrainingResult":
        from dslora.run import train_run

        chosen = _with(arguments, values)
        spec, settings = _spec(chosen, dataset)
        data = data_settings(arguments)
        return train_run(folder, data, spec, settings, dataset=dataset, on_epoch=on_epoch, quiet=True)

    work(sweep, train, number, lambda line: print(line, file=sys.stderr))


def _with(arguments: argparse.Namespace, values: Mapping[str, Any]) -> argparse.Namespace:
    """The options with those of a trial, read as if they had been typed."""
    chosen = argparse.Namespace(**vars(arguments))
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_training(parser)
    useless = [name for name in values if name in _UNLEARNT]
    if useless:
        raise DsLoraError(f"--search: {useless[0]} decides nothing that is learnt, so there is nothing to search.")
    typed = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    try:
        parsed, unknown = parser.parse_known_args(["--out", str(arguments.out), *typed])
    except argparse.ArgumentError as error:
        raise DsLoraError(f"--search: {error}.") from error
    if unknown:
        raise DsLoraError(f"--search: {unknown[0]} is no option of dslora train.")
    for name in values:
        destination = name.replace("-", "_")
        setattr(chosen, destination, getattr(parsed, destination))
    return chosen


def _settings(arguments: argparse.Namespace) -> "tuple[Any, Any, TrainSettings]":
    from dslora.methods import find_method
    from dslora.sparsity import L1Settings
    from dslora.train import TrainSettings

    method = find_method(arguments.method)
    refuse_unused_options(arguments, method)
    l1 = settings_from(arguments, L1Settings) if method.sparse else None
    return settings_from(arguments, method.settings), l1, settings_from(arguments, TrainSettings)


def _spec(arguments: argparse.Namespace, dataset: "Dataset") -> "tuple[ClassifierSpec, TrainSettings]":
    from dslora.bases import load_tokenizer, resolve_base
    from dslora.classifier import ClassifierSpec, default_pooling

    adapter, l1, settings = _settings(arguments)
    tokenizer = load_tokenizer(resolve_base(arguments.base))
    spec = ClassifierSpec(
        base=arguments.base,
        method=arguments.method,
        labels=tuple(dataset.labels),
        positive_labels=tuple(dataset.positive_labels),
        normalization=normalization(arguments, dataset.name, tokenizer),
        max_tokens=arguments.max_tokens,
        window_overlap=arguments.window_overlap,
        pooling=default_pooling(arguments.base),
        adapter=adapter,
        l1=l1,
    )
    return spec, settings


def _command(arguments: argparse.Namespace, given: list[str], settings: Mapping[str, Any]) -> str:
    """``dslora train`` with the sweep's other options and these settings."""
    kept: list[str] = []
    own = False
    for text in given:
        if text.startswith("--"):
            name = text.partition("=")[0]
            own = name in _OWN or name.lstrip("-") in settings
        if not own:
            kept.append(text)
    chosen = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    out = os.fspath(arguments.out / "best")
    return shlex.join(["dslora", "train", *kept, "--out", out, *chosen])
