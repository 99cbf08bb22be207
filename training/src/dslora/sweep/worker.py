"""Trains trials until a sweep has all of them, in one process or several."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.trial import TrialState

from dslora.errors import DsLoraError
from dslora.failures import is_of_the_machine
from dslora.sweep.space import suggest
from dslora.sweep.study import (
    CLAIMED,
    ERROR,
    FOLDER,
    NOT_COUNTED,
    Sweep,
    claim,
    ended,
    lock_of,
    open_study,
    put_back,
    uncounted,
)
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.checkpoint import Progress
from dslora.train.loop import DivergenceError, TrainingResult

# So many trials in a row that fail with the same words: not their settings are to blame.
_HOPELESS: Final = 3

# Settings by option name, the trial's folder and what to call after each epoch -> the run's result.
Train = Callable[[Mapping[str, Any], Path, Callable[[Progress, float], None]], TrainingResult]


def work(sweep: Sweep, train: Train, seed: int, say: Callable[[str], None] = print) -> None:
    """Trains trials until the sweep has all of them; waits for those of other workers, and replaces what is missing.

    Args:
        sweep: What is searched.
        train: Trains one.
        seed: Differs between workers.
        say: Gets a line for each trial that fails.

    Raises:
        DsLoraError: Trials fail by something that their settings have no part in. What was done is kept.
    """
    study = open_study(sweep)
    lock = lock_of(sweep)
    failures: list[tuple[int, DsLoraError]] = []
    # Workers that draw the same numbers would try the same settings, and so would one that is started again.
    draw = int(np.random.SeedSequence((sweep.seed, seed, len(study.trials))).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=max(4, len(sweep.space)), multivariate=True, seed=draw)

    def objective(trial: optuna.Trial) -> float:
        folder = sweep.folder / "trials" / str(trial.user_attrs.get(FOLDER, trial.number))

        def report(progress: Progress, macro_f1: float) -> None:
            trial.report(macro_f1, progress.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            trial.set_user_attr(FOLDER, int(folder.name))
            # It runs, and its heart beats: others may look how many there are.
            trial.set_user_attr(CLAIMED, True)
            lock.release()
            result = train({name: suggest(trial, name, what) for name, what in sweep.space.items()}, folder, report)
        except KeyboardInterrupt:
            put_back(study, trial, to_blame=False)
            raise
        except optuna.TrialPruned:
            _drop_checkpoint(folder)
            raise
        except Exception as error:
            if is_of_the_machine(error):
                put_back(study, trial, to_blame=not isinstance(error, OSError | DsLoraError))
            else:
                _drop_checkpoint(folder)
            if isinstance(error, DsLoraError):
                failures.append((trial.number, error))
                trial.set_user_attr(ERROR, str(error))
                say(f"trial {trial.number} failed: {error}")
            raise
        _drop_checkpoint(folder)
        trial.set_user_attr("parameters", result.parameters)
        trial.set_user_attr("zeros", result.zeros)
        trial.set_user_attr("seconds", round(result.seconds, 1))
        return result.macro_f1

    while claim(study, sweep, lock):
        try:
            # A setting that diverges is a bad setting, not the end of the search.
            study.optimize(objective, n_trials=1, catch=(DsLoraError,))
        finally:
            # Where it did not come as far as a trial.
            lock.release()
        while failures:
            _check_hope(study, *failures.pop())


def _drop_checkpoint(folder: Path) -> None:
    """Of a trial that does not go on."""
    with contextlib.suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _check_hope(study: optuna.Study, number: int, failure: DsLoraError) -> None:
    """Ends a sweep whose trials would go on failing for one reason; those that did are not counted.

    Args:
        study: The sweep's.
        number: Of the trial that has just failed.
        failure: By what.

    Raises:
        DsLoraError: That reason.
    """
    if is_of_the_machine(failure):
        raise failure
    if isinstance(failure, DivergenceError):
        return
    done = sorted(ended(study), key=lambda trial: trial.datetime_complete or datetime.min)
    trained = any(trial.intermediate_values or trial.state == TrialState.COMPLETE for trial in done)
    alike = [trial.number for trial in done[-_HOPELESS:] if trial.user_attrs.get(ERROR) == str(failure)]
    if trained and len(alike) < _HOPELESS:
        return
    for each in alike if trained else [number]:
        study.set_user_attr(uncounted(each), NOT_COUNTED)
    reason = f"The last {_HOPELESS} trials failed alike" if trained else "A trial failed before any had trained"
    raise DsLoraError(f"{reason}, so the sweep ends here: {failure} To go on with others, give the command again.")
