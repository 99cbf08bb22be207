"""A sweep's trials, in SQLite: opened, counted, and put back where they were broken off."""

import dataclasses
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
# Attributes of a trial: its run's folder, and why it failed.
FOLDER: Final = "folder"
ERROR: Final = "error"
# A trial whose worker has not been heard of for so long is dead.
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 40
# A trial that kills its worker twice is to blame itself.
_RETRIES: Final = 2


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
    with FileLock(sweep.folder / "study.lock"):
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
    if tries <= _RETRIES + 1 and trial.params:
        attributes = {FOLDER: trial.user_attrs.get(FOLDER, trial.number), _TRIES: tries}
        study.enqueue_trial(trial.params, user_attrs=attributes)
    # Last: who is killed before it leaves the settings to the heartbeat.
    study.set_user_attr(uncounted(trial.number), True)


def uncounted(number: int) -> str:
    """Attribute of the study for a trial that does not count: one that has ended cannot be marked any more."""
    return f"uncounted {number}"


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have said what they had to say: a result, not worth going on, or settings that do not train."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=states)
    attributes = study.user_attrs
    return [trial for trial in trials if uncounted(trial.number) not in attributes]
