"""From raw rows to a checked data set: what every loader ends in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from dslora.data.dataset import SPLITS, Dataset, SourceFile, Split, count_overlaps
from dslora.data.problems import Problems, listed, shown
from dslora.data.split import carve
from dslora.errors import DataError, DsLoraError

_SURROGATE = re.compile("[\\uD800-\\uDFFF]")


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
        DataError: an unknown label, an empty text, a lone surrogate, an id used twice, a class without a row.
        DsLoraError: positive labels that are not labels, or leave no class on one side.
    """
    problems = Problems()
    splits = {split: _checked(raw.splits[split], raw.labels, problems) for split in SPLITS if split in raw.splits}
    problems.raise_any()
    if len(raw.labels) < 2:
        raise DataError(
            f"{splits['train'].file_names}: every row has the label {shown(raw.labels[0])}. Expected at "
            "least two classes. Add rows of another class, or name the right label column."
        )
    # Before cutting, so that a class missing from the file is not reported as missing from the cut.
    _require_every_class(splits, raw.labels)
    carving = None
    if "development" not in splits:
        train, development, carving = carve(splits["train"], development_fraction, seed)
        splits = {"train": train, "development": development, **splits, **{"train": train}}
        _require_every_class(splits, raw.labels)
    return Dataset(
        name=name,
        labels=raw.labels,
        positive_labels=_positive(raw, positive_labels),
        splits=MappingProxyType(splits),
        dropped=MappingProxyType({reason: count for reason, count in raw.dropped.items() if count}),
        overlaps=count_overlaps(splits),
        carving=carving,
        license=raw.license,
        citation=raw.citation,
    )


def _checked(raw: RawSplit, labels: tuple[str, ...], problems: Problems) -> Split:
    index = {label: number for number, label in enumerate(labels)}
    first: dict[str, str] = {}
    numbers = np.zeros(len(raw.rows), dtype=np.int64)
    for position, row in enumerate(raw.rows):
        if row.label not in index:
            label = f"unknown label {shown(row.label)}" if row.label else "no label"
            problems.add(row.where, f"{label}. Expected one of {listed(labels)}. Correct or remove the row.")
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


def _require_every_class(splits: Mapping[str, Split], labels: tuple[str, ...]) -> None:
    for name, split in splits.items():
        missing = sorted(set(range(len(labels))) - set(split.labels.tolist()))
        if missing:
            raise DataError(
                f"{split.file_names}: no row of {name} has the label "
                f"{listed(labels[label] for label in missing)}. Expected every class in every split. Add "
                "rows of that class, or remove it from all splits."
            )


def _positive(raw: RawDataset, asked: Sequence[str] | None) -> tuple[str, ...]:
    if asked is None:
        return raw.positive_labels
    unknown = [label for label in asked if label not in raw.labels]
    if unknown or not asked or set(asked) == set(raw.labels):
        what = f"{listed(unknown)} is no label of this data" if unknown else "every class, or none, is positive"
        raise DsLoraError(
            f"Positive labels: {what}. Expected some, but not all, of {listed(raw.labels)}. Name those "
            "that mean offensive."
        )
    return tuple(label for label in raw.labels if label in asked)
