"""What a data set is once it has been read and checked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dslora.files import write_json
from dslora.normalization import NormalizationError

SPLITS: Final = ("train", "development", "test")


@dataclass(frozen=True)
class SourceFile:
    """A file that rows were read from: its name without folder, checksum and number of rows."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one split, in the order of their file.

    Attributes:
        texts: the posts, n.
        labels: int64 [n], indices into the data set's `labels`; read-only.
        ids: the rows' names in the source, n, all different.
        files: where the rows came from.
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    files: tuple[SourceFile, ...]

    def __post_init__(self) -> None:
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def file_names(self) -> str:
        """Names of the files, for a message."""
        return ", ".join(file.name for file in self.files)

    def ids_sha256(self) -> str:
        """Tell two choices of rows apart: SHA-256 of the ids, one a line."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()

    def rows(self, indices: Sequence[int]) -> Split:
        """Return the rows at `indices`, in that order."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in indices),
            labels=self.labels[np.asarray(indices, dtype=np.int64)],
            ids=tuple(self.ids[i] for i in indices),
        )

    def without_refused(self, read: Callable[[str], object]) -> tuple[Split, Counter[str]]:
        """Return the rows that a model can read, and by reason how many it cannot.

        Texts stay as they are.

        Args:
            read: what the model does first with a text; raises NormalizationError for one that the service would
                refuse too.
        """
        kept: list[int] = []
        refused: Counter[str] = Counter()
        for index, text in enumerate(self.texts):
            try:
                read(text)
            except NormalizationError as error:
                refused[error.reason] += 1
            else:
                kept.append(index)
        return self.rows(kept), refused


@dataclass(frozen=True)
class Overlap:
    """How many rows of `later` have a text that also stands in `earlier`."""

    earlier: str
    later: str
    rows: int


@dataclass(frozen=True)
class Carving:
    """How the development split was cut from the training rows."""

    method: str
    seed: int
    fraction: float


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with its splits.

    Attributes:
        name: registered name, or the file's or folder's own.
        labels: class names in the order of the model's outputs, L.
        positive_labels: those that mean "offensive".
        splits: train and development, and test where there is one.
        dropped: number of rows left out, by reason.
        overlaps: texts that stand in more than one split; reported, not removed.
        carving: how development was cut from train; None where the source has a development split.
        license: terms that the source states.
        citation: what to cite.
    """

    name: str
    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    splits: Mapping[str, Split]
    dropped: Mapping[str, int]
    overlaps: tuple[Overlap, ...]
    carving: Carving | None
    license: str
    citation: str

    def class_counts(self, split: str) -> dict[str, int]:
        """Rows of each class in a split, in the order of `labels`."""
        counts = np.bincount(self.splits[split].labels, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    @property
    def rows(self) -> Split:
        """All rows, split by split."""
        splits = self.splits.values()
        return Split(
            texts=tuple(text for split in splits for text in split.texts),
            labels=np.concatenate([split.labels for split in splits]),
            ids=tuple(f"{name} {row}" for name, split in self.splits.items() for row in split.ids),
            files=tuple(dict.fromkeys(file for split in splits for file in split.files)),
        )

    def without_refused(self, read: Callable[[str], object]) -> Dataset:
        """Return the data set with the rows that `read` reads of every split; the others are counted in `dropped`."""
        splits: dict[str, Split] = {}
        dropped = dict(self.dropped)
        for name, split in self.splits.items():
            splits[name], refused = split.without_refused(read)
            dropped |= {f"{reason} ({name})": count for reason, count in refused.items()}
        return replace(
            self,
            splits=MappingProxyType(splits),
            dropped=MappingProxyType(dropped),
            overlaps=count_overlaps(splits),
        )

    def write_split(self, path: Path) -> None:
        """Write the development split's row ids, and how they were chosen, as JSON; whole or not at all."""
        development = self.splits["development"]
        carving = self.carving
        content = {
            "dataset": self.name,
            "split": "development",
            "method": carving.method if carving else "the split that the source defines",
            "seed": carving.seed if carving else None,
            "fraction": carving.fraction if carving else None,
            "rows": len(development),
            "classes": self.class_counts("development"),
            "idsSha256": development.ids_sha256(),
            "files": [vars(file) for file in development.files],
            "ids": development.ids,
        }
        write_json(path, content)


def count_overlaps(splits: Mapping[str, Split]) -> tuple[Overlap, ...]:
    """Count identical texts between each two splits; pairs without any are left out."""
    texts = {name: set(split.texts) for name, split in splits.items()}
    found = (
        Overlap(earlier, later, sum(text in texts[earlier] for text in splits[later].texts))
        for earlier, later in combinations(splits, 2)
    )
    return tuple(overlap for overlap in found if overlap.rows)
