"""From raw rows to a checked data set: what every loader ends in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from dslora.data.dataset import SPLITS, Dataset, SourceFile, Split, count_overlaps
from dslora.data.problems import LabelNames, Problems, shown
from dslora.data.split import carve
from dslora.errors import DataError, DsLoraError

_SURROGATE = re.compile("[\\uD800-\\uDFFF]")
_SINGLES_SHOWN: Final = 5


@dataclass(frozen=True)
class RawRow:
    """One post as a loader found it; `where` names file and line for messages."""

    where: str
    id: str
    text: str
    label: str


@dataclass(frozen=True)
class RawSplit:
    """Rows of one split and the files they came from."""

    rows: Sequence[RawRow]
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class RawDataset:
    """What a loader returns. Without `development` among the splits, it is cut from train."""

    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    splits: Mapping[str, RawSplit]
    license: str
    citation: str
    dropped: Mapping[str, int] = field(default_factory=dict)


def assemble(
    name: str,
    raw: RawDataset,
    *,
    development_fraction: float,
    seed: int,
    positive_labels: Sequence[str] | None,
) -> Dataset:
    """Check raw rows and put a data set together.

    Raises:
        DataError: an unknown label, an empty text, a lone surrogate, an id used twice, a class without a row, or of
            one where development is cut from train.
        DsLoraError: positive labels that are not labels, or leave no class on one side.
    """
    problems = Problems()
    counts = Counter(row.label for row in raw.splits["train"].rows)
    names = LabelNames({label: counts[label] for label in raw.labels})
    splits = {
        split: _checked(raw.splits[split], raw.labels, names, problems) for split in SPLITS if split in raw.splits
    }
    problems.raise_any()
    if len(raw.labels) < 2:
        raise DataError(
            f"{splits['train'].file_names}: every row has the label {names[raw.labels[0]]}. Expected at "
            "least two classes. Add rows of another class, or name the right label column."
        )
    # Before cutting, so that a class missing from the file is not reported as missing from the cut.
    _require_every_class(splits, raw.labels, names)
    carving = None
    if "development" not in splits:
        _require_two_rows(raw.splits["train"], counts, names)
        train, development, carving = carve(splits["train"], development_fraction, seed)
        splits = {"train": train, "development": development, **splits, **{"train": train}}
        _require_every_class(splits, raw.labels, names)
    return Dataset(
        name=name,
        labels=raw.labels,
        positive_labels=_positive(raw, positive_labels, names),
        splits=MappingProxyType(splits),
        dropped=MappingProxyType({reason: count for reason, count in raw.dropped.items() if count}),
        overlaps=count_overlaps(splits),
        carving=carving,
        license=raw.license,
        citation=raw.citation,
    )


def _checked(raw: RawSplit, labels: tuple[str, ...], names: LabelNames, problems: Problems) -> Split:
    index = {label: number for number, label in enumerate(labels)}
    first: dict[str, str] = {}
    numbers = np.zeros(len(raw.rows), dtype=np.int64)
    for position, row in enumerate(raw.rows):
        if row.label not in index:
            label = f"unknown label {shown(row.label)}" if row.label else "no label"
            problems.add(row.where, f"{label}. Expected one of {names.listed(labels)}. Correct or remove the row.")
        if not row.text.strip():
            problems.add(row.where, "the text is empty. Expected a post. Fill it in or remove the row.")
        elif _SURROGATE.search(row.text):
            problems.add(
                row.where,
                "the text holds a lone surrogate. Expected well-formed Unicode. Repair or remove the row.",
            )
        earlier = first.setdefault(row.id, row.where)
        if earlier != row.where:
            problems.add(
                row.where,
                f"the id {shown(row.id)} was already used ({earlier}). Expected ids that differ. Remove "
                "one of the rows or give it another id.",
            )
        numbers[position] = index.get(row.label, 0)
    return Split(
        texts=tuple(row.text for row in raw.rows),
        labels=numbers,
        ids=tuple(row.id for row in raw.rows),
        files=raw.files,
    )


def _require_every_class(splits: Mapping[str, Split], labels: tuple[str, ...], names: LabelNames) -> None:
    for name, split in splits.items():
        missing = sorted(set(range(len(labels))) - set(split.labels.tolist()))
        if missing:
            raise DataError(
                f"{split.file_names}: no row of {name} has the label "
                f"{names.listed(labels[label] for label in missing)}. Expected every class in every split. Add "
                "rows of that class, or remove it from all splits."
            )


def _require_two_rows(train: RawSplit, counts: Counter[str], names: LabelNames) -> None:
    single = [row for row in train.rows if counts[row.label] == 1]
    if not single:
        return
    one = len(single) == 1
    # With its place: a label that may be a post is not shown.
    which = ", ".join(f"{names[row.label]} ({row.where})" for row in single[:_SINGLES_SHOWN])
    more = f" and {len(single) - _SINGLES_SHOWN} more" if len(single) > _SINGLES_SHOWN else ""
    raise DataError(
        f"{', '.join(file.name for file in train.files)}: the {'class' if one else 'classes'} {which}{more} "
        f"{'has a single row' if one else 'have a single row each'}, which cannot be in both train and development. "
        f"Expected at least 2 rows of each class. Add rows, or remove {'it' if one else 'them'}. {names.counted()}"
    )


def _positive(raw: RawDataset, asked: Sequence[str] | None, names: LabelNames) -> tuple[str, ...]:
    if asked is None:
        return raw.positive_labels
    unknown = [label for label in asked if label not in raw.labels]
    if unknown or not asked or set(asked) == set(raw.labels):
        # What was typed is no post of the file.
        what = (
            f"{', '.join(map(repr, unknown))} is no label of this data"
            if unknown
            else "every class, or none, is positive"
        )
        raise DsLoraError(
            f"Positive labels: {what}. Expected some, but not all, of {names.listed(raw.labels)}. Name those "
            "that mean offensive."
        )
    return tuple(label for label in raw.labels if label in asked)
