"""Several processes take the steps that one takes: DDP as accelerate launches it, and FSDP 2, on the CPU (gloo)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from base_folder import make_base
from dslora.classifier import Classifier
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.train import TrainSettings
from dslora.train.processes import Processes
from test_commands import options, write_posts
from training_process import run

_TESTS = Path(__file__).parents[1]
_ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(str(path) for path in (_TESTS, _TESTS.parent / "src")),
    "ACCELERATE_USE_CPU": "true",
}
# Its GPUs are processors here: gloo takes the place of NCCL, and any free port that of its own.
_DDP = [
    *(sys.executable, "-m", "accelerate.commands.launch"),
    *("--config_file", str(_TESTS.parent / "launch" / "ddp.yaml"), "--main_process_port", "0"),
]
# Accelerate refuses FSDP on the CPU, so launch/fsdp.yaml is not to be had here.
_FSDP = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def alone(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(base, folder, "ddp")
    return folder


def launched(command: list[str]) -> str:
    """What a command printed that ended well."""
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def launch(base: str, folder: Path, way: str, *stops: int) -> None:
    command = _DDP if way == "ddp" else _FSDP
    program = [str(_TESTS / "training_process.py"), base, str(folder), way, *map(str, stops)]
    ended = [json.loads(line) for line in launched([*command, *program]).splitlines() if line.startswith("{")]
    assert sorted(process["rank"] for process in ended) == sorted([0, 1] * len(stops))
    assert {process["sharded"] for process in ended} == {way == "fsdp"}
    scores = [[process["macro_f1"] for process in ended if process["rank"] == rank] for rank in (0, 1)]
    assert scores[0] == scores[1]
    assert [len(epochs) for epochs in scores[0]] == ([1, 2] if len(stops) > 1 else [3])


def epochs(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("epoch", "step", "loss", "macro_f1", "zeros", "gate_mean", "gate_std")
    return [{name: line[name] for name in names} for line in lines]


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_give_the_result_of_one(way: str, base: str, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # Stopped after the first epoch, both processes go on from the one checkpoint.
    launch(base, folder, way, *((1, 0) if way == "ddp" else (0,)))
    expected, found = epochs(alone), epochs(folder)
    assert len(found) == 3
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, abs=2e-4)
    first = Classifier.load(alone / "best").trained_state()
    second = Classifier.load(folder / "best").trained_state()
    assert first.keys() == second.keys()
    for name, values in first.items():
        torch.testing.assert_close(second[name], values, atol=2e-3, rtol=0)


def test_parts_hold_every_row_once_and_are_as_many_in_every_process() -> None:
    for count in (1, 2, 3, 4):
        processes = [_at(rank, count) for rank in range(count)]
        for size in range(1, 14):
            batch = list(range(100, 100 + size))
            parts = [process.parts(batch, 2) for process in processes]
            assert sorted(row for part in parts for rows in part for row in rows) == batch
            assert len({len(part) for part in parts}) == 1
            assert all(len(rows) <= 2 for part in parts for rows in part)
            # Only where rows do not go round is there a part without any.
            assert sum(not rows for part in parts for rows in part) < count


def _at(rank: int, count: int) -> Processes:
    process = Processes("cpu")
    process.rank, process.count = rank, count
    return process


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DsLoraError, match="use a multiple of 6"):
        TrainSettings(batch_size=16, accumulation=2).part_size(3)


@pytest.mark.parametrize("method", ["n-grams", "zero-shot"])
def test_several_processes_are_refused_where_nothing_is_shared(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As accelerate is in each of two processes.
    state = SimpleNamespace(num_processes=2, process_index=0, device=torch.device("cpu"), distributed_type="MULTI_CPU")
    monkeypatch.setattr("dslora.train.processes.Accelerator", lambda **options: state)
    # Before data are read: there are none.
    given = ["--data", str(tmp_path / "none.csv"), "--out", str(tmp_path / "run")]
    assert main(["train", *given, "--method", method]) == 1
    assert f"Method {method} has no steps of training that 2 processes could share" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# Imports torch three more times: not every day.
if os.environ.get("DSLORA_TEST_FULL"):

    def test_the_command_trains_in_two_processes(base: str, tmp_path: Path) -> None:
        alone, together = tmp_path / "alone", tmp_path / "together"
        posts = write_posts(tmp_path / "posts.csv", 320)
        assert main(["train", *options(base, posts, alone)]) == 0
        printed = launched([*_DDP, "-m", "dslora.cli", "train", *options(base, posts, together)])
        # Both took part; one of them spoke, and one wrote.
        assert len(torch.load(together / "checkpoint.pt", weights_only=False)["parts"]["random"]) == 2
        assert printed.count("development macro-F1") == 1
        expected, found = epochs(alone), epochs(together)
        assert [line["step"] for line in found] == [line["step"] for line in expected] == [18, 36, 54]
        # What dropout drops is not the same: losses were within 0.01 of each other. Of 32 posts, 5 weigh 0.16.
        for one, other in zip(found, expected, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=0.02)
            assert one["macro_f1"] == pytest.approx(other["macro_f1"], abs=0.16)
        assert main(["evaluate", str(together)]) == 0

    def test_the_command_refuses_processes_that_share_nothing(tmp_path: Path) -> None:
        given = ["--method", "n-grams", "--data", str(tmp_path / "none.csv"), "--out", str(tmp_path / "run")]
        command = [*_DDP, "-m", "dslora.cli", "train", *given]
        done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode != 0
        assert "Method n-grams has no steps of training that 2 processes could share." in done.stderr
        assert not (tmp_path / "run").exists()
