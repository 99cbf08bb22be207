"""Data sets by Hub id, read by the library `datasets` from a folder that stands in for the Hub."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from huggingface_hub import HfApi

from dslora.cli import main
from dslora.data import load_dataset
from dslora.data.hub import HubName
from dslora.errors import DataError

SHA = "0123456789abcdef0123456789abcdef01234567"


def write(folder: Path, split: str, rows: int, labels: list[str] | None) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=labels) if labels else datasets.Value("string"),
        }
    )
    values = [i % len(labels) if labels else ("fine", "toxic")[i % 2] for i in range(rows)]
    content = {"text": [f"{split} post {i}" for i in range(rows)], "label": values}
    datasets.Dataset.from_dict(content, features=features).to_parquet(folder / f"{split}.parquet")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which data sets lie by id; configurations in folders of their own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    load = datasets.load_dataset

    def from_folder(name: str, configuration: str | None = None, *, revision: str) -> Any:
        folder = tmp_path / "hub" / name / (configuration or "")
        if not folder.is_dir():
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return load(str(folder), cache_dir=str(tmp_path / "cache"))

    def info(self: HfApi, name: str, *, revision: str | None = None) -> Any:
        if not (tmp_path / "hub" / name).is_dir():
            raise OSError("no connection")
        return SimpleNamespace(sha=SHA)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    monkeypatch.setattr(HfApi, "dataset_info", info)
    return tmp_path / "hub"


def test_splits_labels_and_revision_are_the_data_sets_own(hub: Path) -> None:
    folder = hub / "owner" / "posts" / "small"
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("validation", 10), ("test", 12)):
        write(folder, split, rows, ["fine", "toxic"])
    dataset = load_dataset("hub:owner/posts:small")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 40, "development": 10, "test": 12}
    assert dataset.labels == ("fine", "toxic")
    assert dataset.positive_labels == ("toxic",)
    assert dataset.carving is None
    (file,) = dataset.splits["train"].files
    assert file.name == f"owner/posts:small@{SHA}/train"
    assert load_dataset("hub:owner/posts:small").splits["train"].files == (file,)
    assert file.sha256 != dataset.splits["test"].files[0].sha256
    assert "owner/posts" in dataset.license


def test_the_check_reads_a_hub_id_and_cuts_a_development_split(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hub / "posts").mkdir(parents=True)
    write(hub / "posts", "train", 40, None)
    assert main(["data", "check", "--data", "hub:posts", "--json"]) == 0
    check = json.loads(capsys.readouterr().out)
    assert {name: split["rows"] for name, split in check["splits"].items()} == {"train": 36, "development": 4}


def test_what_cannot_be_had_is_refused(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hub / "owner" / "odd").mkdir(parents=True)
    write(hub / "owner" / "odd", "test", 4, None)
    for name, message in (
        ("hub:owner/none", "could not be had (OSError: no connection)"),
        ("hub:owner/none@main", "could not be had"),
        ("hub:owner/odd", "no training split"),
        ("hub:a b", "is no data set of the Hub"),
        ("owner/none", "hub:owner/name"),
    ):
        with pytest.raises(DataError) as raised:
            load_dataset(name)
        assert message in str(raised.value), name


def test_names_are_read() -> None:
    assert HubName.parse("a/b:c@d/e") == HubName("a/b", "c", "d/e")
    assert HubName.parse("a") == HubName("a", None, None)
