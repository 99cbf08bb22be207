"""The real data sets have the numbers of posts that their authors publish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dslora.data import Dataset, load_dataset
from dslora.normalization import default_steps, normalize

DATA = os.environ.get("DSLORA_DATA_DIR")
pytestmark = pytest.mark.skipif(DATA is None, reason="DSLORA_DATA_DIR is not set")


DEVELOPMENT_IDS = ("77444", "54920", "78367", "66596", "75215")
DEVELOPMENT_SHA256 = "e37d38b52007aa8fa53f83c8473c8ee73cb9e1826aa14440384ca1d9018a08ad"


@pytest.fixture(scope="module")
def olid() -> Dataset:
    return load_dataset("olid")


@pytest.fixture(scope="module")
def hatexplain() -> Dataset:
    return load_dataset("hatexplain")


def test_olid(olid: Dataset) -> None:
    train, development = olid.class_counts("train"), olid.class_counts("development")
    assert {label: train[label] + development[label] for label in olid.labels} == {"NOT": 8840, "OFF": 4400}
    assert development == {"NOT": 884, "OFF": 440}
    assert olid.class_counts("test") == {"NOT": 620, "OFF": 240}
    assert dict(olid.dropped) == {}


def test_development_split_of_olid_stays_what_it_was(olid: Dataset, tmp_path: Path) -> None:
    # Models are chosen on these rows: if they change, figures before and after do not compare.
    assert olid.splits["development"].ids[:5] == DEVELOPMENT_IDS
    assert not set(olid.splits["development"].ids) & set(olid.splits["train"].ids)
    olid.write_split(tmp_path / "development.json")
    assert DEVELOPMENT_SHA256 in (tmp_path / "development.json").read_text(encoding="utf-8")


def test_hatexplain(hatexplain: Dataset) -> None:
    assert {name: len(split) for name, split in hatexplain.splits.items()} == {
        "train": 15_383,
        "development": 1_922,
        "test": 1_924,
    }
    assert hatexplain.class_counts("train") == {"normal": 6251, "offensive": 4384, "hatespeech": 4748}
    assert hatexplain.class_counts("development") == {"normal": 781, "offensive": 548, "hatespeech": 593}
    assert hatexplain.class_counts("test") == {"normal": 782, "offensive": 548, "hatespeech": 594}
    assert dict(hatexplain.dropped) == {"annotators without a majority": 919}


def test_germeval() -> None:
    germeval = load_dataset("germeval2018")
    train, development = germeval.class_counts("train"), germeval.class_counts("development")
    assert {label: train[label] + development[label] for label in germeval.labels} == {"OTHER": 3321, "OFFENSE": 1688}
    assert germeval.class_counts("test") == {"OTHER": 2330, "OFFENSE": 1202}


def test_jigsaw_subset() -> None:
    jigsaw = load_dataset("jigsaw")
    assert sum(len(split) for split in jigsaw.splits.values()) == 40_893
    assert {name: jigsaw.class_counts(name)["TOXIC"] for name in jigsaw.splits} == {
        "train": 3146,
        "development": 393,
        "test": 397,
    }


def test_overlaps_are_reported(olid: Dataset, hatexplain: Dataset) -> None:
    for dataset in (olid, hatexplain):
        assert {(each.earlier, each.later) for each in dataset.overlaps} == {
            ("train", "development"),
            ("train", "test"),
            ("development", "test"),
        }
        assert all(0 < each.rows < 10 for each in dataset.overlaps)


@pytest.mark.parametrize("name", ["olid", "hatexplain"])
def test_nothing_real_normalises_to_nothing(name: str, request: pytest.FixtureRequest) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    steps = default_steps(name, uncased=True)
    kept = dataset.without_refused(lambda text: normalize(text, steps))
    assert {split: len(rows) for split, rows in kept.splits.items()} == {
        split: len(rows) for split, rows in dataset.splits.items()
    }


def test_placeholders_are_gone_after_normalisation(olid: Dataset, hatexplain: Dataset) -> None:
    for name, dataset in (("olid", olid), ("hatexplain", hatexplain)):
        steps = default_steps(name, uncased=True)
        for text in dataset.splits["test"].texts:
            words = normalize(text, steps).split(" ")
            assert not {"<user>", "<url>", "<number>", "@USER", "URL"} & set(words)
