"""GermEval 2018 in the form its authors distribute; the rows here are our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dslora.data import load_dataset
from dslora.errors import DataError


def write_germeval(folder: Path, test: str = "") -> Path:
    folder.mkdir(parents=True)
    rows = [f'Zeile {row}|LBR|zwei "offen\t{"OFFENSE" if row % 3 == 0 else "OTHER"}\tABUSE' for row in range(30)]
    (folder / "germeval2018.training.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    default = "eins\tOTHER\tOTHER\r\nzwei\tOFFENSE\tINSULT\r\n"
    (folder / "germeval2018.test.txt").write_text(test or default, encoding="utf-8", newline="")
    return folder


def test_official_files(tmp_path: Path) -> None:
    write_germeval(tmp_path / "germeval2018")
    dataset = load_dataset("germeval2018", tmp_path)
    assert dataset.labels == ("OTHER", "OFFENSE")
    assert dataset.positive_labels == ("OFFENSE",)
    assert {name: dataset.class_counts(name) for name in dataset.splits} == {
        "train": {"OTHER": 18, "OFFENSE": 9},
        "development": {"OTHER": 2, "OFFENSE": 1},
        "test": {"OTHER": 1, "OFFENSE": 1},
    }
    # The line breaks that the distribution spells out are line breaks again; quotation marks are the tweet's own.
    assert all('\nzwei "offen' in text for text in dataset.splits["train"].texts)
    assert dataset.splits["test"].texts == ("eins", "zwei")


@pytest.mark.parametrize(
    ("test", "message"),
    [("secret\tOTHER\n", "line 1: 2 fields"), ("secret\tUNSURE\tOTHER\n", "line 1: unknown label 'UNSURE'")],
)
def test_wrong_files(tmp_path: Path, test: str, message: str) -> None:
    write_germeval(tmp_path / "germeval2018", test)
    with pytest.raises(DataError) as raised:
        load_dataset("germeval2018", tmp_path)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
