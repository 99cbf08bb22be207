"""What this process may use of the machine: a container's share, not the whole of what it stands on."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import joblib
import psutil

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def processors() -> int:
    """Processor cores, less what affinity or a container's quota (rounded up) takes away."""
    return int(joblib.cpu_count())


def memory() -> int:
    """Bytes of memory: the machine's, or the least that a control group of Linux allows.

    Swap is not counted.
    """
    return min(int(psutil.virtual_memory().total), *_limits(_CGROUPS, _MEMBERSHIP))


def _limits(root: Path, membership: Path) -> Iterator[int]:
    """Limits of this process's control group and of those around it, in both versions' files.

    Args:
        root: Where control groups are mounted. In a container it is the container's own group, whatever path
            ``membership`` gives.
        membership: Lines of ``hierarchy:controllers:path`` (cgroups(7)).
    """
    # So that there is always something to take the least of.
    yield 2**63 - 1
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounted, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            try:
                said = (mounted / group / name).read_text().strip()
            except OSError:
                # Groups outside of the container are not to be seen, and the outermost one has no limit.
                continue
            if said.isdigit():
                yield int(said)
