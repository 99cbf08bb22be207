"""Problems found in a file, gathered so that one run shows several. What people wrote is never quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dslora.errors import DataError

_SHOWN_AT_ONCE: Final = 5
_NAMES_SHOWN: Final = 20
# A name, not prose: a wrong column, or a file without a header, would otherwise put a post into the message. One
# word, of alphabets that put spaces between words.
_NAME = re.compile(r"[A-Za-z0-9_.:/\u00C0-\u024F\u0370-\u052F-]{1,32}")
_LABEL_SHOWN: Final = 40


def shown(value: object) -> str:
    """Return a label or column name for a message; anything that could be a post is only described."""
    text = str(value)
    return f"'{text}'" if _NAME.fullmatch(text) else f"(a value of {len(text)} characters)"


def listed(names: Iterable[object]) -> str:
    """Return names for a message, separated by commas and cut after twenty."""
    return _cut([shown(name) for name in names])


def _cut(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


class LabelNames:
    """What messages call the labels of a column, so that advice to name them can be followed.

    A few values that stand in several rows each are labels, and shown whatever letters and spaces they hold. What
    stands in one row may be a post, of a row whose columns are shifted; so may all values of a column that has many.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        """Take how many rows have each label."""
        self._rows = rows
        few = len(rows) <= _NAMES_SHOWN and 2 * len(rows) <= sum(rows.values())
        self._names = {label: _quoted(label) if few and count > 1 else shown(label) for label, count in rows.items()}

    def __getitem__(self, label: str) -> str:
        """Return one label's name."""
        return self._names[label]

    def listed(self, labels: Iterable[str]) -> str:
        """Return some labels' names, separated by commas and cut after twenty."""
        return _cut([self[label] for label in labels])

    def counted(self) -> str:
        """Return a sentence with the rows of each label, and what to do where one is not shown."""
        counts = _cut([f"{self[label]} {count:,}" for label, count in self._rows.items()])
        hidden = any(name.startswith("(") for name in self._names.values())
        hint = " What is not shown may be a post: see whether --label-column names the labels." if hidden else ""
        return f"Rows by label: {counts}.{hint}"


def _quoted(label: str) -> str:
    # As Python writes it, so that a space that is none, or a control character, is seen.
    return repr(label if len(label) <= _LABEL_SHOWN else f"{label[:_LABEL_SHOWN]}…")


class Problems:
    """A list of problems that ends in one error."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Note a problem; `where` is the file, with its line where there is one."""
        self._messages.append(f"{where}: {message}")

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            DataError: at least one problem was noted; the first five are spelled out.
        """
        if not self._messages:
            return
        rest = len(self._messages) - _SHOWN_AT_ONCE
        more = [f"… and {rest} more like these"] if rest > 0 else []
        raise DataError("\n".join(self._messages[:_SHOWN_AT_ONCE] + more))
