"""Sweeps that cannot begin, trials that fail or are broken off, and data that are others than before."""

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from base_folder import make_base
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.sweep import Sweep, largest, open_study, parse_space, work, write_result
from dslora.sweep.study import ended
from dslora.train.checkpoint import FILE as CHECKPOINT
from dslora.train.loop import DivergenceError, TrainingResult
from test_commands import write_posts
from test_sweep import Report, make_sweep, pretend


def silent(line: str) -> None:
    pass


def failing(error: Callable[[int], BaseException], only: Callable[[int], bool], seen: list[tuple[str, str]]) -> Any:
    """A training of which some calls fail, by their number; notes folder and settings."""

    def train(values: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
        number = len(seen)
        seen.append((folder.name, str(dict(values))))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).write_text("where it stood")
        if only(number):
            raise error(number)
        return pretend(values, folder, report)

    return train


def counted(sweep: Sweep) -> int:
    return len(ended(open_study(sweep)))


def test_what_needs_the_most_memory_is_known_beforehand() -> None:
    space = parse_space(["rank=4,16,8", "bottleneck=8..12", "precision=bf16,fp32", "learning-rate=1e-4..1e-2"])
    numbers = {"rank": "16", "bottleneck": 12, "learning-rate": 1e-2}
    assert list(largest(space)) == [{**numbers, "precision": "bf16"}, {**numbers, "precision": "fp32"}]
    assert list(largest(parse_space(["rank=4,16,8"]))) == [{"rank": "16"}]


def test_a_first_trial_that_fails_ends_the_sweep_and_is_not_counted(tmp_path: Path) -> None:
    sweep, seen = make_sweep(tmp_path), list[tuple[str, str]]()
    train = failing(lambda number: DsLoraError("No such layer."), lambda number: number == 0, seen)
    with pytest.raises(DsLoraError, match=r"before any had trained, so the sweep ends here: No such layer\."):
        work(sweep, train, 0, silent)
    assert len(seen) == 1
    assert counted(sweep) == 0
    work(sweep, train, 0, silent)
    assert counted(sweep) == sweep.trials
    assert write_result(sweep, lambda settings: "a command")["trials"][0]["state"] == "not counted"


def test_three_trials_that_fail_alike_end_the_sweep(tmp_path: Path) -> None:
    sweep, seen, said = make_sweep(tmp_path, trials=8), list[tuple[str, str]](), list[str]()
    # Two that fail for reasons of their own are bad settings.
    other = failing(lambda number: DsLoraError(f"Bad {number}."), lambda number: number in (1, 2), seen)
    train = failing(lambda number: DsLoraError("The GPU has gone."), lambda number: number >= 4, seen)
    work(Sweep(tmp_path, sweep.space, 4, 0, "a"), other, 0, said.append)
    assert said == ["trial 1 failed: Bad 1.", "trial 2 failed: Bad 2."]
    with pytest.raises(DsLoraError, match=r"last 3 trials failed alike, so the sweep ends here: The GPU has gone\."):
        work(sweep, train, 0, silent)
    assert len(seen) == 4 + 3
    assert counted(sweep) == 4
    entries = write_result(sweep, lambda settings: "a command")["trials"]
    assert [entry.get("error") for entry in entries][1:3] == ["Bad 1.", "Bad 2."]


def test_settings_that_diverge_are_bad_settings_whatever_their_number(tmp_path: Path) -> None:
    sweep, seen = make_sweep(tmp_path), list[tuple[str, str]]()
    work(sweep, failing(lambda number: DivergenceError("The loss is nan."), lambda number: True, seen), 0, silent)
    assert len(seen) == counted(sweep) == sweep.trials
    assert not list(tmp_path.rglob(CHECKPOINT))
    with pytest.raises(DsLoraError, match=r"no trial has ended with a result.*The loss is nan\."):
        write_result(sweep, lambda settings: "a command")


def unwritable() -> DsLoraError:
    error = DsLoraError("The folder could not be written.")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), OSError),
        (unwritable, DsLoraError),
        (lambda: RuntimeError("a fault of ours"), RuntimeError),
    ],
)
def test_what_is_broken_off_keeps_its_checkpoint_and_goes_on(
    error: Callable[[], BaseException], raised: type[BaseException], tmp_path: Path
) -> None:
    sweep, seen = make_sweep(tmp_path, trials=3), list[tuple[str, str]]()
    train = failing(lambda number: error(), lambda number: number == 1, seen)
    with pytest.raises(raised):
        work(sweep, train, 0, silent)
    assert len(seen) == 2
    assert (tmp_path / "trials" / seen[1][0] / CHECKPOINT).is_file()
    assert counted(sweep) == 1
    work(sweep, train, 0, silent)
    # The same settings in the same folder, and then the third trial.
    assert seen[2] == seen[1]
    assert len(seen) == 4
    assert counted(sweep) == 3
    assert not list(tmp_path.rglob(CHECKPOINT))


def test_settings_that_break_off_again_and_again_are_given_up(tmp_path: Path) -> None:
    sweep, seen = make_sweep(tmp_path, trials=1), list[tuple[str, str]]()
    train = failing(lambda number: RuntimeError("a fault of ours"), lambda number: number < 3, seen)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            work(sweep, train, 0, silent)
    work(sweep, train, 0, silent)
    assert [folder == seen[0][0] for folder, _ in seen] == [True, True, True, False]
    states = [trial["state"] for trial in write_result(sweep, lambda settings: "a command")["trials"]]
    assert states == ["put back", "put back", "given up", "complete"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A sweep of one trial by the command."""
    write_posts(tmp_path / "posts.csv", 80)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    places = ["--base", make_base(tmp_path / "base"), "--data", str(tmp_path / "posts.csv")]
    sizes = ["--max-tokens", "24", "--window-overlap", "4", "--trials", "1"]
    return ["sweep", *places, *columns, *sizes, "--out", str(tmp_path / "sweep")]


def pretended(out: Path, data: Any, spec: Any, settings: Any, **more: Any) -> TrainingResult:
    return pretend({"rank": str(spec.adapter.rank), "learning-rate": settings.learning_rate}, out, more["on_epoch"])


def test_other_data_of_the_same_name_are_another_sweep(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dslora.run.train_run", pretended)
    search = ["--search", "rank=2,4"]
    assert main([*command, *search]) == 0
    posts, elsewhere = tmp_path / "posts.csv", tmp_path / "elsewhere"
    before = posts.read_text()
    elsewhere.mkdir()
    write_posts(elsewhere / "posts.csv", 80, offset=1000)
    posts.write_text(before.replace("abusive", "fine", 1))
    capsys.readouterr()
    assert main([*command, *search]) == 1
    assert "holds a sweep of other data, settings or ranges" in capsys.readouterr().err
    posts.write_text(before)
    for more in (
        ["--data", str(elsewhere / "posts.csv")],
        ["--split-seed", "1"],
        ["--development-fraction", "0.2"],
    ):
        assert main([*command, *search, *more]) == 1, more
        assert "holds a sweep of other data, settings or ranges" in capsys.readouterr().err
    # A folder for named data sets, which these are not, changes nothing.
    assert main([*command, *search, "--trials", "2", "--data-dir", str(elsewhere)]) == 0
    assert len(json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]) == 2


def test_ranges_of_whole_numbers_are_searched_as_such(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dslora.run.train_run", pretended)
    assert main([*command, "--search", "rank=2..4"]) == 0
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["best"]["settings"]["rank"]
    assert isinstance(found, int)
    assert 2 <= found <= 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "lora", "--search", "l1-strength=0.1,0.3"], "Method lora does not use --l1-strength"),
        (["--method", "lora", "--l1-strength", "0.3"], "Method lora does not use --l1-strength"),
        (["--method", "zero-shot", "--search", "learning-rate=1e-4,1e-3"], "Method zero-shot trains nothing"),
        (["--method", "n-grams"], "Method n-grams trains no model on a base"),
        (["--search", "rank=2,17"], "whose rank is at most 16. Lower --rank."),
        (["--search", "rank=2,4", "--target-modules", "nope"], "Target module 'nope' is not in the base model."),
        (["--max-tokens", "128", "--search", "max-tokens=24,2000"], "--max-tokens 2000 is more than the 80"),
        (["--search", "rank=2,4", "--device", "cuda"], "torch finds no CUDA device"),
        (["--method", "ds-qlora", "--search", "rank=2,4"], "does not run here (RuntimeError: no kernel)"),
    ],
)
def test_what_no_trial_can_do_is_refused_before_there_is_a_study(
    more: list[str],
    said: str,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("bitsandbytes.functional.quantize_4bit", broken)
    assert main([*command, *more]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_workers_share_memory_and_may_be_told_to_try(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dslora.run.train_run", pretended)
    monkeypatch.setattr("dslora.plan.fit.device_memory", lambda device: 2**30)
    assert main([*command, "--search", "rank=2,4", "--workers", "2"]) == 1
    error = capsys.readouterr().err
    assert "there are 512.0 MiB for each process" in error
    assert "With --ignore-memory it is tried all the same." in error
    assert not (tmp_path / "sweep").exists()
    monkeypatch.setattr("dslora.plan.fit.device_memory", lambda device: 2**20)
    assert main([*command, "--search", "rank=2,4"]) == 1
    assert main([*command, "--search", "rank=2,4", "--ignore-memory"]) == 0


def test_a_full_disk_ends_a_sweep_and_the_same_command_goes_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dslora.run.train_run", full)
    assert main([*command, "--search", "rank=2,4"]) == 1
    assert "could not be written: the disk is full" in capsys.readouterr().err
    monkeypatch.setattr("dslora.run.train_run", pretended)
    assert main([*command, "--search", "rank=2,4"]) == 0
    states = [trial["state"] for trial in json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]]
    assert states == ["put back", "complete"]
