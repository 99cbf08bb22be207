"""OLID in the form its authors distribute; the rows here are our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dslora.data import load_dataset
from dslora.errors import DataError, DsLoraError, MissingDataError

HEADER = "id\ttweet\tsubtask_a\tsubtask_b\tsubtask_c\n"


def write_olid(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows = [f'{row}\t@USER post {row} with "half a quote\t{label}\tNULL\tNULL\n' for row, label in train_rows()]
    (folder / "olid-training-v1.0.tsv").write_text(HEADER + "".join(rows), encoding="utf-8")
    (folder / "testset-levela.tsv").write_text('id\ttweet\n90\t"quoted" post\n91\tpost URL\n', encoding="utf-8")
    (folder / "labels-levela.csv").write_text("91,OFF\n90,NOT\n", encoding="utf-8")
    return folder


def train_rows() -> list[tuple[int, str]]:
    return [(row, "OFF" if row % 3 == 0 else "NOT") for row in range(30)]


def test_official_files(tmp_path: Path) -> None:
    write_olid(tmp_path / "olid")
    dataset = load_dataset("olid", tmp_path)
    assert dataset.labels == ("NOT", "OFF")
    assert dataset.positive_labels == ("OFF",)
    assert {name: dataset.class_counts(name) for name in dataset.splits} == {
        "train": {"NOT": 18, "OFF": 9},
        "development": {"NOT": 2, "OFF": 1},
        "test": {"NOT": 1, "OFF": 1},
    }
    assert dataset.splits["test"].texts[0] == '"quoted" post'
    assert dataset.splits["test"].labels.tolist() == [0, 1]
    assert [file.name for file in dataset.splits["test"].files] == ["testset-levela.tsv", "labels-levela.csv"]
    assert dataset.splits["train"].files[0].rows == 30
    assert "1902.09666" in dataset.citation


def test_folder_from_the_environment_or_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_olid(tmp_path / "olid")
    monkeypatch.setenv("DSLORA_DATA_DIR", str(tmp_path))
    from_environment = load_dataset("olid")
    monkeypatch.delenv("DSLORA_DATA_DIR")
    assert load_dataset("olid", folder).splits["train"].ids == from_environment.splits["train"].ids


@pytest.mark.parametrize(
    ("name", "files", "home"),
    [
        (
            "olid",
            "olid-training-v1.0.tsv and testset-levela.tsv and labels-levela.csv",
            "https://sites.google.com/site/offensevalsharedtask/olid",
        ),
        (
            "germeval2018",
            "germeval2018.training.txt and germeval2018.test.txt",
            "https://github.com/uds-lsv/GermEval-2018-Data",
        ),
        (
            "hatexplain",
            "dataset.json and post_id_divisions.json, or hatexplain.jsonl",
            "https://github.com/hate-alert/HateXplain",
        ),
        ("jigsaw", "train.csv", "https://www.kaggle.com/competitions/jigsaw-toxic-comment-classification-challenge"),
    ],
)
def test_missing_folder_says_which_files_are_needed_and_where_they_are_obtained(
    name: str, files: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSLORA_DATA_DIR", raising=False)
    with pytest.raises(MissingDataError, match=f"{home}, has .*DSLORA_DATA_DIR"):
        load_dataset(name)
    with pytest.raises(
        MissingDataError, match=f"Expected {files} there. .*{home}, has .*: (download|unpack) .*--data-"
    ):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("olid-training-v1.0.tsv", "1\tsecret\tNOT\tNULL\tNULL\n", "line 1: the header"),
        ("olid-training-v1.0.tsv", HEADER + "1\tsecret\tNOT\tNULL\n", "line 2: 4 fields"),
        (
            "olid-training-v1.0.tsv",
            HEADER + "1\tsecret\tUNSURE\tNULL\tNULL\n",
            "line 2: unknown label 'UNSURE'",
        ),
        ("testset-levela.tsv", "id\ttweet\n90\tsecret\n92\tsecret\n", "line 3: the id '92' has no label"),
        ("testset-levela.tsv", "id\ttweet\n90\tsecret\n", "labels-levela.csv: 1 ids have no text"),
        ("labels-levela.csv", "90,NOT\n91 OFF\n", "labels-levela.csv, line 2"),
        ("labels-levela.csv", "90,NOT\n90,OFF\n", "labels-levela.csv, line 2"),
    ],
)
def test_wrong_files(tmp_path: Path, file: str, content: str, message: str) -> None:
    (write_olid(tmp_path / "olid") / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        load_dataset("olid", tmp_path)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    (write_olid(tmp_path / "olid") / "labels-levela.csv").unlink()
    with pytest.raises(DataError, match=r"labels-levela\.csv: the file cannot be read"):
        load_dataset("olid", tmp_path)


def test_columns_are_for_own_files(tmp_path: Path) -> None:
    with pytest.raises(DsLoraError, match="own columns"):
        load_dataset("olid", tmp_path, text_column="tweet")
