import errno
import tempfile
from pathlib import Path

import pytest

from dslora import folder
from dslora.errors import DsLoraError
from dslora.folder import check_holds, check_writable, whole_folder


def write(target: Path, content: str, *, replace: bool = False) -> None:
    with whole_folder(target, replace=replace) as temporary:
        (temporary / "file").write_text(content)


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "bundle"
    with whole_folder(target, replace=False) as temporary:
        (temporary / "file").write_text("new")
        assert not target.exists()
    assert (target / "file").read_text() == "new"
    assert names(tmp_path / "models") == ["bundle"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def fail() -> None:
        with whole_folder(target, replace=False) as temporary:
            (temporary / "file").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names(tmp_path) == []


def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "bundle", replace=False):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DsLoraError, match=r"No space left on device\. Nothing was changed"):
        fail()
    assert names(tmp_path) == []


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write(target, "old")
    with pytest.raises(DsLoraError, match="exists"):
        write(target, "new")
    assert (target / "file").read_text() == "old"
    write(target, "new", replace=True)
    assert (target / "file").read_text() == "new"
    assert names(tmp_path) == ["bundle"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def race() -> None:
        with whole_folder(target, replace=False):
            target.mkdir()
            (target / "theirs").touch()

    with pytest.raises(DsLoraError, match="exists"):
        race()
    assert names(target) == ["theirs"]
    assert names(tmp_path) == ["bundle"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    with pytest.raises(DsLoraError, match="is a file"):
        write(tmp_path / "bundle", "new", replace=True)


@pytest.mark.parametrize("exchange", [True, False])
def test_the_old_one_survives_a_failing_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    target = tmp_path / "bundle"
    write(target, "old")
    rename = Path.rename

    def failing(self: Path, other: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, other)

    def refusing(a: Path, b: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    if exchange:
        monkeypatch.setattr(folder, "_exchange", refusing)
    else:
        monkeypatch.setattr(folder, "_exchange", lambda a, b: False)
        monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DsLoraError, match="Input/output error"):
        write(target, "new", replace=True)
    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["bundle"]


def test_without_an_exchange_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_exchange", lambda a, b: False)
    write(tmp_path / "bundle", "old")
    write(tmp_path / "bundle", "new", replace=True)
    assert (tmp_path / "bundle" / "file").read_text() == "new"
    assert names(tmp_path) == ["bundle"]


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with pytest.raises(DsLoraError, match="Permission denied"):
        write(tmp_path / "bundle", "new")


def test_what_cannot_be_a_folder_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "posts.csv"
    file.touch()
    for target in (file, file / "run", file / "runs" / "one"):
        with pytest.raises(DsLoraError, match=r"posts\.csv is a file"):
            check_writable(target)
    with pytest.raises(DsLoraError, match="cannot be written"):
        check_writable(Path("/proc/nowhere/run"))
    check_writable(tmp_path / "new" / "run")
    assert names(tmp_path) == ["posts.csv"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    check_holds(tmp_path / "none", ("run.json",), "run")
    check_holds(tmp_path, ("run.json",), "run")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DsLoraError, match="is not empty and holds no run"):
        check_holds(tmp_path, ("run.json",), "run")
    (tmp_path / "run.json").touch()
    check_holds(tmp_path, ("run.json",), "run")
