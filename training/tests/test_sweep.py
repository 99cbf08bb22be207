"""Sweeps: what may be searched, that workers share and a killed trial goes on, and that the test split is not there."""

import json
import multiprocessing
import os
import shlex
import sqlite3
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
    given = ["sweep", *options(make_base(tmp_path / "base"), posts, out), "--method", "adalora", "--trials", "1"]
    assert main([*given, "--search", "rank=4,14"]) == 1
    assert "is to end with 14" in capsys.readouterr().err
    assert main([*given, "--search", "rank=4,14", "initial-rank=15"]) == 0


def test_a_sweep_finds_prunes_and_stops_where_it_should(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, trials=14)
    work(sweep, pretend, 0)
    result = write_result(sweep, lambda settings: "a command")
    assert len(result["trials"]) == 14
    assert result["best"]["settings"]["rank"] == "4"
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
    # As a worker leaves it that was killed: running, with one heartbeat and none after it.
    study = open_study(sweep)
    killed = study.ask()
    settings = {name: suggest(killed, name, what) for name, what in sweep.space.items()}
    killed.set_user_attr("folder", killed.number)
    study._storage.record_heartbeat(killed._trial_id)  # type: ignore[attr-defined]
    time.sleep(2.5)
    seen: list[tuple[dict[str, Any], str]] = []

    def train(values: Mapping[str, Any], folder: Path, report: Report) -> TrainingResult:
        seen.append((dict(values), folder.name))
        return pretend(values, folder, report)

    work(sweep, train, 0)
    states = [trial.state for trial in open_study(sweep).trials]
    assert states[0] == optuna.trial.TrialState.FAIL
    assert (settings, str(killed.number)) in seen
    assert len(seen) == 2


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
        given = ["sweep", *options(make_base(tmp_path / "base"), posts, out, *search)]
        # The command for the best settings is made of the one that was given.
        monkeypatch.setattr("sys.argv", ["dslora", *given])
        assert main(given) == 0
        result = json.loads((out / "sweep.json").read_text())
        assert {trial["state"] for trial in result["trials"]} <= {"complete", "pruned"}
        assert len(result["trials"]) >= 6
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
