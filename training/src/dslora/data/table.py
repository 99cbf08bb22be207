"""A user's own data: a CSV, TSV, JSON Lines or Parquet file, a folder with one file a split, or other records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dslora.data.assembly import RawDataset, RawRow, RawSplit
from dslora.data.problems import LabelNames, Problems, listed
from dslora.data.records import READERS, Record, Records
from dslora.errors import DataError

SPLIT_OF_NAME: Final[Mapping[str, str]] = {
    "train": "train",
    "valid": "development",
    "val": "development",
    "validation": "development",
    "dev": "development",
    "development": "development",
    "eval": "development",
    "test": "test",
}
# More values than this and the column holds something else: the posts themselves, as a rule.
_MAX_LABELS: Final = 50
_MEANS_OFFENSIVE: Final = frozenset({"1", "true", "yes", "offense", "offensive", "toxic", "abusive", "hate"})
# OLID's name for it, told by its capitals: "off" beside "on" means nothing of the kind.
_MEANS_OFFENSIVE_AS_WRITTEN: Final = "OFF"


def load(
    path: Path,
    text_column: str | None,
    label_column: str | None,
    positive_given: bool,
) -> RawDataset:
    """Read a user's file or folder; classes are the labels of its training rows, sorted.

    A column `id` names the rows, where there is one and it is filled; else their line does.

    Args:
        path: a .csv, .tsv, .jsonl, .ndjson or .parquet file (then it is all training rows), or a folder with
            train, optionally development (under any of its names in `SPLIT_OF_NAME`), and optionally test in one of
            these formats.
        text_column: column with the posts; `text` if not given.
        label_column: column with the labels; `label` if not given.
        positive_given: whether the caller names the positive labels, so that they need not be known here.

    Raises:
        DataError: files, columns or labels are not as expected.
    """
    records = {split: READERS[file.suffix.lower()](file) for split, file in _files(path).items()}
    return from_records(records, text_column, label_column, positive_given)


def from_records(
    records: Mapping[str, Records],
    text_column: str | None,
    label_column: str | None,
    positive_given: bool,
    terms: str = "Not stated: the user's own data",
) -> RawDataset:
    """The same from records by split.

    Raises:
        DataError: columns or labels are not as expected.
    """
    text_column = text_column or "text"
    label_column = label_column or "label"
    splits = {split: _rows(each, text_column, label_column) for split, each in records.items()}
    counts = Counter(row.label for row in splits["train"].rows if row.label)
    labels = tuple(sorted(counts))
    if not labels or len(labels) > _MAX_LABELS:
        raise DataError(
            f"{splits['train'].files[0].name}: the column '{label_column}' has {len(labels)} different "
            f"values. Expected 2 to {_MAX_LABELS} labels. Name the column that holds the label "
            "(--label-column)."
        )
    return RawDataset(
        labels=labels,
        positive_labels=() if positive_given else _positive(splits["train"].files[0].name, labels, counts),
        splits=splits,
        license=terms,
        citation="",
    )


def _files(path: Path) -> dict[str, Path]:
    formats = ", ".join(READERS)
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise DataError(
                f"{path.name}: the format is not known by this ending. Expected {formats}. Convert or rename the file."
            )
        return {"train": path}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        split = SPLIT_OF_NAME.get(file.stem.lower())
        if split is None or file.suffix.lower() not in READERS:
            continue
        if split in found:
            raise DataError(
                f"{path.name}: {found[split].name} and {file.name} are both the {split} split. Expected "
                "one file a split. Remove or rename one of them."
            )
        found[split] = file
    if "train" not in found:
        raise DataError(
            f"{path.name}: the folder has no training file. Expected train with one of the endings "
            f"{formats}, and optionally validation and test. Name the files so, or pass a single file."
        )
    return found


def _rows(records: Records, text_column: str, label_column: str) -> RawSplit:
    options = {"--text-column": text_column, "--label-column": label_column}
    for option, column in options.items():
        if records.columns and column not in records.columns:
            raise DataError(
                f"{records.file.name}, line 1: no column '{column}'. The columns there are "
                f"{listed(records.columns)}. Name one of them with {option}."
            )
    problems = Problems()
    rows: list[RawRow] = []
    for record in records.rows:
        where = records.where(record)
        absent = [column for column in options.values() if column not in record.values]
        text = record.values.get(text_column)
        if absent:
            problems.add(
                where,
                f"no column '{absent[0]}'. The columns there are {listed(record.values)}. Name one that "
                "every row has with --text-column and --label-column.",
            )
        elif not isinstance(text, str | None):
            problems.add(where, f"the value of '{text_column}' is no string. Expected a post. Correct the row.")
        elif record.values[label_column] in (math.inf, -math.inf):
            problems.add(where, "the label is infinite. Expected a name or a number. Correct or remove the row.")
        else:
            label = _label(record.values[label_column])
            rows.append(RawRow(where, _id(record, options.values()), text or "", label))
    problems.raise_any()
    return RawSplit(rows, (records.file,))


def _id(record: Record, used: Any) -> str:
    value = None if "id" in used else record.values.get("id")
    return f"line {record.line}" if value == "" or _is_missing(value) else str(value)


def _is_missing(value: object) -> bool:
    # Tables have NaN where a column of numbers has none.
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label(value: object) -> str:
    match value:
        case _ if _is_missing(value):
            return ""
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value).strip()


def _positive(file: str, labels: tuple[str, ...], counts: Counter[str]) -> tuple[str, ...]:
    offensive = tuple(
        label for label in labels if label.casefold() in _MEANS_OFFENSIVE or label == _MEANS_OFFENSIVE_AS_WRITTEN
    )
    # With three classes or more a guess could miss one, and the service would then let those posts pass.
    if len(labels) == 2 and len(offensive) == 1:
        return offensive
    if len(labels) == 1:
        return ()
    raise DataError(
        f"{file}: it is not clear which labels mean offensive. Expected to be told. Name them with --positive-labels. "
        + LabelNames({label: counts[label] for label in labels}).counted()
    )
