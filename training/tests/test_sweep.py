"""Sweeps: what may be searched, that workers share and a killed trial goes on, and that the test split is not there."""

import errno
import json
import multiprocessing
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest

from base_folder import make_base
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.methods import METHODS
from dslora.sweep import Choices, Range, Sweep, default_space, open_study, parse_space, table, work, write_result
from dslora.sweep.space import suggest
from dslora.train.checkpoint import Progress
from dslora.train.loop import TrainingResult
from test_commands import options, write_posts

Report = Callable[[Progress, float], None]


def given_options(base: str, posts: Path, out: Path, *more: str) -> list[str]:
    """Those of a training, without what is searched."""
    given = options(base, posts, out, *more)
    for name in ("--rank", "--learning-rate"):
        place = given.index(name)
        del given[place : place + 2]
    return given


def make_sweep(folder: Path, trials: int = 6, fingerprint: str = "a") -> Sweep:
    return Sweep(folder, parse_space(["rank=2,4", "learning-rate=1e-4..1e-2"]), trials, 0, fingerprint)


def pretend(settings: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
    """A training whose score is best at rank 4 and a learning rate of 1e-2."""
    folder.mkdir(parents=True, exist_ok=True)
    score = (0.5 if settings["rank"] == "4" else 0.3) + 10 * float(settings["learning-rate"])
    for epoch in (1, 2, 3):
        report(Progress(epoch=epoch), score * epoch / 3)
    return TrainingResult(score, 3, 3, 1.0, 100, 0.5)


def test_ranges_and_choices_are_read() -> None:
    space = parse_space(["rank=4,8", "learning-rate=1e-4..1e-2", "bottleneck=8..12", "l1-strength=0.1..0.7"])
    assert space == {
        "rank": Choices(("4", "8")),
        "learning-rate": Range(1e-4, 1e-2, logarithmic=True, whole=False),
        "bottleneck": Range(8, 12, logarithmic=False, whole=True),
        "l1-strength": Range(0.1, 0.7, logarithmic=False, whole=False),
    }
    for text in ("rank", "rank=", "rank=8..4", "rank=a..b", "Rank Two=3"):
        with pytest.raises(DsLoraError):
            parse_space([text])


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.trains))
def test_every_method_has_something_to_search(name: str) -> None:
    space = default_space(METHODS[name])
    assert "learning-rate" in space
    assert ("l1-strength" in space) == METHODS[name].sparse
    assert ("gate-learning-rate" in space) == METHODS[name].gated


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.trains))
def test_what_is_searched_by_itself_can_be_trained(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*arguments: Any) -> list[str]:
        raise DsLoraError("All was checked.")

    monkeypatch.setattr("dslora.workers.run_workers", begin)
    posts = write_posts(tmp_path / "posts.csv", 80)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    given = ["--data", str(posts), *columns, "--base", "minilm", "--out", str(tmp_path / "sweep"), "--method", name]
    assert main(["sweep", *given]) == 1
    assert capsys.readouterr().err == "dslora: All was checked.\n"


def test_a_value_may_need_another_that_is_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts, out = write_posts(tmp_path / "posts.csv", 80), tmp_path / "sweep"
    given = ["sweep", *given_options(make_base(tmp_path / "base"), posts, out), "--method", "adalora", "--trials", "1"]
    assert main([*given, "--search", "rank=4,14"]) == 1
    assert "is to end with 14" in capsys.readouterr().err
    assert main([*given, "--search", "rank=4,14", "initial-rank=15"]) == 0


def test_a_sweep_finds_prunes_and_stops_where_it_should(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, trials=14)
    work(sweep, pretend, 0)
    result = write_result(sweep, lambda settings: "a command")
    assert len(result["trials"]) == 14
    assert result["best"]["settings"]["rank"] == 4
    assert result["best"]["macroF1"] == max(trial["macroF1"] or 0 for trial in result["trials"])
    assert any(trial["state"] == "pruned" for trial in result["trials"])
    assert json.loads((tmp_path / "sweep.json").read_text()) == result
    assert table(result).count("\n") == 15
    # All are there: a second worker has nothing to do.
    work(sweep, pretend, 1)
    assert len(open_study(sweep).trials) == 14


def test_what_is_not_learnt_is_not_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts = write_posts(tmp_path / "posts.csv", 80)
    base = make_base(tmp_path / "base")
    assert main(["sweep", *options(base, posts, tmp_path / "sweep"), "--search", "out=a,b"]) == 1
    assert "--search: out decides nothing that is learnt" in capsys.readouterr().err


def test_choices_among_numbers_are_numbers_in_the_file_and_as_typed_in_the_command(tmp_path: Path) -> None:
    space = parse_space(["rank=2,4", "l1-strength=.10,1e-1", "precision=fp32,bf16", "top-layers=2,all"])
    sweep = Sweep(tmp_path, space, 1, 0, "a")
    work(sweep, lambda settings, folder, report: TrainingResult(0.5, 1, 1, 1.0, 100, 0.5), 0)
    typed: dict[str, str] = {}
    settings = write_result(sweep, lambda given: str(typed.update(given)))["best"]["settings"]
    assert settings["rank"] in (2, 4)
    assert settings["l1-strength"] == 0.1
    assert settings["precision"] in ("fp32", "bf16")
    assert settings["top-layers"] in ("2", "all")
    assert all(isinstance(value, str) for value in typed.values())
    assert typed["l1-strength"] in (".10", "1e-1")


def test_what_is_given_is_not_searched_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[set[str]] = []

    def begin(*arguments: Any) -> list[str]:
        raise DsLoraError("All was checked.")

    def opened(sweep: Sweep) -> None:
        searched.append(set(sweep.space))

    monkeypatch.setattr("dslora.workers.run_workers", begin)
    monkeypatch.setattr("dslora.sweep.open_study", opened)
    posts = write_posts(tmp_path / "posts.csv", 80)
    given = ["sweep", *given_options(make_base(tmp_path / "base"), posts, tmp_path / "sweep"), "--method", "lora"]
    for more, both in (
        (["--rank", "8", "--search", "rank=2,4"], "--rank: given"),
        (["--search", "rank=2,4", "max-tokens=16,24", "--rank", "8"], "--rank, --max-tokens: given"),
    ):
        assert main([*given, *more]) == 1
        assert both in capsys.readouterr().err
    # The seed is also the search's own.
    assert main([*given, "--search", "seed=1,2", "--seed", "3"]) == 1
    assert main([*given, "--rank", "8"]) == 1
    assert capsys.readouterr().err == "dslora: All was checked.\n" * 2
    assert searched == [{"seed"}, {"learning-rate"}]
    assert main([*given, "--rank", "8", "--learning-rate", "1e-3"]) == 1
    assert "All that a sweep of lora searches by itself is given: --learning-rate, --rank" in capsys.readouterr().err


def test_workers_try_settings_of_their_own(tmp_path: Path) -> None:
    """Whichever of them comes first, and however many trials there are by then."""
    drawn: dict[tuple[int, int], str] = {}
    for worker in (0, 1, 2):
        for before in (0, 1):
            sweep = make_sweep(tmp_path / f"{worker}-{before}", trials=before + 1)
            study = open_study(sweep)
            for _ in range(before):
                study.enqueue_trial({"rank": "2", "learning-rate": 1e-3})

            def train(
                settings: Mapping[str, Any], folder: Path, report: Report, place: tuple[int, int] = (worker, before)
            ) -> TrainingResult:
                drawn[place] = settings["learning-rate"]
                return pretend(settings, folder, report)

            work(sweep, train, worker, lambda line: None)
    assert len(set(drawn.values())) == len(drawn)


def test_a_sweep_of_something_else_is_refused(tmp_path: Path) -> None:
    open_study(make_sweep(tmp_path))
    with pytest.raises(DsLoraError, match="other data, settings or ranges"):
        open_study(make_sweep(tmp_path, fingerprint="b"))


def open_together(folder: Path, fingerprint: str, start: Any, answers: Any) -> None:
    """One of the processes of the test below."""
    start.wait(60)
    try:
        answers.put((fingerprint, len(open_study(make_sweep(folder, fingerprint=fingerprint)).trials)))
    except DsLoraError as error:
        answers.put((fingerprint, str(error)))


def test_a_new_sweep_is_made_once_by_those_that_start_together(tmp_path: Path) -> None:
    # Opening one imports what that takes, and what is forked need not import it again: all are as fast.
    open_study(make_sweep(tmp_path / "first"))
    context = multiprocessing.get_context("fork")
    for attempt in range(4):
        start, answers = context.Barrier(4), context.Queue()
        processes = [
            context.Process(target=open_together, args=(tmp_path / str(attempt), fingerprint, start, answers))
            for fingerprint in "aabb"
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * 4
        said = [answers.get(timeout=10) for _ in processes]
        # Two are of the sweep that came first, and the other two are told that it is not theirs.
        assert [fingerprint for fingerprint, answer in said if answer == 0] in (["a", "a"], ["b", "b"])
        refusals = [answer for _, answer in said if answer != 0]
        assert len(refusals) == 2
        assert all("other data, settings or ranges" in answer for answer in refusals)


def test_a_killed_trial_goes_on_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dslora.sweep.study.HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr("dslora.sweep.study.GRACE_SECONDS", 1)
    sweep = make_sweep(tmp_path, trials=2)
    monkeypatch.setattr("dslora.sweep.study._LOOK_AGAIN_SECONDS", 0.1)
    # As a worker leaves it that was killed: running, with one heartbeat and none after it.
    study = open_study(sweep)
    killed = study.ask()
    settings = {name: suggest(killed, name, what) for name, what in sweep.space.items()}
    killed.set_user_attr("folder", killed.number)
    killed.set_user_attr("claimed", True)
    study._storage.record_heartbeat(killed._trial_id)  # type: ignore[attr-defined]
    # Its heart never beat: nobody could miss it, so it keeps nobody waiting.
    study.ask()
    seen: list[tuple[dict[str, Any], str]] = []

    def train(values: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
        seen.append((dict(values), folder.name))
        return pretend(values, folder, report)

    work(sweep, train, 0)
    states = [trial.state for trial in open_study(sweep).trials]
    assert states[0] == optuna.trial.TrialState.FAIL
    # And no third one: until it was missed it might have ended, and one more was wanted beside it.
    assert (settings, str(killed.number)) in seen
    assert len(seen) == 2
    assert write_result(sweep, lambda settings: "")["trials"][0]["state"] == "put back"


def at_once(sweep: Sweep, train: Any, workers: int = 2) -> list[BaseException]:
    """Works in several threads, which share nothing but the sweep's folder; returns what ended some of them."""
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            work(sweep, train, number, lambda line: None)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def test_workers_start_no_more_trials_than_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dslora.sweep.study._LOOK_AGAIN_SECONDS", 0.05)
    sweep, seen, both = make_sweep(tmp_path, trials=3), list[str](), threading.Barrier(2)

    def train(settings: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
        seen.append(folder.name)
        # The first two end together, and both workers then see one that is left.
        if len(seen) <= 2:
            both.wait(30)
        else:
            time.sleep(0.3)
        return pretend(settings, folder, report)

    assert at_once(sweep, train) == []
    assert sorted(seen) == ["0", "1", "2"]
    assert len(open_study(sweep).trials) == 3


def test_a_worker_waits_for_the_last_trial_and_takes_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dslora.sweep.study._LOOK_AGAIN_SECONDS", 0.05)
    sweep, seen = make_sweep(tmp_path, trials=1), list[tuple[str, str, str]]()

    def train(settings: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
        seen.append((threading.current_thread().name, folder.name, str(settings)))
        if len(seen) == 1:
            time.sleep(0.5)
            raise OSError(errno.ENOSPC, "No space left on device")
        return pretend(settings, folder, report)

    assert len(at_once(sweep, train)) == 1
    (first, *what), (second, *again) = seen
    assert first != second
    assert what == again
    result = write_result(sweep, lambda settings: "a command")
    assert [trial["state"] for trial in result["trials"]] == ["put back", "complete"]
    # One row: they are the same settings.
    assert table(result).count("\n") == 2


def test_the_command_searches_without_the_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dslora.run

    base = make_base(tmp_path / "base")
    folder = tmp_path / "data"
    folder.mkdir()
    write_posts(folder / "train.csv", 80)
    write_posts(folder / "test.csv", 40, offset=1000)
    seen: list[set[str]] = []

    def train_run(out: Path, data: Any, spec: Any, settings: Any, **more: Any) -> Any:
        seen.append(set(more["dataset"].splits))
        values = {"rank": str(spec.adapter.rank), "learning-rate": settings.learning_rate}
        return pretend(values, out, more["on_epoch"])

    monkeypatch.setattr(dslora.run, "train_run", train_run)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    arguments = ["sweep", "--base", base, "--data", str(folder), *columns, "--out", str(tmp_path / "sweep")]
    arguments += ["--max-tokens", "24", "--window-overlap", "4", "--trials", "3"]
    assert main([*arguments, "--search", "rank=2,4", "learning-rate=1e-3..1e-2"]) == 0
    assert seen == [{"train", "development"}] * 3
    assert "dslora train" in capsys.readouterr().out
    # What decides nothing that is learnt may change, as memory that ran out asks for.
    searched = ["--search", "rank=2,4", "learning-rate=1e-3..1e-2"]
    assert main([*arguments, "--accumulation", "2", "--gradient-checkpointing", *searched]) == 0
    assert len(seen) == 3
    for bad in (
        ["--search", "nothing=1,2"],
        ["--search", "rank=0,4"],
        ["--search", "bottleneck=4,8"],
        ["--trials", "0"],
    ):
        assert main([*arguments, *bad]) == 1, bad
    assert len(seen) == 3


# Each worker imports torch: not every day.
if os.environ.get("DSLORA_TEST_FULL"):

    def test_two_workers_share_a_sweep(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        posts, out = write_posts(tmp_path / "posts.csv", 120), tmp_path / "sweep"
        search = ["--search", "rank=2,4", "learning-rate=1e-3..1e-2", "--trials", "6", "--workers", "2"]
        given = ["sweep", *given_options(make_base(tmp_path / "base"), posts, out, *search)]
        # The command for the best settings is made of the one that was given.
        monkeypatch.setattr("sys.argv", ["dslora", *given])
        assert main(given) == 0
        result = json.loads((out / "sweep.json").read_text())
        assert {trial["state"] for trial in result["trials"]} <= {"complete", "pruned"}
        assert len(result["trials"]) == 6
        assert result["best"]["macroF1"] == max(trial["macroF1"] or 0 for trial in result["trials"])
        with sqlite3.connect(out / "study.db") as database:
            query = "select datetime_start, datetime_complete from trials order by datetime_start"
            times = database.execute(query).fetchall()
        # One began while another ran: two processes were at it.
        assert any(later < ended for (_, ended), (later, _) in pairwise(times))
        best = result["best"]["command"]
        assert best in capsys.readouterr().out
        assert main(shlex.split(best)[1:]) == 0
        assert f"development macro-F1 {result['best']['macroF1']:.4f}" in capsys.readouterr().out
