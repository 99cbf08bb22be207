"""A container's share of a machine is what counts."""

from pathlib import Path

import psutil
import pytest

from dslora import machine


def written(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        # A container sees its own group as the root (version 2), or under a path that is not there (version 1).
        ("0::/\n", {"memory.max": "8589934592\n"}, 8 * 2**30),
        ("5:memory:/docker/0123\n0::/\n", {"memory/memory.limit_in_bytes": "4294967296\n"}, 4 * 2**30),
        # Without a container, the least of a group and those around it.
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "3221225472\n"}, 3 * 2**30),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "2147483648\n"}, 2 * 2**30),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
        ("3:cpuset:/\n", {"memory.max": "1\n"}, None),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_least_limit_is_the_memory(
    membership: str, files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = 64 * 2**30
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": total}))
    root = tmp_path / "cgroup"
    for name, content in files.items():
        written(root / name, content)
    monkeypatch.setattr(machine, "_CGROUPS", root)
    monkeypatch.setattr(machine, "_MEMBERSHIP", written(tmp_path / "membership", membership))
    assert machine.memory() == (expected or total)


def test_a_system_without_control_groups_has_all_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "none")
    assert machine.memory() == psutil.virtual_memory().total


def test_there_is_at_least_one_processor() -> None:
    assert machine.processors() >= 1
