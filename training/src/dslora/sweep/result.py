"""What a sweep has found, as a file and as a table."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from optuna.trial import FrozenTrial, TrialState

from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.sweep.study import ERROR, FOLDER, Sweep, open_study

RESULT: Final = "sweep.json"
_SHOWN: Final = ("parameters", "zeros", "seconds", ERROR)


def write_result(sweep: Sweep, command: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Writes ``sweep.json``: all trials, and the best one's settings, also as a command line.

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
        "folder": f"trials/{trial.user_attrs.get(FOLDER, trial.number)}",
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
