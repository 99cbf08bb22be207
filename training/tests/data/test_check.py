"""What ``dslora data check`` counts, on rows of our own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dslora.cli import main
from dslora.data import load_dataset
from dslora.data.check import DataCheck, check_dataset
from dslora.encoding import TextEncoder

STEPS = ("nfkc", "lowercase", "whitespace")


@pytest.fixture
def check(tmp_path: Path) -> DataCheck:
    write(tmp_path)
    dataset = load_dataset(tmp_path, positive_labels=["bad"])
    by_space = SimpleNamespace(encode=lambda text, add_special_tokens: SimpleNamespace(ids=text.split()))
    return check_dataset(dataset, TextEncoder(by_space, STEPS, (2,), (3,), 0, max_tokens=5, overlap=0))


def write(folder: Path) -> None:
    rows = {
        "train": [("One", "ok"), ("one ", "bad"), ("One", "ok"), ("zwei", "ok"), ("a b c d", "bad"), ("\u200b", "ok")],
        "validation": [("ONE", "ok"), ("вот так", "bad")],
    }
    for name, own in rows.items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in own]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_counts(check: DataCheck) -> None:
    train = check.splits["train"]
    assert train.rows == 6
    assert train.classes == {"bad": 2, "ok": 4}
    assert train.repeated == 1
    assert train.repeated_normalized == 2
    assert train.contradicting == 1
    assert train.characters == (1, 3, 7, 7, 7)
    assert train.tokens == (3, 3, 6, 6, 6)
    assert train.windowed == 1


def test_texts_in_two_splits_are_found_once_normalised(check: DataCheck) -> None:
    assert check.overlaps == ()
    assert [(each.earlier, each.later, each.rows) for each in check.overlaps_normalized] == [
        ("train", "development", 1)
    ]


def test_scripts(check: DataCheck) -> None:
    assert check.splits["development"].scripts == {"Cyrillic": 6 / 9, "Latin": 3 / 9}


def test_the_command_prints_tables_or_json_and_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    command = ["data", "check", "--data", str(tmp_path), "--positive-labels", "bad"]
    assert main(command) == 0
    tables = capsys.readouterr().out
    assert "| posts | 5 | 2 |" in tables
    assert "- 1: nothing left after normalisation (train)" in tables
    assert main([*command, "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["splits"]["development"]["classes"] == {"bad": 1, "ok": 1}
    assert "zwei" not in tables
