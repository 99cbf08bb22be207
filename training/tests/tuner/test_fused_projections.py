"""Families that compute query, key and value in one matrix: refused where they would be split, adapted as a whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2Model, ModernBertConfig, ModernBertModel

from base_folder import make_base
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.errors import DsLoraError
from dslora.methods import GatedSettings
from tiny_models import batch, randomize

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def family(folder: Path, model: Any) -> str:
    make_base(folder)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = ModernBertConfig(**SIZES, intermediate_size=24, pad_token_id=0, local_attention=8, reference_compile=False)
    return family(tmp_path_factory.mktemp("modernbert"), ModernBertModel(config))


def spec_of(base: str, *targets: str) -> ClassifierSpec:
    return ClassifierSpec(
        base=base,
        method="ds-lora",
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=("whitespace",),
        max_tokens=32,
        window_overlap=4,
        adapter=GatedSettings(target_modules=targets, rank=2, alpha=4),
    )


def test_a_fused_projection_is_refused_with_what_exists(modernbert: str) -> None:
    with pytest.raises(DsLoraError, match=r"in one matrix \(Wqkv\).*--target-modules Wqkv"):
        build_classifier(spec_of(modernbert))
    with pytest.raises(DsLoraError, match=r"'query' is not in the base model\. Its linear layers: .*Wqkv"):
        build_classifier(spec_of(modernbert, "query"))


def test_it_is_adapted_as_a_whole_with_one_gate(modernbert: str, tmp_path: Path) -> None:
    classifier = build_classifier(spec_of(modernbert, "Wqkv")).eval()
    randomize(classifier)
    assert [tuple(column) for column in classifier.gate_columns()] == [(0, "qkv"), (1, "qkv")]
    ids, mask = batch([9, 5])
    logits, gates = classifier(ids, mask)
    assert gates.shape == (2, 2)
    # A text's answer and gates are its own: padding and the neighbour change nothing.
    alone_logits, alone_gates = classifier(ids[1:, :5], mask[1:, :5])
    torch.testing.assert_close(logits[1:], alone_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(gates[1:], alone_gates, atol=1e-5, rtol=0)
    logits.sum().backward()
    for name, parameter in classifier.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    classifier.save(tmp_path)
    assert torch.equal(Classifier.load(tmp_path)(ids, mask)[0], logits)


def test_layers_that_are_no_linear_ones_are_named(tmp_path: Path) -> None:
    gpt2 = GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    base = family(tmp_path, gpt2)
    with pytest.raises(DsLoraError, match=r"in one matrix \(c_attn\), a Conv1D"):
        build_classifier(spec_of(base))
    with pytest.raises(DsLoraError, match=r"'c_attn' is a Conv1D, not a linear layer, in the base model.*: none"):
        build_classifier(spec_of(base, "c_attn"))
