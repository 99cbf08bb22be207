"""A folder that is written whole or not at all."""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dslora.errors import DsLoraError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NOT_POSSIBLE_HERE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextmanager
def whole_folder(target: Path, *, replace: bool) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when the block ends without an error.

    Everything in it is on the disk before it gets its name. An existing target is swapped with it in one step
    where the system can (Linux); elsewhere it is moved aside first, and back if the second step fails.

    Args:
        target: Where the folder shall be.
        replace: Whether an existing one may be replaced.

    Raises:
        DsLoraError: The target exists and may not be replaced, or the disk refuses.
    """
    check_target(target, replace=replace)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        temporary.chmod(0o755)
        yield temporary
        _flush(temporary)
        # Again: an hour of work may lie between.
        check_target(target, replace=replace)
        _put(temporary, target)
        _flush_directory(target.parent)
    except OSError as error:
        raise DsLoraError(
            f"{target} could not be written: {error.strerror or type(error).__name__}. Nothing was changed there. "
            "Check free space and permissions, then give the command again."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_target(target: Path, *, replace: bool) -> None:
    """Refuses a target that exists or cannot be made, so that hours of work do not end there.

    Raises:
        DsLoraError: It exists and may not be replaced, is not a folder, or the disk refuses.
    """
    check_writable(target)
    if target.exists() and not replace:
        raise DsLoraError(f"{target} exists. Choose another place, or ask for it to be replaced.")


def check_writable(folder: Path) -> None:
    """Refuses a folder in which nothing can be written, or that cannot be made. Changes nothing.

    Raises:
        DsLoraError: It, or what should hold it, is a file, or the system refuses.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise DsLoraError(f"{there} is a file; expected a folder, or nothing. Choose another place.")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DsLoraError(
            f"{folder} cannot be written: {error.strerror or type(error).__name__}. Choose another place, or check its "
            "permissions."
        ) from error


def check_holds(folder: Path, marks: Collection[str], kind: str) -> None:
    """Refuses a folder that is somebody else's: neither empty nor one of ours.

    Args:
        folder: Where something is to be written, or gone on with.
        marks: Names of which one of ours has at least one.
        kind: What ours are.

    Raises:
        DsLoraError: It holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in marks):
        raise DsLoraError(f"{folder} is not empty and holds no {kind}. Name another folder by --out.")


def _put(temporary: Path, target: Path) -> None:
    """Gives ``temporary`` the name ``target``; what had it before is at ``temporary`` afterwards, or gone."""
    if not target.exists():
        temporary.rename(target)
    elif not _exchange(temporary, target):
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two names in one step. False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_POSSIBLE_HERE:
        return False
    raise OSError(code, os.strerror(code))


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_directory(folder)


def _flush_directory(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
