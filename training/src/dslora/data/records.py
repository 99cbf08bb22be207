"""Files as records: CSV, tab-separated, JSON Lines and Parquet, with the line of every record."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dslora.data.dataset import SourceFile
from dslora.data.problems import Problems
from dslora.errors import DataError

# A post is short; a field of this size is a missing quotation mark that swallowed the rest of the file.
_MAX_FIELD_CHARACTERS: Final = 1_000_000
# What stands between columns, and what it is called.
_SEPARATORS: Final[Mapping[str, str]] = {",": "commas", "\t": "tabs", ";": "semicolons"}


@dataclass(frozen=True)
class Text:
    """The decoded content of a file."""

    name: str
    sha256: str
    content: str

    def source(self, rows: int) -> SourceFile:
        """Describe the file, now that its rows are counted."""
        return SourceFile(self.name, self.sha256, rows)


@dataclass(frozen=True)
class Record:
    """One row: the line it starts on (from 1; in Parquet its number) and its values by column."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """The rows of one file. `columns` is empty for JSON Lines, where each row has its own."""

    file: SourceFile
    columns: tuple[str, ...]
    rows: tuple[Record, ...]

    def where(self, record: Record) -> str:
        """Name a record's place for a message."""
        return f"{self.file.name}, line {record.line}"


def read_text(path: Path) -> Text:
    """Read a file as UTF-8, with or without a byte order mark.

    Raises:
        DataError: it cannot be read, is empty, or is not UTF-8; the message names the first bad line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the file cannot be read ({error.strerror or type(error).__name__}). "
            "Expected a readable file. Check the path and its permissions."
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Expected UTF-8 "
            "throughout. Save the file as UTF-8, or repair that line."
        ) from None
    if not text.strip():
        raise DataError(f"{path.name}: the file is empty. Expected rows of posts. Check that it is the right file.")
    return Text(path.name, hashlib.sha256(content).hexdigest(), text)


def read_tab_separated(path: Path, columns: Sequence[str] | None = None) -> Records:
    """Read tab-separated values. Quotation marks are ordinary characters; a row is a line.

    Args:
        path: the file.
        columns: the columns that the header must have, where the format fixes them.

    Raises:
        DataError: unreadable, a wrong header, or rows with more or fewer fields than the header.
    """
    text = read_text(path)
    if columns is None:
        _refuse_other_separator(text, "\t", "as .csv or .jsonl")
    rows = [(number, line.split("\t")) for number, line in _lines(text.content)]
    return _with_header(text, rows, columns, "tabs")


def read_comma_separated(path: Path) -> Records:
    """Read CSV as in RFC 4180: fields may be quoted and then hold commas, line breaks and doubled quotes.

    Raises:
        DataError: unreadable, a quote left open, another separator, or rows with more or fewer fields than the
            header.
    """
    text = read_text(path)
    # First: with another separator, every quoted field would look like a quote left open.
    _refuse_other_separator(text, ",", "as .tsv or .jsonl")
    limit = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    reader = csv.reader(io.StringIO(text.content, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for fields in reader:
            if fields:
                rows.append((start, fields))
            start = reader.line_num + 1
    except csv.Error:
        raise DataError(
            f"{path.name}, line {start}: the quotation marks of this row do not pair up. Expected quotes "
            "inside a quoted field to be doubled. Repair the row, or save the file as JSON Lines."
        ) from None
    finally:
        csv.field_size_limit(limit)
    return _with_header(text, rows, None, "commas")


def read_json_lines(path: Path) -> Records:
    """Read JSON Lines: one object a line.

    Raises:
        DataError: unreadable, or a line that is not a JSON object.
    """
    text = read_text(path)
    problems = Problems()
    records: list[Record] = []
    for number, line in _lines(text.content):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            # RecursionError: brackets within brackets, by the thousand.
            value = None
        if isinstance(value, dict):
            records.append(Record(number, value))
        else:
            problems.add(
                f"{path.name}, line {number}",
                "not a JSON object. Expected one object a line. Repair the line.",
            )
    problems.raise_any()
    return Records(text.source(len(records)), (), tuple(records))


def read_parquet(path: Path) -> Records:
    """Read Apache Parquet: a table whose columns have names.

    Raises:
        DataError: it cannot be read, is no Parquet file, or has no rows.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path.name}: not a Parquet file that can be read ({type(error).__name__}). Expected one, whole. "
            "Write or download it again, or convert it to JSON Lines."
        ) from error
    if table.num_rows == 0:
        raise DataError(f"{path.name}: the file is empty. Expected rows of posts. Check that it was written whole.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    records = tuple(Record(number, values) for number, values in enumerate(table.to_pylist(), start=1))
    return Records(SourceFile(path.name, digest, len(records)), tuple(table.column_names), records)


def _lines(content: str) -> list[tuple[int, str]]:
    # Not splitlines(): it also cuts at U+0085 and U+2028, which stand inside posts.
    numbered = enumerate((line.removesuffix("\r") for line in content.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _refuse_other_separator(text: Text, expected: str, otherwise: str) -> None:
    """Tell a file whose columns are separated by something else from one whose columns have other names.

    Raises:
        DataError: the header has not one separator of the expected kind, but some of another.
    """
    lines = enumerate(io.StringIO(text.content), start=1)
    number, header = next((number, line) for number, line in lines if line.strip())
    counts = {separator: header.count(separator) for separator in _SEPARATORS}
    found = max(counts, key=lambda separator: counts[separator])
    if counts[expected] or not counts[found]:
        return
    raise DataError(
        f"{text.name}, line {number}: the header has one column, and seems to be separated by {_SEPARATORS[found]}. "
        f"Expected {_SEPARATORS[expected]}. Save the file with {_SEPARATORS[expected]}, or {otherwise}."
    )


def _with_header(
    text: Text, rows: list[tuple[int, list[str]]], expected: Sequence[str] | None, separator: str
) -> Records:
    header = [name.strip() for name in rows[0][1]]
    if expected is not None and header != list(expected):
        raise DataError(
            f"{text.name}, line 1: the header is not the expected one. Expected the columns "
            f"{', '.join(expected)}, separated by {separator}. Use the file as its authors distribute it."
        )
    if len(set(header)) < len(header) or not all(header):
        raise DataError(
            f"{text.name}, line 1: the header has an empty name or the same name twice. Expected one name "
            "a column. Give every column a name of its own."
        )
    problems = Problems()
    records: list[Record] = []
    for line, fields in rows[1:]:
        if len(fields) != len(header):
            problems.add(
                f"{text.name}, line {line}",
                f"{len(fields)} fields, separated by {separator}, where the header has {len(header)}. Repair the row.",
            )
        records.append(Record(line, dict(zip(header, fields, strict=False))))
    problems.raise_any()
    return Records(text.source(len(records)), tuple(header), tuple(records))


READERS: Final[Mapping[str, Callable[[Path], Records]]] = {
    ".csv": read_comma_separated,
    ".tsv": read_tab_separated,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
"""How a file is read, by the end of its name."""
