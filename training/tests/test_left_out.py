"""Rows of which a model reads nothing are left out and counted, wherever a data set is read."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from base_folder import make_base
from dslora.cli import main
from dslora.data import load_dataset
from dslora.ngram_run import load_any_run
from dslora.reproduce.cell import Cell
from dslora.reproduce.measure import measure_run
from reproduction_data import write_splits

# Normalisation keeps U+FFFD, and BERT's tokenizer drops it; nothing is left of U+200B before that.
REPLACEMENT, ZERO_WIDTH = "\ufffd\ufffd", "\u200b"
ROWS = {"train": 96, "development": 40, "test": 60}
DROPPED = {
    f"{reason} ({split})": count
    for split in ROWS
    for reason, count in (("no token left after tokenisation", 2), ("nothing left after normalisation", 1))
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


def reading(base: str) -> list[str]:
    return ["--base", base, "--max-tokens", "24", "--window-overlap", "4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_splits(folder)
    for split in ROWS:
        with (folder / f"{split}.csv").open("a", encoding="utf-8") as file:
            file.write(f"{REPLACEMENT},OFF\n{ZERO_WIDTH},NOT\n{REPLACEMENT} \ufffd,NOT\n")
    return str(folder)


def test_training_evaluation_and_reproduction_leave_them_out(
    base: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSLORA_DATA_DIR", raising=False)
    run = tmp_path / "run"
    small = ["--method", "lora", "--rank", "2", "--epochs", "1", "--quiet"]
    assert main(["train", "--data", data, "--out", str(run), *reading(base), *small]) == 0
    written = json.loads((run / "run.json").read_text())["dataset"]
    assert written["dropped"] == DROPPED
    assert {name: split["rows"] for name, split in written["splits"].items()} == ROWS

    assert main(["evaluate", str(run), "--split", "test"]) == 0
    assert json.loads((run / "evaluation" / "test.json").read_text())["n"] == ROWS["test"]

    cell = cast(Cell, SimpleNamespace(tuning=False, data=data, transfer_rows=0))
    measured = measure_run(load_any_run(run), load_dataset(data), cell, None)
    for split in ("development", "test"):
        assert measured[split]["n"] == ROWS[split]
        assert measured[split]["leftOut"] == [ROWS[split], ROWS[split] + 1, ROWS[split] + 2]


def test_a_method_without_tokens_reads_what_a_tokenizer_drops(data: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", data, "--out", str(run), "--method", "n-grams"]) == 0
    written = json.loads((run / "run.json").read_text())["dataset"]
    assert written["dropped"] == {reason: count for reason, count in DROPPED.items() if "normalisation" in reason}


def test_a_class_that_the_tokenizer_empties_is_named(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts = tmp_path / "posts.csv"
    posts.write_text("text,label\n" + "".join(f"w{i},NOT\n{REPLACEMENT},OFF\n" for i in range(20)), encoding="utf-8")
    assert main(["train", "--data", str(posts), "--out", str(tmp_path / "run"), *reading(base)]) == 1
    assert "nothing is left to read of any train row of OFF" in capsys.readouterr().err


def test_the_check_of_the_data_counts_them(base: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--data", data, "--base", base, "--json"]) == 0
    check = json.loads(capsys.readouterr().out)
    assert check["dropped"] == DROPPED
    assert {name: split["rows"] for name, split in check["splits"].items()} == ROWS
