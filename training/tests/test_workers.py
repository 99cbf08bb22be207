"""Worker processes: what they say when they end, and that none outlives its command."""

import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from dslora.errors import DsLoraError
from dslora.workers import run_workers

# A module of its own: what a new process starts must be importable there.
COMMAND = """
import errno, sys, time
from pathlib import Path
from dslora.errors import DsLoraError
from dslora.workers import run_workers

def start(what: str, folder: str, number: int) -> None:
    if what == "refuse" and number:
        raise DsLoraError("No GPU.")
    if what == "fill" and number:
        raise OSError(errno.ENOSPC, "No space left on device")
    if what == "wait":
        (Path(folder) / f"{number}-started").touch()
        try:
            time.sleep(600)
        finally:
            (Path(folder) / f"{number}-kept").touch()

if __name__ == "__main__":
    print(run_workers(2, start, tuple(sys.argv[1:]), ()))
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "command.py"
    path.write_text(COMMAND)
    return str(path)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("refuse", "dslora: worker 1: No GPU."),
        ("fill", "dslora: worker 1: A file could not be written: the disk is full."),
    ],
)
def test_says_in_a_line_what_ended_it(what: str, said: str, script: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, script, what, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.strip() == "['worker 1']"
    assert ended.stderr.startswith(said)
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM])
def test_keeps_what_it_has_and_ends_when_the_command_is_killed(
    killed_by: signal.Signals, script: str, tmp_path: Path
) -> None:
    def appear(what: str) -> bool:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            if all((tmp_path / f"{number}-{what}").exists() for number in range(2)):
                return True
            sleep(0.05)
        return False

    # In a session of its own, so that no signal but ours reaches the workers.
    with subprocess.Popen([sys.executable, script, "wait", str(tmp_path)], start_new_session=True) as command:
        try:
            assert appear("started")
        finally:
            command.send_signal(killed_by)
    assert appear("kept")


def test_one_is_the_command_itself() -> None:
    def start(number: int) -> None:
        raise DsLoraError(f"Worker {number}.")

    with pytest.raises(DsLoraError, match=r"Worker 0\."):
        run_workers(1, start, (), ())
