"""Results of cells: one small JSON file each. They hold class indices, never texts."""

import base64
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.reproduce.cell import Cell

Bytes = NDArray[np.uint8]


def pack(values: NDArray[Any]) -> str:
    """Integers from 0 to 255, [n], as text: zlib, then base64."""
    return base64.b64encode(zlib.compress(values.astype(np.uint8).tobytes(), 9)).decode()


def unpack(text: str) -> NDArray[np.int64]:
    """What :func:`pack` was given."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).astype(np.int64)


@dataclass(frozen=True)
class Results:
    """The results of a reproduction.

    Attributes:
        folder: One JSON file a cell.
    """

    folder: Path

    def path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.json"

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell; None where there is none, or where it was refused.

        Raises:
            DsLoraError: The file is not what its name says.
        """
        result = self._read(cell)
        return None if result is None or "refused" in result else result

    def refusal(self, cell: Cell) -> str | None:
        """Why a cell could not be run at all: the method does not fit the base, say."""
        result = self._read(cell)
        return None if result is None else result.get("refused")

    def refused_since(self, cell: Cell, moment: float) -> bool:
        """Whether it was refused after a moment, in seconds since 1970."""
        return self.refusal(cell) is not None and self.path(cell).stat().st_mtime >= moment

    def save(self, cell: Cell, result: dict[str, Any]) -> None:
        write_json(self.path(cell), {"key": cell.key, "cell": vars(cell), **result})

    def check_data(self, data: str, files: dict[str, list[str]]) -> None:
        """Refuses to mix results of different files of one data set.

        Args:
            data: The data set.
            files: Checksums of its files by split.

        Raises:
            DsLoraError: A result here was made with other files.
        """
        for path in sorted(self.folder.glob("*.json")):
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["cell"]["data"] == data and known.get("files", files) != files:
                raise DsLoraError(
                    f"{path} was made with other files of {data} than those in the data folder, so results would not "
                    "be comparable. Use the same files, or another --out."
                )

    def _read(self, cell: Cell) -> dict[str, Any] | None:
        path = self.path(cell)
        if not path.is_file():
            return None
        try:
            result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DsLoraError(f"{path} is not JSON. Delete it: its cell is then computed again.") from error
        if result.get("key") != cell.key:
            raise DsLoraError(f"{path}: its key is not that of its name. Delete it: its cell is then computed again.")
        return result


@contextmanager
def claimed(cells: Path, cell: Cell) -> Iterator[bool]:
    """Whether this process alone may work on the cell now. A claim ends with its process, however that ends."""
    cells.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cells / f"{cell.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
