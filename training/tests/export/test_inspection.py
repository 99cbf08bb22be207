"""``dslora inspect`` on a shipped bundle and on damaged copies of it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.export.inspection import inspect

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "olid-minilm"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "olid-minilm"))


def change_manifest(folder: Path, change: dict[str, Any]) -> None:
    """Gives the manifest other values; it stays well-formed."""
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")


def test_what_a_bundle_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(SHIPPED)]) == 0
    said = capsys.readouterr().out
    manifest = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    for expected in (
        *("olid-minilm", "BertModel", "ds-lora", "int8", "MatMulIntegerToFloat", "labels flipped", "the same in every"),
        *(f"layout {graph['layout']}" for graph in manifest["graphs"]),
    ):
        assert expected in said, expected
    for rank in manifest["method"]["ranksKept"]:
        line = next(line for line in said.splitlines() if line.strip().startswith(f"{rank['layer']}.{rank['module']} "))
        assert line.count("█") == rank["rank"]
    assert "dropped, no gate" in said
    assert "manifest against its schema and its SHA-256" in said
    assert "stay float32" not in said


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DsLoraError, match="Expected the folder of a bundle"):
        inspect(tmp_path)


def test_a_file_that_is_not_the_stated_one(copy: Path) -> None:
    (copy / "README.md").write_text("other", encoding="utf-8")
    (copy / "golden.json").unlink()
    with pytest.raises(DsLoraError) as caught:
        inspect(copy)
    assert "README.md has 5 bytes" in str(caught.value)
    assert "golden.json is missing" in str(caught.value)


def test_a_manifest_that_was_altered(copy: Path) -> None:
    change_manifest(copy, {"description": "Another."})
    with pytest.raises(DsLoraError, match=r"manifest\.json is not the one of manifest\.sha256"):
        inspect(copy)
    # On purpose, as sha256sum writes it.
    digest = hashlib.sha256((copy / "manifest.json").read_bytes()).hexdigest()
    (copy / "manifest.sha256").write_text(f"{digest}  manifest.json\n", encoding="ascii")
    assert "its SHA-256" in inspect(copy)
    (copy / "manifest.sha256").write_text(f"{digest}  other.json\n", encoding="ascii")
    with pytest.raises(DsLoraError, match=r"is not the one of manifest\.sha256"):
        inspect(copy)
    (copy / "manifest.sha256").unlink()
    assert "which has no manifest.sha256" in inspect(copy)


def test_products_that_stay_float32_are_named(copy: Path) -> None:
    (graph,) = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))["graphs"]
    (copy / "manifest.sha256").unlink()
    change_manifest(copy, {"graphs": [graph | {"keptFloat32": ["layer.0.dense.weight", "layer.3.dense.weight"]}]})
    assert "stay float32, by weight: layer.0.dense.weight, layer.3.dense.weight\n" in inspect(copy)


def test_a_manifest_that_is_none(copy: Path) -> None:
    (copy / "manifest.sha256").unlink()
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(DsLoraError, match="cannot be read as JSON"):
        inspect(copy)
    (copy / "manifest.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DsLoraError, match="expected an object"):
        inspect(copy)
