"""Search for settings on the development split, with Optuna: resumable, shared by workers, pruned by epoch.

A sweep's folder holds ``study.db`` (SQLite, all trials), ``trials/N`` (a run each) and ``sweep.json``. Workers, here or
in other terminals, share the file. A trial that is broken off (interrupted, a full disk) puts its settings back; one
whose worker was killed is missed by its heartbeat, and the next worker puts them back. They are started again in the
same folder, where the run goes on from its checkpoint. The test split is taken out of the data before anything else
happens.
"""

import contextlib
import dataclasses
import math
import multiprocessing
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from dslora.data import Dataset
from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.methods import Method
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.checkpoint import Progress
from dslora.train.loop import DivergenceError, TrainingResult

_STUDY = "dslora"
_KEY = "fingerprint"
_FOLDER = "folder"
_TRIES = "tries"
_ERROR = "error"
_SHOWN = ("parameters", "zeros", "seconds", _ERROR)
RESULT = "sweep.json"
# A trial whose worker has not been heard of for so long is dead.
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 40
# A trial that kills its worker twice is to blame itself.
_RETRIES = 2
# So many trials in a row that fail with the same words: not their settings are to blame.
_HOPELESS = 3
# An interrupted worker keeps what it has within this time.
_FAREWELL_SECONDS = 30


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A number between two, both included."""

    low: float
    high: float
    logarithmic: bool
    whole: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Both, as whole numbers where all are."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


Space = Mapping[str, Choices | Range]


def parse_space(texts: Iterable[str]) -> dict[str, Choices | Range]:
    """``rank=4,8,16`` is a choice; ``learning-rate=1e-4..1e-2`` a range, logarithmic where it spans a factor of ten.

    Raises:
        DsLoraError: A text is neither.
    """
    space: dict[str, Choices | Range] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-")
        if not equals or not re.fullmatch(r"[a-z0-9-]+", name) or not values:
            raise DsLoraError(f"{text!r} is no search. Expected NAME=A,B,C or NAME=LOW..HIGH, such as rank=4,8,16.")
        low, dots, high = values.partition("..")
        space[name] = _range(text, low, high) if dots else Choices(tuple(values.split(",")))
    return space


def _range(text: str, low: str, high: str) -> Range:
    try:
        first, last = float(low), float(high)
    except ValueError as error:
        raise DsLoraError(f"{text!r}: the ends of a range must be numbers.") from error
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise DsLoraError(f"{text!r}: the first end of a range must be below the second.")
    whole = re.fullmatch(r"\d+", low) is not None and re.fullmatch(r"\d+", high) is not None
    return Range(first, last, logarithmic=first > 0 and last / first >= 10, whole=whole)


def default_space(method: Method) -> dict[str, Choices | Range]:
    """What is worth a search for a method: sizes it has, its learning rate, and lambda where it is sparse."""
    names = {field.name for field in dataclasses.fields(method.settings)}
    texts = ["learning-rate=1e-4..1e-2"]
    texts += ["rank=4,8,16", "alpha=8,16,32"] if "rank" in names else []
    texts += ["bottleneck=8,16,32,64"] if "bottleneck" in names else []
    texts += ["gate-hidden=0,16,32", "gate-learning-rate=1e-4..1e-2"] if "gate_hidden" in names else []
    texts += ["l1-strength=0.1..0.7"] if method.sparse else []
    return parse_space(texts)


def largest(space: Space) -> Iterator[dict[str, Any]]:
    """Settings that need the most memory: numbers at their largest, with each value of what is no number."""
    numbers: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for name, what in space.items():
        if isinstance(what, Range):
            numbers[name] = what.ends[1]
            continue
        try:
            numbers[name] = max(what.values, key=float)
        except ValueError:
            others += [(name, value) for value in what.values]
    for name, value in others:
        yield {**numbers, name: value}
    if not others:
        yield numbers


@dataclass(frozen=True)
class Sweep:
    """What is searched, and where it is kept.

    Attributes:
        folder: Of the sweep.
        space: What to try.
        trials: How many shall have ended, over all workers and restarts; those that were pruned count.
        seed: Of the search.
        fingerprint: Tells what is not searched (data, base, other settings) from another sweep's.
    """

    folder: Path
    space: dict[str, Choices | Range]
    trials: int
    seed: int
    fingerprint: str


# Settings by option name, the trial's folder and what to call after each epoch -> the run's result.
Train = Callable[[Mapping[str, Any], Path, Callable[[Progress, float], None]], TrainingResult]


def without_test(dataset: Dataset) -> Dataset:
    """The data set as a search may see it."""
    return dataclasses.replace(dataset, splits={k: v for k, v in dataset.splits.items() if k != "test"})


def open_study(sweep: Sweep) -> optuna.Study:
    """The study in the sweep's folder, new or as it was left.

    Raises:
        DsLoraError: The folder holds a sweep of something else.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    # It would show what ends a trial as a traceback.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # Heartbeats are marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = RDBStorage(
            f"sqlite:///{sweep.folder / 'study.db'}",
            # Workers wait for each other's writes instead of failing.
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=_put_back,
        )
        study = optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )
    found = study.user_attrs.get(_KEY)
    if found is None:
        study.set_user_attr(_KEY, sweep.fingerprint)
    elif found != sweep.fingerprint:
        raise DsLoraError(
            f"{sweep.folder}: holds a sweep of other data, settings or ranges. Use the same ones to go on with it, or "
            "another --out."
        )
    return study


def _put_back(study: optuna.Study, trial: FrozenTrial | optuna.Trial, to_blame: bool = True) -> None:
    """Queues the settings of a trial that was broken off, in its own folder, where there is a checkpoint.

    Args:
        study: The sweep's.
        trial: Which one.
        to_blame: Whether its settings may be the reason.
    """
    if _uncounted(trial.number) in study.user_attrs:
        return
    tries = int(trial.user_attrs.get(_TRIES, 1)) + to_blame
    if tries <= _RETRIES + 1 and trial.params:
        attributes = {_FOLDER: trial.user_attrs.get(_FOLDER, trial.number), _TRIES: tries}
        study.enqueue_trial(trial.params, user_attrs=attributes)
    # Last: who is killed before it leaves the settings to the heartbeat.
    study.set_user_attr(_uncounted(trial.number), True)


def _uncounted(number: int) -> str:
    """Attribute of the study for a trial that does not count: one that has ended cannot be marked any more."""
    return f"uncounted {number}"


def work(sweep: Sweep, train: Train, seed: int, say: Callable[[str], None] = print) -> None:
    """Trains trials until the sweep has all of them.

    Args:
        sweep: What is searched.
        train: Trains one.
        seed: Differs between workers.
        say: Gets a line for each trial that fails.

    Raises:
        DsLoraError: Trials fail by something that their settings have no part in. What was done is kept.
    """
    study = open_study(sweep)
    failures: list[tuple[int, DsLoraError]] = []
    # Workers that draw the same numbers would try the same settings.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=max(4, len(sweep.space)), multivariate=True, seed=1_000 * sweep.seed + seed + len(study.trials)
    )

    def objective(trial: optuna.Trial) -> float:
        if len(_ended(study)) >= sweep.trials:
            study.stop()
            raise optuna.TrialPruned
        folder = sweep.folder / "trials" / str(trial.user_attrs.get(_FOLDER, trial.number))
        trial.set_user_attr(_FOLDER, int(folder.name))

        def report(progress: Progress, macro_f1: float) -> None:
            trial.report(macro_f1, progress.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            result = train({name: _suggest(trial, name, what) for name, what in sweep.space.items()}, folder, report)
        except KeyboardInterrupt:
            _put_back(study, trial, to_blame=False)
            raise
        except optuna.TrialPruned:
            _drop_checkpoint(folder)
            raise
        except Exception as error:
            if _is_of_the_machine(error):
                _put_back(study, trial, to_blame=not isinstance(error, OSError | DsLoraError))
            else:
                _drop_checkpoint(folder)
            if isinstance(error, DsLoraError):
                failures.append((trial.number, error))
                trial.set_user_attr(_ERROR, str(error))
                say(f"trial {trial.number} failed: {error}")
            raise
        _drop_checkpoint(folder)
        trial.set_user_attr("parameters", result.parameters)
        trial.set_user_attr("zeros", result.zeros)
        trial.set_user_attr("seconds", round(result.seconds, 1))
        return result.macro_f1

    while len(_ended(study)) < sweep.trials:
        # A setting that diverges is a bad setting, not the end of the search.
        study.optimize(objective, n_trials=1, catch=(DsLoraError,))
        while failures:
            _check_hope(study, *failures.pop())


def _drop_checkpoint(folder: Path) -> None:
    """Of a trial that does not go on."""
    with contextlib.suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _is_of_the_machine(error: Exception) -> bool:
    """Whether settings have no part in it: the disk, the network, or a fault of the package."""
    return not isinstance(error, DsLoraError) or isinstance(error.__cause__, OSError)


def _check_hope(study: optuna.Study, number: int, failure: DsLoraError) -> None:
    """Ends a sweep whose trials would go on failing for one reason; those that did are not counted.

    Args:
        study: The sweep's.
        number: Of the trial that has just failed.
        failure: By what.

    Raises:
        DsLoraError: That reason.
    """
    if _is_of_the_machine(failure):
        raise failure
    if isinstance(failure, DivergenceError):
        return
    ended = sorted(_ended(study), key=lambda trial: trial.datetime_complete or datetime.min)
    trained = any(trial.intermediate_values or trial.state == TrialState.COMPLETE for trial in ended)
    alike = [trial.number for trial in ended[-_HOPELESS:] if trial.user_attrs.get(_ERROR) == str(failure)]
    if trained and len(alike) < _HOPELESS:
        return
    for each in alike if trained else [number]:
        study.set_user_attr(_uncounted(each), True)
    reason = f"The last {_HOPELESS} trials failed alike" if trained else "A trial failed before any had trained"
    raise DsLoraError(f"{reason}, so the sweep ends here: {failure} To go on with others, give the command again.")


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have said what they had to say: a result, not worth going on, or settings that do not train."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    ended = study.get_trials(deepcopy=False, states=states)
    uncounted = study.user_attrs
    return [trial for trial in ended if _uncounted(trial.number) not in uncounted]


def _suggest(trial: optuna.Trial, name: str, what: Choices | Range) -> Any:
    if isinstance(what, Choices):
        return trial.suggest_categorical(name, what.values)
    if what.whole:
        low, high = what.ends
        return trial.suggest_int(name, int(low), int(high), log=what.logarithmic)
    return trial.suggest_float(name, what.low, what.high, log=what.logarithmic)


def run_workers(count: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Runs ``start(*arguments, number)`` in ``count`` processes; with one, in this one.

    Raises:
        DsLoraError: Every worker has failed.
    """
    if count == 1:
        start(*arguments, 0)
        return
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_run_worker, args=(start, arguments, number)) for number in range(count)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        # A terminal interrupts all of them, and each puts back what it was at.
        for worker in workers:
            worker.join(_FAREWELL_SECONDS)
        raise
    finally:
        for worker in workers:
            worker.terminate()
    if all(worker.exitcode for worker in workers):
        raise DsLoraError("Every worker of the sweep has failed; what went wrong stands above.")


def _run_worker(start: Callable[..., None], arguments: tuple[Any, ...], number: int) -> None:
    """One process. Says what ends it in a line, as the command itself does."""
    try:
        start(*arguments, number)
    except DsLoraError as error:
        sys.exit(f"dslora: worker {number}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def write_result(sweep: Sweep, command: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Writes ``sweep.json``: all trials, and the best one's settings, also as a command line.

    Raises:
        DsLoraError: No trial has ended with a result.
    """
    study = open_study(sweep)
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        reasons = [f" The last one that failed: {t.user_attrs[_ERROR]}" for t in trials if _ERROR in t.user_attrs]
        raise DsLoraError(
            f"{sweep.folder}: no trial has ended with a result, so there are no best settings.{''.join(reasons[-1:])}"
        )
    best = max(complete, key=lambda trial: trial.value or 0.0)
    result = {
        "split": "development",
        "best": {**_entry(best), "command": command(best.params)},
        "trials": [_entry(trial) for trial in trials],
    }
    write_json(sweep.folder / RESULT, result)
    return result


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    last = max(trial.intermediate_values, default=None)
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "macroF1": trial.value,
        "epochs": last,
        "settings": trial.params,
        **{name: trial.user_attrs[name] for name in _SHOWN if name in trial.user_attrs},
        "folder": f"trials/{trial.user_attrs.get(_FOLDER, trial.number)}",
    }


def table(result: dict[str, Any]) -> str:
    """The trials, best first, in Markdown."""
    names = list(result["best"]["settings"])
    lines = ["| trial | " + " | ".join(names) + " | macro-F1 | epochs | state |", "|" + "---|" * (len(names) + 4)]
    ordered = sorted(result["trials"], key=lambda t: (t["state"] != "complete", -(t["macroF1"] or 0.0)))
    for trial in ordered:
        values = [_short(trial["settings"].get(name, "–")) for name in names]
        score = f"{trial['macroF1']:.4f}" if trial["macroF1"] is not None else "–"
        lines.append(
            f"| {trial['number']} | {' | '.join(values)} | {score} | {trial['epochs'] or 0} | {trial['state']} |"
        )
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
