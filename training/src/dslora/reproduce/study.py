"""What a folder of results is about: the paper's question, or one of one's own, which the folder then remembers."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from filelock import FileLock

from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.reproduce.experiments import EXPERIMENTS, Experiment, find_experiments
from dslora.reproduce.presets import Preset
from dslora.reproduce.source import is_same, options_of, place_of, title_of

_FILE: Final = "study.json"
# Titles without the paper's data in them.
_OWN_TITLES: Final = {
    "table1": "Table 1: methods",
    "table2": "Table 2: methods",
    "table6": "Table 6: DS-LoRA beside LoRA",
}


@dataclass(frozen=True)
class Study:
    """What was asked.

    Attributes:
        preset: Its name.
        base, precision, data: In place of the preset's and the paper's; None: theirs. ``data`` is as a cell calls it.
        names: Of the tables and figures.
    """

    preset: str
    base: str | None = None
    precision: str | None = None
    data: str | None = None
    names: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is another question than the paper's."""
        return any(part is not None for part in (self.base, self.precision, self.data))

    @property
    def title(self) -> str:
        """For the head of the page."""
        if not self.is_own:
            return "The paper, reproduced"
        parts = [f" on {title_of(self.data)}" if self.data else "", f" with {self.base}" if self.base else ""]
        return f"DS-LoRA beside LoRA{''.join(parts) or f' in {self.precision}'}"

    def applied(self, preset: Preset) -> Preset:
        """The preset with this base and precision, which says so."""
        if not self.is_own:
            return preset
        training = {**preset.training, **({"precision": self.precision} if self.precision else {})}
        changed = replace(preset, training=training)
        if self.base:
            changed = replace(changed, bases=(self.base,), needs_gpu=False)
        rows = training.get("train_rows")
        settings = (
            f"learning rate, λ{' and rank' if 'adapter.rank' in preset.grid else ''} chosen on the development split "
            "from grids of ours"
            if preset.grid
            else "every setting fixed beforehand: chosen for DS-LoRA on all-MiniLM-L6-v2 with OLID, so another base, "
            "other data and other methods may do better with their own (dslora sweep looks for them)"
        )
        parts = (
            f"Base model {', '.join(changed.bases)}; {f'at most {rows:,}' if rows else 'all'} training rows",
            f"at most {training['epochs']} epochs",
            f"precision {training['precision']}",
            f"rank {preset.rank}; {settings}.",
        )
        return replace(changed, summary=", ".join(parts))

    def experiments(self, names: Sequence[str]) -> list[Experiment]:
        """Tables and figures on these data.

        Raises:
            DsLoraError: There is none of a name.
        """
        found = list(dict.fromkeys(each for name in names for each in find_experiments(name)))
        if self.data is None:
            return found
        return [replace(each, data=(self.data,), title=_OWN_TITLES.get(each.name, each.title)) for each in found]

    @property
    def shown(self) -> list[Experiment]:
        """What the page has a part for: of the paper's question all, so that it says what was not run."""
        return self.experiments(self.names) if self.is_own else list(EXPERIMENTS.values())

    def command(self, names: Sequence[str], out: Path) -> str:
        """The line that computes ``names`` for this study, but for seeds and workers."""
        options = ["--preset", self.preset]
        for name in ("base", "precision"):
            value = getattr(self, name)
            options += [f"--{name}", value] if value else []
        options += options_of(self.data) if self.data else []
        options += ["--out", str(out)] if self.is_own else []
        return shlex.join(["dslora", "reproduce", *names, *options])


def joined(out: Path, asked: Study, *, has_results: bool) -> Study:
    """What is asked, with what the folder has been asked before.

    Args:
        out: Folder of the report.
        asked: Now. Without names (the report alone), what is not said is taken from the folder.
        has_results: Whether there are results in it.

    Raises:
        DsLoraError: The folder is about something else.
    """
    found = _read(out)
    if found is None:
        if asked.is_own and has_results:
            raise DsLoraError(
                f"{out} holds results, and no {_FILE} that says of what: they are of the paper's own bases and data, "
                "or of an earlier version. Name another --out for --base, --data or --precision."
            )
        return asked
    known, place = found
    for name in ("preset", "base", "precision", "data"):
        wanted, there = getattr(asked, name), getattr(known, name)
        same = {"data": is_same(wanted, there, place), "base": _is_same_base(wanted, there)}.get(name, wanted == there)
        if not same and (asked.names or wanted is not None):
            if asked.names and not has_results:
                # Asked with an option mistyped, say, and broken off: nothing is lost.
                return asked
            raise DsLoraError(
                f"{out} holds the report of another question: {known.command(known.names, out)}. Give --{name} as "
                "there, or name another --out."
            )
    return _together(known, asked)


def remember(out: Path, study: Study) -> Study:
    """Writes what a folder of one's own is about, before anything is computed for it.

    Returns:
        The study with the tables and figures that other commands have asked of the folder meanwhile.
    """
    if not study.is_own:
        return study
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f".{_FILE}.lock"):
        found = _read(out)
        if found is not None and replace(found[0], names=()) == replace(study, names=()):
            study = _together(found[0], study)
        place = place_of(study.data) if study.data else None
        write_json(out / _FILE, {**asdict(study), "place": place})
    return study


def _read(out: Path) -> tuple[Study, str | None] | None:
    """The folder's study, and where its data lay."""
    file = out / _FILE
    if not file.is_file():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    place = values.pop("place")
    return Study(**{**values, "names": tuple(values["names"])}), place


def _together(one: Study, other: Study) -> Study:
    return replace(one, names=tuple(name for name in EXPERIMENTS if name in (*one.names, *other.names)))


def _is_same_base(one: str | None, other: str | None) -> bool:
    return one == other or (
        one is not None and other is not None and Path(one).exists() and Path(one).resolve() == Path(other).resolve()
    )
