"""HateXplain in both forms; the rows here are our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dslora.data import Dataset, load_dataset
from dslora.errors import DataError

VOTES = {
    "normal": ["normal", "normal", "hatespeech"],
    "offensive": ["offensive", "normal", "offensive"],
    "hatespeech": ["hatespeech", "hatespeech", "hatespeech"],
    None: ["normal", "offensive", "hatespeech"],
}


@dataclass(frozen=True)
class Row:
    number: int
    split: str
    label: str | None


def rows() -> Iterator[Row]:
    number = 0
    for split in ("train", "val", "test"):
        for label in ("normal", "offensive", "hatespeech", "normal"):
            yield Row(number, split, label)
            number += 1
    yield Row(number, "train", None)


def write_json_lines(folder: Path) -> None:
    folder.mkdir()
    lines = [
        json.dumps(
            {
                "idx": row.number,
                "post_id": None,
                "split": row.split if row.label else None,
                "text": f"<user> post {row.number}",
                "label": row.label,
                "annotator_labels": VOTES[row.label],
            }
        )
        for row in rows()
    ]
    (folder / "hatexplain.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_official(folder: Path) -> None:
    folder.mkdir()
    posts = {
        f"{row.number}_twitter": {
            "post_id": f"{row.number}_twitter",
            "annotators": [{"label": vote, "annotator_id": 1, "target": ["None"]} for vote in VOTES[row.label]],
            "rationales": [],
            "post_tokens": ["<user>", "post", str(row.number)],
        }
        for row in rows()
    }
    divisions = {
        split: [f"{row.number}_twitter" for row in rows() if row.split == split and row.label]
        for split in ("train", "val", "test")
    }
    (folder / "dataset.json").write_text(json.dumps(posts), encoding="utf-8")
    (folder / "post_id_divisions.json").write_text(json.dumps(divisions), encoding="utf-8")


def content(dataset: Dataset) -> dict[str, tuple[tuple[str, ...], list[int]]]:
    return {name: (split.texts, split.labels.tolist()) for name, split in dataset.splits.items()}


def test_both_forms_read_alike(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "lines")
    write_official(tmp_path / "official")
    lines = load_dataset("hatexplain", tmp_path / "lines")
    official = load_dataset("hatexplain", tmp_path / "official")
    assert content(lines) == content(official)
    for dataset in (lines, official):
        assert dataset.labels == ("normal", "offensive", "hatespeech")
        assert dataset.positive_labels == ("offensive", "hatespeech")
        assert dataset.class_counts("development") == {"normal": 2, "offensive": 1, "hatespeech": 1}
        assert dict(dataset.dropped) == {"annotators without a majority": 1}
        assert dataset.carving is None
    assert official.splits["test"].ids[0] == "8_twitter"
    assert [file.name for file in official.splits["train"].files] == [
        "dataset.json",
        "post_id_divisions.json",
    ]


def test_binary_task_has_the_same_rows(tmp_path: Path) -> None:
    write_official(tmp_path / "hatexplain")
    three = load_dataset("hatexplain", tmp_path)
    two = load_dataset("hatexplain-binary", tmp_path)
    assert two.labels == ("normal", "toxic")
    assert two.positive_labels == ("toxic",)
    for name, split in three.splits.items():
        assert two.splits[name].ids == split.ids
        assert two.splits[name].labels.tolist() == [min(label, 1) for label in split.labels.tolist()]


def test_decided_post_outside_the_official_splits_is_counted(tmp_path: Path) -> None:
    write_official(tmp_path / "hatexplain")
    path = tmp_path / "hatexplain" / "post_id_divisions.json"
    divisions = json.loads(path.read_text(encoding="utf-8"))
    divisions["train"].remove("0_twitter")
    path.write_text(json.dumps(divisions), encoding="utf-8")
    dropped = load_dataset("hatexplain", tmp_path).dropped
    assert dict(dropped) == {"annotators without a majority": 1, "in none of the official splits": 1}


@pytest.mark.parametrize(
    ("file", "wrong", "message"),
    [
        ("dataset.json", '{"a": {"post_tokens": ["secret"]}}', "ids are not in dataset.json"),
        ("dataset.json", '\n["secret"', "dataset.json, line 2: not JSON"),
        ("dataset.json", '["secret"]', "dataset.json: not a JSON object"),
        ("dataset.json", "[" * 100_000, "dataset.json, line 1: not JSON"),
        ("post_id_divisions.json", '{"train": [], "val": []}', "no list 'test'"),
    ],
)
def test_wrong_official_files(tmp_path: Path, file: str, wrong: str, message: str) -> None:
    write_official(tmp_path / "hatexplain")
    (tmp_path / "hatexplain" / file).write_text(wrong, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        load_dataset("hatexplain", tmp_path)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotator_labels": ["normal", "normal", "bad"]}, "line 14: unknown label 'bad'"),
        ({"annotator_labels": []}, "line 14: no label"),
        ({"split": "dev"}, "line 14: not a HateXplain row"),
        ({"text": None}, "line 14: not a HateXplain row"),
    ],
)
def test_wrong_json_lines(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_json_lines(tmp_path / "hatexplain")
    path = tmp_path / "hatexplain" / "hatexplain.jsonl"
    row = {"idx": 99, "split": "train", "text": "secret", "annotator_labels": ["normal"]} | change
    path.write_text(path.read_text(encoding="utf-8") + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as raised:
        load_dataset("hatexplain", tmp_path)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
