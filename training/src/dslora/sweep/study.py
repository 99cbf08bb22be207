"""A sweep's trials, in SQLite: opened, counted, and put back where they were broken off."""

import dataclasses
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from dslora.data import Dataset
from dslora.errors import DsLoraError
from dslora.sweep.space import Choices, Range

_STUDY: Final = "dslora"
_KEY: Final = "fingerprint"
_TRIES: Final = "tries"
# Attributes of a trial: its run's folder, why it failed, and that its worker is at it and can be missed.
FOLDER: Final = "folder"
ERROR: Final = "error"
CLAIMED: Final = "claimed"
# Why a trial does not count: its settings wait, or were tried again, as another trial; they broke off too often; or
# they had no part in its failure.
PUT_BACK: Final = "put back"
GIVEN_UP: Final = "given up"
NOT_COUNTED: Final = "not counted"
# A trial whose worker has not been heard of for so long is dead.
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 40
# So often a worker looks whether the trials that others have are still under way.
_LOOK_AGAIN_SECONDS: Final = 1.0
# A trial that kills its worker twice is to blame itself.
_RETRIES: Final = 2


@dataclass(frozen=True)
class Sweep:
    """What is searched, and where it is kept.

    Attributes:
        folder: Of the sweep.
        space: What to try.
        trials: How many shall have ended, over all workers and restarts; those that were pruned count, as do settings
            that do not train.
        seed: Of the search.
        fingerprint: Tells what is not searched (data, base, other settings) from another sweep's.
    """

    folder: Path
    space: dict[str, Choices | Range]
    trials: int
    seed: int
    fingerprint: str


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
    # Only one makes the tables, and says whose sweep it is; who comes at the same moment finds both.
    with lock_of(sweep):
        study = _create_or_load(sweep.folder)
        found = study.user_attrs.get(_KEY)
        if found is None:
            study.set_user_attr(_KEY, sweep.fingerprint)
    if found not in (None, sweep.fingerprint):
        raise DsLoraError(
            f"{sweep.folder}: holds a sweep of other data, settings or ranges. Use the same ones to go on with it, or "
            "another --out."
        )
    return study


def lock_of(sweep: Sweep) -> FileLock:
    """What one worker holds while it looks what there is, and adds to it."""
    return FileLock(sweep.folder / "study.lock")


def _create_or_load(folder: Path) -> optuna.Study:
    with warnings.catch_warnings():
        # Heartbeats are marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = RDBStorage(
            f"sqlite:///{folder / 'study.db'}",
            # Workers wait for each other's writes instead of failing.
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=put_back,
        )
        return optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )


def put_back(study: optuna.Study, trial: FrozenTrial | optuna.Trial, to_blame: bool = True) -> None:
    """Queues the settings of a trial that was broken off, in its own folder, where there is a checkpoint.

    Args:
        study: The sweep's.
        trial: Which one.
        to_blame: Whether its settings may be the reason.
    """
    if uncounted(trial.number) in study.user_attrs:
        return
    tries = int(trial.user_attrs.get(_TRIES, 1)) + to_blame
    again = tries <= _RETRIES + 1 and bool(trial.params)
    if again:
        attributes = {FOLDER: trial.user_attrs.get(FOLDER, trial.number), _TRIES: tries}
        study.enqueue_trial(trial.params, user_attrs=attributes)
    # Last: who is killed before it leaves the settings to the heartbeat.
    study.set_user_attr(uncounted(trial.number), PUT_BACK if again else GIVEN_UP)


def uncounted(number: int) -> str:
    """Attribute of the study with the reason why a trial does not count: one that has ended cannot be marked."""
    return f"uncounted {number}"


def state_of(study: optuna.Study, trial: FrozenTrial) -> str:
    """What has become of a trial, for people."""
    reason = study.user_attrs.get(uncounted(trial.number))
    if reason is None:
        return trial.state.name.lower()
    # Studies of before have no reasons.
    return reason if isinstance(reason, str) else NOT_COUNTED


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have said what they had to say: a result, not worth going on, or settings that do not train."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=states)
    attributes = study.user_attrs
    return [trial for trial in trials if uncounted(trial.number) not in attributes]


def claim(study: optuna.Study, sweep: Sweep, lock: FileLock) -> bool:
    """Waits until one more trial is wanted.

    A trial that runs elsewhere is taken for one that will end; if it does not, it is wanted again. So who finds enough
    of them waits.

    Args:
        study: The sweep's.
        sweep: How many are wanted.
        lock: Of the sweep, free.

    Returns:
        Whether one is wanted. The lock is then held, until the trial is marked as ``CLAIMED``: no other worker finds
        the same one wanted. Else all have ended, and the lock is free.
    """
    while True:
        lock.acquire()
        wanted = False
        try:
            _miss_the_dead(study)
            # In this order: one that ends in between counts twice for once, and not for none.
            under_way = len(_under_way(study))
            left = sweep.trials - len(ended(study))
            wanted = left > under_way
        finally:
            if not wanted:
                lock.release()
        if wanted or left <= 0:
            return wanted
        time.sleep(_LOOK_AGAIN_SECONDS)


def _miss_the_dead(study: optuna.Study) -> None:
    """Puts back what dead workers had; with the lock held, since such a trial counts for a moment as failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def _under_way(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that run. One without a claim was killed before its first heartbeat: nobody would ever miss it."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    attributes = study.user_attrs
    return [each for each in trials if CLAIMED in each.user_attrs and uncounted(each.number) not in attributes]
