"""Jigsaw's toxic comments, in the competition's form and as a divided subset; the rows here are our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dslora.data import load_dataset
from dslora.errors import DataError

OFFICIAL = "id,comment_text,toxic,severe_toxic,obscene,threat,insult,identity_hate\n"


def write_official(folder: Path, labels: str = "a,0,0,0,0,0,0\nb,1,0,0,0,0,0\nc,-1,-1,-1,-1,-1,-1\n") -> Path:
    folder.mkdir(parents=True)
    rows = [f'{row},"comment {row}\nsecond line",{int(row % 3 == 0)},0,0,0,0,0\n' for row in range(30)]
    (folder / "train.csv").write_text(OFFICIAL + "".join(rows), encoding="utf-8")
    (folder / "test.csv").write_text("id,comment_text\na,secret one\nb,two\nc,three\n", encoding="utf-8")
    (folder / "test_labels.csv").write_text(OFFICIAL.replace("comment_text,", "") + labels, encoding="utf-8")
    return folder


def test_official_files(tmp_path: Path) -> None:
    write_official(tmp_path / "jigsaw")
    dataset = load_dataset("jigsaw", tmp_path)
    assert dataset.labels == ("OTHER", "TOXIC")
    assert {name: dataset.class_counts(name) for name in dataset.splits} == {
        "train": {"OTHER": 18, "TOXIC": 9},
        "development": {"OTHER": 2, "TOXIC": 1},
        "test": {"OTHER": 1, "TOXIC": 1},
    }
    assert dict(dataset.dropped) == {"not scored in the official test": 1}
    assert all("\n" in text for text in dataset.splits["train"].texts)


def test_a_subset_with_splits_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "jigsaw"
    folder.mkdir()
    for name in ("train", "validation", "test"):
        rows = f'{name[0]}1,one,0\n,"two, or more",1\n'
        (folder / f"{name}.csv").write_text("id,comment_text,toxic\n" + rows, encoding="utf-8")
    dataset = load_dataset("jigsaw", tmp_path)
    assert dataset.carving is None
    assert dataset.splits["development"].ids == ("v1", "line 3")
    assert dataset.splits["test"].labels.tolist() == [0, 1]


def test_test_texts_without_labels(tmp_path: Path) -> None:
    (write_official(tmp_path / "jigsaw") / "test_labels.csv").unlink()
    with pytest.raises(DataError, match=r"there is no test_labels\.csv"):
        load_dataset("jigsaw", tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a,0,0,0,0,0,0\nb,1,0,0,0,0,0\n", "test.csv, line 4: the id 'c' has no label"),
        ("a,0,0,0,0,0,0\nb,1,0,0,0,0,0\nc,0,0,0,0,0,0\nd,0,0,0,0,0,0\n", "1 ids have no text"),
        ("a,7,0,0,0,0,0\nb,1,0,0,0,0,0\nc,0,0,0,0,0,0\n", "unknown label '7'"),
    ],
)
def test_wrong_files(tmp_path: Path, labels: str, message: str) -> None:
    write_official(tmp_path / "jigsaw", labels)
    with pytest.raises(DataError) as raised:
        load_dataset("jigsaw", tmp_path)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
