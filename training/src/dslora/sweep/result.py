"""What a sweep has found, as a file and as a table."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.sweep.study import ERROR, FOLDER, PUT_BACK, Sweep, open_study, state_of

RESULT: Final = "sweep.json"
_SHOWN: Final = ("parameters", "zeros", "seconds", ERROR)


def write_result(sweep: Sweep, command: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Writes ``sweep.json``: all trials, and the best one's settings, also as a command line.

    A trial that was broken off has the state "put back": its settings went on as another trial, in the same folder.

    Raises:
        DsLoraError: No trial has ended with a result.
    """
    study = open_study(sweep)
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        reasons = [f" The last one that failed: {t.user_attrs[ERROR]}" for t in trials if ERROR in t.user_attrs]
        raise DsLoraError(
            f"{sweep.folder}: no trial has ended with a result, so there are no best settings.{''.join(reasons[-1:])}"
        )
    best = max(complete, key=lambda trial: trial.value or 0.0)
    result = {
        "split": "development",
        "best": {**_entry(study, best), "command": command(best.params)},
        "trials": [_entry(study, trial) for trial in trials],
    }
    write_json(sweep.folder / RESULT, result)
    return result


def _entry(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    last = max(trial.intermediate_values, default=None)
    return {
        "number": trial.number,
        "state": state_of(study, trial),
        "macroF1": trial.value,
        "epochs": last,
        "settings": {name: _value(trial, name) for name in trial.params},
        **{name: trial.user_attrs[name] for name in _SHOWN if name in trial.user_attrs},
        "folder": f"trials/{trial.user_attrs.get(FOLDER, trial.number)}",
    }


def _value(trial: FrozenTrial, name: str) -> Any:
    """A setting. A choice among numbers, which is read as it was typed, is a number."""
    value, what = trial.params[name], trial.distributions[name]
    if not isinstance(what, CategoricalDistribution):
        return value
    numbers = {str(choice): _number(str(choice)) for choice in what.choices}
    return value if None in numbers.values() else numbers[str(value)]


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # JSON has no others.
        return number if math.isfinite(number) else None
    return None


def table(result: dict[str, Any]) -> str:
    """The trials, best first, in Markdown; of settings that were put back only the trial that they went on as."""
    names = list(result["best"]["settings"])
    lines = ["| trial | " + " | ".join(names) + " | macro-F1 | epochs | state |", "|" + "---|" * (len(names) + 4)]
    shown = [trial for trial in result["trials"] if trial["state"] != PUT_BACK]
    ordered = sorted(shown, key=lambda t: (t["state"] != "complete", -(t["macroF1"] or 0.0)))
    for trial in ordered:
        values = [_short(trial["settings"].get(name, "–")) for name in names]
        score = f"{trial['macroF1']:.4f}" if trial["macroF1"] is not None else "–"
        lines.append(
            f"| {trial['number']} | {' | '.join(values)} | {score} | {trial['epochs'] or 0} | {trial['state']} |"
        )
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
