"""What to say of failures that no check can foresee: a full disk, a full memory."""

import errno
from collections.abc import Container

from dslora.errors import DsLoraError

_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed here",
    errno.EROFS: "the file system is read-only",
}
# Writers in C++ and Rust put the system's error into their message.
_DISK_WORDS = ("no space left", "file write failed", "inline_container", "file too large", "os error 28", "os error 27")
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "cublas_status_alloc_failed")


def explained(error: BaseException, options: Container[str]) -> str | None:
    """The message for a failure of the machine; None for any other, which is a fault of the package.

    Training itself says which of its settings need less memory.

    Args:
        error: What was raised.
        options: What the command has, by destination: nothing else is advised.
    """
    if _is_memory(error):
        return f"Out of memory ({_first_line(error)}). {_less_memory(options)}"
    reason = _disk_reason(error)
    if reason is None:
        return None
    return (
        f"A file could not be written: {reason}. What was complete before is still there. Free space or choose another "
        "place, then give the same command again: a training goes on from its last checkpoint."
    )


def is_of_the_machine(error: BaseException) -> bool:
    """Whether settings have no part in it: the disk, the network, or a fault of the package."""
    return not isinstance(error, DsLoraError) or isinstance(error.__cause__, OSError)


def _less_memory(options: Container[str]) -> str:
    if "base_precision" in options:
        return (
            "Use a smaller base model, keep its weights in fewer bits (--base-precision bf16, --method ds-qlora or "
            "qlora), or use a machine with more memory; dslora plan says what fits."
        )
    smaller = "Use a smaller base model (--base), end" if "base" in options else "End"
    return f"{smaller} other programs that take memory, or use a machine with more."


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)
    )


def _disk_reason(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        return _DISK.get(error.errno or 0)
    # RuntimeError of torch.save, SafetensorError of safetensors.
    if any(words in str(error).lower() for words in _DISK_WORDS):
        return f"the disk is full, or fails ({_first_line(error)})"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
