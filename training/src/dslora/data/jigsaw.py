"""Jigsaw Toxic Comment Classification: comments of Wikipedia's talk pages, toxic or not.

Source: the Kaggle competition of 2018 (Conversation AI); Wulczyn, Thain and Dixon, "Ex Machina: Personal Attacks
Seen at Scale", WWW 2017. Read in the competition's form (``train.csv``, ``test.csv``, ``test_labels.csv``), or as
``train.csv``, ``validation.csv`` and ``test.csv`` that each have a column ``toxic``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dslora.data.assembly import RawDataset, RawRow, RawSplit
from dslora.data.problems import Problems, shown
from dslora.data.records import Record, Records, read_comma_separated
from dslora.errors import DataError

TRAIN: Final = "train.csv"
VALIDATION: Final = "validation.csv"
TEST: Final = "test.csv"
TEST_LABELS: Final = "test_labels.csv"
# The others are read where they are there.
FORMS: Final = ((TRAIN,),)
HOME: Final = (
    "The challenge's page, https://www.kaggle.com/competitions/jigsaw-toxic-comment-classification-challenge, has "
    "train.csv, test.csv and test_labels.csv: download and unpack them"
)
_LABELS: Final = {"0": "OTHER", "1": "TOXIC"}
# Rows of the official test set that were never scored.
_NOT_SCORED: Final = "-1"


def load(folder: Path) -> RawDataset:
    """Read the official files, or a subset of the training file that was divided by its maker.

    Raises:
        DataError: a file is unreadable, lacks a column, or test texts and test labels do not belong together.
    """
    splits = {"train": _labelled(read_comma_separated(folder / TRAIN))}
    dropped: dict[str, int] = {}
    if (folder / VALIDATION).is_file():
        splits["development"] = _labelled(read_comma_separated(folder / VALIDATION))
    if (folder / TEST).is_file():
        test = read_comma_separated(folder / TEST)
        if "toxic" in test.columns:
            splits["test"] = _labelled(test)
        elif (folder / TEST_LABELS).is_file():
            splits["test"], dropped["not scored in the official test"] = _official_test(
                test, read_comma_separated(folder / TEST_LABELS)
            )
        else:
            raise DataError(
                f"{TEST}: it has no column 'toxic', and there is no {TEST_LABELS}. Expected one of the two. "
                "Put the official labels beside it, or remove the file to work without a test split."
            )
    return RawDataset(
        labels=("OTHER", "TOXIC"),
        positive_labels=("TOXIC",),
        splits=splits,
        license="CC0-1.0 (labels); CC-BY-SA-3.0 (comments)",
        citation="Jigsaw / Conversation AI: Toxic Comment Classification Challenge. Kaggle 2018",
        dropped=dropped,
    )


def _labelled(records: Records) -> RawSplit:
    _require(records, "comment_text", "toxic")
    rows = [
        RawRow(records.where(row), _id(row), row.values["comment_text"], _label(row.values["toxic"]))
        for row in records.rows
    ]
    return RawSplit(rows, (records.file,))


def _official_test(texts: Records, answers: Records) -> tuple[RawSplit, int]:
    _require(texts, "id", "comment_text")
    _require(answers, "id", "toxic")
    toxic = {row.values["id"]: row.values["toxic"] for row in answers.rows}
    problems = Problems()
    rows: list[RawRow] = []
    not_scored = 0
    for row in texts.rows:
        label = toxic.pop(row.values["id"], None)
        if label is None:
            problems.add(
                texts.where(row), f"the id {shown(row.values['id'])} has no label in {answers.file.name}. Use both."
            )
        elif label == _NOT_SCORED:
            not_scored += 1
        else:
            rows.append(RawRow(texts.where(row), _id(row), row.values["comment_text"], _label(label)))
    if toxic:
        problems.add(answers.file.name, f"{len(toxic)} ids have no text in {texts.file.name}. Use both official files.")
    problems.raise_any()
    return RawSplit(rows, (texts.file, answers.file)), not_scored


def _require(records: Records, *columns: str) -> None:
    missing = [column for column in columns if column not in records.columns]
    if missing:
        raise DataError(
            f"{records.file.name}, line 1: no column '{missing[0]}'. Expected {', '.join(columns)}. "
            "Use the official file."
        )


def _id(row: Record) -> str:
    # The subset's ids may be empty.
    return row.values.get("id") or f"line {row.line}"


def _label(value: str) -> str:
    return _LABELS.get(value.strip(), value)
