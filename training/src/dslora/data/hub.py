"""Data sets of the Hugging Face Hub, by id, at a revision that is written down.

    hub:owner/name    hub:owner/name:configuration    hub:owner/name@revision    hub:name:configuration@revision

Without a revision the newest is looked up and pinned: a run's record names it, so the same rows can be had again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dslora.data.assembly import RawDataset
from dslora.data.dataset import SourceFile
from dslora.data.problems import listed
from dslora.data.records import Record, Records
from dslora.data.table import SPLIT_OF_NAME, from_records
from dslora.errors import DataError

PREFIX: Final = "hub:"

_NAME: Final = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?::(?P<configuration>[\w.+-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class HubName:
    """What a user named: `id[:configuration][@revision]`."""

    id: str
    configuration: str | None
    revision: str | None

    @classmethod
    def parse(cls, name: str) -> HubName:
        """Read the name without `hub:`.

        Raises:
            DataError: it is not of that form.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError(
                f"'{PREFIX}{name}' is no data set of the Hub. Expected {PREFIX}owner/name, and where needed "
                ":configuration and @revision after it. Correct the name."
            )
        return cls(match["id"], match["configuration"], match["revision"])


def load(name: str, text_column: str | None, label_column: str | None, positive_given: bool) -> RawDataset:
    """Download a data set, or take it from the cache of the library `datasets`.

    Splits are recognised as of files: train, validation (or dev, development), test. Labels that are stored as numbers
    get the names that the data set gives them.

    Args:
        name: `owner/name[:configuration][@revision]`.
        text_column: column with the posts; `text` if not given.
        label_column: column with the labels; `label` if not given.
        positive_given: whether the caller names the positive labels.

    Raises:
        DataError: it cannot be reached, has no training split, or other columns or labels than expected.
    """
    wanted = HubName.parse(name)
    revision = _pinned(wanted)
    source = f"{wanted.id}{f':{wanted.configuration}' if wanted.configuration else ''}@{revision}"
    records = {}
    for split, rows in _download(wanted, revision).items():
        known = SPLIT_OF_NAME.get(split.lower())
        if known is not None:
            records[known] = _records(f"{source}/{split}", rows, label_column or "label")
    if "train" not in records:
        raise DataError(
            f"{wanted.id}: no training split among what it has. Expected a split called train. Choose another "
            f"configuration ({PREFIX}{wanted.id}:NAME), or save the rows that you want to train.parquet."
        )
    return from_records(
        records,
        text_column,
        label_column,
        positive_given,
        terms=f"As the card of {wanted.id} on the Hub states",
    )


def _pinned(wanted: HubName) -> str:
    """The commit that a revision stands for now; as it was given where the Hub cannot be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        found = HfApi().dataset_info(wanted.id, revision=wanted.revision).sha
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        if wanted.revision is None:
            raise _unreachable(wanted, error) from error
        return wanted.revision
    return str(found)


def _download(wanted: HubName, revision: str) -> Mapping[str, Any]:
    import datasets

    try:
        found = datasets.load_dataset(wanted.id, wanted.configuration, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(wanted, error) from error
    return found  # type: ignore[no-any-return]


def _records(source: str, rows: Any, label_column: str) -> Records:
    feature = rows.features.get(label_column)
    names: list[str] | None = getattr(feature, "names", None)

    def named(row: Mapping[str, Any]) -> Mapping[str, Any]:
        value = row.get(label_column)
        # The library marks a missing label by -1.
        return {**row, label_column: names[value]} if names and isinstance(value, int) and value >= 0 else row

    records = tuple(Record(number, named(row)) for number, row in enumerate(rows, start=1))
    return Records(SourceFile(source, _digest(rows), len(records)), tuple(rows.column_names), records)


def _digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the rows as JSON lines: files differ between versions of the library, rows do not."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return digest.hexdigest()


def _unreachable(wanted: HubName, error: Exception) -> DataError:
    lines = str(error).strip().splitlines()
    return DataError(
        f"{PREFIX}{wanted.id}: the data set could not be had ({type(error).__name__}: {lines[0] if lines else ''}). "
        "Expected one that the Hub has under this name, and a connection to it. Check name, configuration and access "
        f"(for closed sets: hf auth login), or save it to files; sets known by name: {listed(['olid', 'hatexplain'])}."
    )
