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
    if what == "fail" and number == 1:
        raise DsLoraError("No GPU.")
    if what == "fail" and number == 2:
        raise OSError(errno.ENOSPC, "No space left on device")
    if what == "wait":
        (Path(folder) / f"{number}-started").touch()
        try:
            time.sleep(600)
        finally:
            (Path(folder) / f"{number}-kept").touch()

if __name__ == "__main__":
    print(run_workers(3, start, tuple(sys.argv[1:]), ()))
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "command.py"
    path.write_text(COMMAND)
    return str(path)


def test_says_in_a_line_what_ended_it(script: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, script, "fail", str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.strip() == "['worker 1', 'worker 2']"
    first, second = sorted(ended.stderr.splitlines())
    assert first == "dslora: worker 1: No GPU."
    assert second.startswith("dslora: worker 2: A file could not be written: the disk is full.")


def test_keeps_what_it_has_and_ends_when_the_command_is_killed(script: str, tmp_path: Path) -> None:
    def appear(what: str) -> bool:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            if all((tmp_path / f"{number}-{what}").exists() for number in range(3)):
                return True
            sleep(0.05)
        return False

    # In a session of its own, so that no signal but ours reaches the workers.
    with subprocess.Popen([sys.executable, script, "wait", str(tmp_path)], start_new_session=True) as command:
        try:
            assert appear("started")
        finally:
            command.send_signal(signal.SIGKILL)
    assert appear("kept")


def test_one_is_the_command_itself() -> None:
    def start(number: int) -> None:
        raise DsLoraError(f"Worker {number}.")

    with pytest.raises(DsLoraError, match=r"Worker 0\."):
        run_workers(1, start, (), ())
