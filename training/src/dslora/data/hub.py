"""Data sets of the Hugging Face Hub, by id, at a revision that is written down.

    hub:owner/name    hub:owner/name:configuration    hub:owner/name@revision    hub:name:configuration@revision

Without a revision the newest is looked up and pinned: a run's record names it, so the same rows can be had again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dslora.data.assembly import RawDataset
from dslora.data.dataset import SourceFile
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

    Splits are recognised by their names, as files are. Labels that are stored as numbers get the names that the data
    set gives them. Rows whose label is missing there, as those of hidden test sets, are left out and counted; a split
    without any other row is left out whole.

    Args:
        name: `owner/name[:configuration][@revision]`.
        text_column: column with the posts; `text` if not given.
        label_column: column with the labels; `label` if not given.
        positive_given: whether the caller names the positive labels.

    Raises:
        DataError: it cannot be reached, a file or folder of its name is here, it has no training split or two of a
            kind, or other columns or labels than expected.
    """
    wanted = HubName.parse(name)
    if Path(wanted.id).exists():
        raise DataError(
            f"{PREFIX}{wanted.id}: a file or folder {wanted.id} stands here, which the library datasets would read "
            "instead of the Hub. Expected a data set of the Hub. Give the command elsewhere, or name the folder itself "
            "without hub:."
        )
    revision = _pinned(wanted)
    source = f"{wanted.id}{f':{wanted.configuration}' if wanted.configuration else ''}@{revision}"
    records = {}
    dropped = {}
    name_of: dict[str, str] = {}
    for split, rows in _download(wanted, revision).items():
        known = SPLIT_OF_NAME.get(split.lower())
        if known is None:
            continue
        if known in name_of:
            raise DataError(
                f"{wanted.id}: {name_of[known]} and {split} are both the {known} split. Expected one of them. Choose "
                f"another configuration ({PREFIX}{wanted.id}:NAME), or save the splits that you want to files."
            )
        name_of[known] = split
        found = _records(f"{source}/{split}", rows, label_column or "label")
        dropped[f"no label in the source ({known})"] = found.file.rows - len(found.rows)
        if found.rows:
            records[known] = found
    if "train" not in records:
        raise DataError(
            f"{wanted.id}: no training split with labels among what it has. Expected a split called train. Choose "
            f"another configuration ({PREFIX}{wanted.id}:NAME), or save the rows that you want to train.parquet."
        )
    raw = from_records(
        records,
        text_column,
        label_column,
        positive_given,
        terms=f"As the card of {wanted.id} on the Hub states",
    )
    return replace(raw, dropped=dropped)


def _pinned(wanted: HubName) -> str:
    """The commit that a revision stands for now; as it was given where the Hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(wanted.id, revision=wanted.revision).sha
    # ValueError: a name that no data set can have, or an answer that is not the Hub's.
    except (OSError, ValueError, _httpx().HTTPError) as error:
        if wanted.revision is None:
            raise _not_had(wanted, error) from error
        return wanted.revision
    return str(found)


def _download(wanted: HubName, revision: str) -> Mapping[str, Any]:
    import datasets

    try:
        found = datasets.load_dataset(wanted.id, wanted.configuration, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, _httpx().HTTPError) as error:
        raise _not_had(wanted, error) from error
    return found  # type: ignore[no-any-return]


def _records(source: str, rows: Any, label_column: str) -> Records:
    """The rows that have a label; the file counts all of them."""
    feature = rows.features.get(label_column)
    names: list[str] | None = getattr(feature, "names", None)
    records = []
    for number, row in enumerate(rows, start=1):
        value = row.get(label_column)
        if names is None or not isinstance(value, int):
            records.append(Record(number, row))
        # The library marks a missing label by -1.
        elif value >= 0:
            records.append(Record(number, {**row, label_column: names[value]}))
    return Records(SourceFile(source, _digest(rows), len(rows)), tuple(rows.column_names), tuple(records))


def _digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the rows as JSON lines: files differ between versions of the library, rows do not."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return digest.hexdigest()


def _not_had(wanted: HubName, error: Exception) -> DataError:
    """What to say of an error of the libraries that fetch a data set."""
    from datasets.exceptions import DatasetGenerationError
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    no_answer = [each for each in _chain(error) if _is_no_answer(each)]
    if no_answer:
        return DataError(
            f"{PREFIX}{wanted.id}: {constants.ENDPOINT} cannot be reached ({_in_a_line(no_answer[-1])}). Expected a "
            "connection to the Hub. Check the network, name a mirror (HF_ENDPOINT; for closed sets also HF_TOKEN), or "
            "download the data set elsewhere and give its files."
        )
    if isinstance(error, RepositoryNotFoundError):
        # Its own first line is but a number: the Hub does not tell strangers which closed sets there are.
        reason = "the Hub has none of this name, or a closed one"
    elif isinstance(error, DatasetGenerationError):
        # Without what the reader says, which may quote a row.
        reason = f"its files cannot be read: {type(error.__cause__ or error).__name__}"
    else:
        reason = _in_a_line(error)
    return DataError(
        f"{PREFIX}{wanted.id}: the data set could not be had ({reason}). Expected one that the Hub has under this name "
        "and lets you read. Check name, configuration and revision; for a closed set ask for access on its page and "
        "set HF_TOKEN (or: hf auth login). Or download it and give its files."
    )


def _is_no_answer(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    # A ConnectionError is also that of Hugging Face's offline mode.
    return isinstance(error, (_httpx().RequestError, ConnectionError, TimeoutError))


def _httpx() -> Any:
    """The HTTP library of huggingface_hub, whichever it is: its errors come through, and are no OSErrors."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    return httpx


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it; `datasets` hides some of them with `from None`."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _in_a_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
