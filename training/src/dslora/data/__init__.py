"""Data sets by name, or a user's own file.

>>> dataset = load_dataset("olid", data_dir)                                    # doctest: +SKIP
>>> dataset = load_dataset("posts.csv", text_column="post", label_column="ok")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dslora.data import germeval, hatexplain, hub, jigsaw, olid, table
from dslora.data.assembly import RawDataset, assemble
from dslora.data.dataset import Carving, Dataset, Overlap, SourceFile, Split
from dslora.data.split import take
from dslora.errors import DataError, DsLoraError, MissingDataError

__all__ = ["DATASETS", "Carving", "Dataset", "Overlap", "SourceFile", "Split", "language_of", "load_dataset", "take"]

_ENVIRONMENT: Final = "DSLORA_DATA_DIR"


@dataclass(frozen=True)
class Registered:
    """A data set known by name: its loader, its folder, its home, and its posts' language.

    `forms` are the ways it may lie there, each by the files that it needs; the first of them marks it.
    """

    load: Callable[[Path], RawDataset]
    folder: str
    forms: tuple[tuple[str, ...], ...]
    home: str
    language: str


DATASETS: Final[Mapping[str, Registered]] = {
    "olid": Registered(olid.load, "olid", olid.FORMS, olid.HOME, "en"),
    "hatexplain": Registered(hatexplain.load, "hatexplain", hatexplain.FORMS, hatexplain.HOME, "en"),
    "hatexplain-binary": Registered(hatexplain.load_binary, "hatexplain", hatexplain.FORMS, hatexplain.HOME, "en"),
    "jigsaw": Registered(jigsaw.load, "jigsaw", jigsaw.FORMS, jigsaw.HOME, "en"),
    "germeval2018": Registered(germeval.load, "germeval2018", germeval.FORMS, germeval.HOME, "de"),
}
"""Every data set known by name. One more is one file beside this one and one line here."""

_KNOWN: Final = (
    f"{', '.join(DATASETS)}, {hub.PREFIX}owner/name, or the path of a .csv, .tsv, .jsonl or .parquet file, or of a "
    "folder of them"
)


def language_of(name_or_path: str) -> str:
    """BCP 47 tag of a data set's posts; data of one's own are taken for English."""
    registered = DATASETS.get(name_or_path)
    return registered.language if registered else "en"


def load_dataset(
    name_or_path: str | Path,
    data_dir: Path | str | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    development_fraction: float = 0.1,
    seed: int = 0,
    positive_labels: Sequence[str] | None = None,
) -> Dataset:
    """Read and check a data set.

    Args:
        name_or_path: a name in `DATASETS`, a CSV, TSV, JSON Lines or Parquet file, a folder with one file a split,
            or `hub:owner/name[:configuration][@revision]` for a data set of the Hub.
        data_dir: folder with the named data sets in subfolders (or one data set's folder itself);
            `DSLORA_DATA_DIR` if not given.
        text_column: for a file of one's own: the column with the posts (`text`).
        label_column: for a file of one's own: the column with the labels (`label`).
        development_fraction: share of the training rows to cut off where the source has no development split.
        seed: of that cut.
        positive_labels: labels that mean offensive; a data set known by name has its own. For a user's data
            they may be left out if it has two labels and one of them says so itself (1, true, OFF, toxic).

    Raises:
        DsLoraError: what is asked for cannot be; DataError for files that are missing or not as expected,
            MissingDataError where a data set known by name is not there at all.
    """
    registered = DATASETS.get(str(name_or_path))
    if name_or_path == "":
        # As a path it would be the folder that the command runs in.
        raise DataError(f"The data set has an empty name. Expected {_KNOWN}. Give a name or path (--data).")
    if registered is not None:
        if text_column or label_column:
            raise DsLoraError(
                f"A text or label column was given, but '{name_or_path}' is a known data set with its own "
                "columns. Leave both out, or pass the path of a file."
            )
        name = str(name_or_path)
        raw = registered.load(_folder(name, registered, data_dir))
    elif str(name_or_path).startswith(hub.PREFIX):
        name = str(name_or_path).removeprefix(hub.PREFIX)
        raw = hub.load(name, text_column, label_column, positive_labels is not None)
    else:
        path = Path(name_or_path)
        if not path.exists():
            raise DataError(
                f"There is no data set, file or folder '{name_or_path}'. Expected {_KNOWN}. Correct the name or path."
            )
        name = path.resolve().name if path.is_dir() else path.stem
        raw = table.load(path, text_column, label_column, positive_labels is not None)
    return assemble(
        name,
        raw,
        development_fraction=development_fraction,
        seed=seed,
        positive_labels=positive_labels,
    )


def _folder(name: str, registered: Registered, data_dir: Path | str | None) -> Path:
    given = data_dir or os.environ.get(_ENVIRONMENT)
    remedy = f"{registered.home}, and name the folder above '{registered.folder}' (--data-dir or {_ENVIRONMENT})."
    if not given:
        raise MissingDataError(f"No folder was named for the data set '{name}'. {remedy}")
    root = Path(given)
    for folder in (root / registered.folder, root):
        if any((folder / form[0]).is_file() for form in registered.forms):
            return folder
    raise MissingDataError(
        f"'{name}' was not found in {root / registered.folder}. Expected "
        f"{', or '.join(' and '.join(form) for form in registered.forms)} there. {remedy}"
    )
