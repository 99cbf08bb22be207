"""What a run tells while it goes: a progress bar, JSON Lines and TensorBoard events."""

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

_FILE = "metrics.jsonl"


class Journal:
    """Writes metrics of a run. On resume, what a killed run wrote past its checkpoint is dropped.

    Args:
        folder: The run; gets ``metrics.jsonl`` and ``tensorboard/``.
        total_steps: Optimizer steps of the whole run.
        step: Step that the run starts or resumes at.
        epoch: Epochs that are done then.
        quiet: No progress bar.
    """

    def __init__(self, folder: Path, total_steps: int, step: int, epoch: int, quiet: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / _FILE
        kept = []
        if step and self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _epoch_of(line) <= epoch]
        self._path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._events = SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            disable=quiet,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )
        self._shown: dict[str, str] = {}

    def advance(self, **shown: float) -> None:
        """One optimizer step done; ``shown`` goes to the bar."""
        self._bar.update()
        self.show(**shown)

    def show(self, **values: float) -> None:
        if values:
            self._shown |= {name: f"{value:.4g}" for name, value in values.items()}
            self._bar.set_postfix(self._shown, refresh=False)

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """One line of JSON; its plain numbers go to TensorBoard too."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._bar.close()
        self._events.close()


class SilentJournal:
    """The journal of a process that is not the main one."""

    def advance(self, **shown: float) -> None:
        pass

    def show(self, **values: float) -> None:
        pass

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def _epoch_of(line: str) -> float:
    """The epoch that a line reports; none that is done where the line was cut off by a kill."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError):
        return float("inf")
