"""Problems found in a file, gathered so that one run shows several. What people wrote is never quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from dslora.errors import DataError

_SHOWN_AT_ONCE: Final = 5
_COLUMNS_SHOWN: Final = 20
# A name, not prose: a wrong column, or a file without a header, would otherwise put a post into the message.
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,32}")


def shown(value: object) -> str:
    """Return a label or column name for a message; anything that could be a post is only described."""
    text = str(value)
    return f"'{text}'" if _NAME.fullmatch(text) else f"(a value of {len(text)} characters)"


def listed(names: Iterable[object]) -> str:
    """Return names for a message, separated by commas and cut after twenty."""
    all_names = [shown(name) for name in names]
    rest = len(all_names) - _COLUMNS_SHOWN
    return ", ".join(all_names[:_COLUMNS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


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
