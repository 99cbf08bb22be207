"""Plans: parameters by closed form, memory that is refused, and presets with the published sizes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from base_folder import make_base
from dslora.classifier import build_classifier
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.plan import check_fits, make_plan, parse_memory
from dslora.plan.outline import make_outline, saved_by_forward
from dslora.presets import PRESETS
from dslora.train import TrainSettings
from tiny_training import make_spec

# Of the published checkpoints' base models: without task heads and without BERT's unused pooler.
_PUBLISHED = {
    "minilm": 22_565_376,
    "roberta-base": 124_055_040,
    "xlm-r-base": 277_453_056,
    "mdeberta-v3-base": 278_218_752,
    "smollm2-135m": 134_515_008,
    "llama3-8b": 7_504_924_672,
    "gemma-7b": 8_537_680_896,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_published_parameters(name: str) -> None:
    import torch

    from dslora.bases import outline_encoder

    with torch.device("meta"):
        encoder = outline_encoder(PRESETS[name].config())
    assert sum(p.numel() for p in encoder.parameters()) == _PUBLISHED[name]


@pytest.mark.parametrize("method", ["ds-lora", "lora", "dora", "houlsby", "full"])
def test_a_plan_counts_what_is_built(method: str, base: str) -> None:
    spec = make_spec(base, method)
    built = build_classifier(spec)
    counts = make_plan(spec, TrainSettings()).counts
    assert counts.trainable == built.trainable_parameters()
    assert counts.total == sum(p.numel() for p in built.parameters())


def test_activations_are_those_that_a_forward_pass_keeps(base: str) -> None:
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    from dslora.plan.outline import base_config

    spec = make_spec(base)
    outline = make_outline(spec, base_config(base), "float32")
    counted = saved_by_forward(outline, 4, 24).bytes
    model = build_classifier(spec).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage
        return tensor

    ids = torch.ones((4, 24), dtype=torch.long)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model.encoder(input_ids=ids)
    assert counted == pytest.approx(sum(storage.nbytes() for storage in seen.values()), rel=0.02)


def test_each_saving_saves(base: str) -> None:
    spec, settings = replace(make_spec(base), max_tokens=64), TrainSettings(batch_size=32)
    plain = make_plan(spec, settings).memory
    assert make_plan(spec, replace(settings, gradient_checkpointing=True)).memory.activations < plain.activations / 2
    parts = make_plan(spec, replace(settings, accumulation=4)).memory
    assert parts.activations == pytest.approx(plain.activations / 4, rel=0.02)
    assert make_plan(spec, replace(settings, base_precision="bf16")).memory.base == pytest.approx(plain.base / 2)


def test_what_cannot_fit_is_refused_with_what_would(base: str) -> None:
    spec, settings = replace(make_spec(base), max_tokens=64), TrainSettings(batch_size=64)
    plan = make_plan(spec, settings)
    small = make_plan(spec, replace(settings, gradient_checkpointing=True)).memory.total
    assert check_fits(spec, settings, "cpu", int(plan.memory.total) + 1).memory == plan.memory
    with pytest.raises(DsLoraError, match="fits with --gradient-checkpointing:"):
        check_fits(spec, settings, "cpu", int((small + plan.memory.total) / 2))
    with pytest.raises(DsLoraError, match="The least that these methods need"):
        check_fits(spec, settings, "cpu", 2**20)


def test_the_command_prints_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--base", "llama3-8b", "--method", "lora", "--json"]
    assert main([*arguments, "--memory", "80GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Query 4096 -> 4096 and value 4096 -> 1024, rank 8, 32 layers, and the head.
    assert found["parameters"]["trainable"] == 32 * 8 * (4096 + 4096 + 4096 + 1024) + 2 * 4096 + 2
    assert found["fits"]
    assert found["time"]["estimated"]
    assert main([*arguments, "--memory", "24GB"]) == 1
    assert "It fits with --gradient-checkpointing" in capsys.readouterr().err
    assert main([*arguments, "--memory", "much"]) == 1


def test_memory_is_read_with_its_unit() -> None:
    assert parse_memory("24GB") == parse_memory("24 GiB") == 24 * 2**30
    assert parse_memory("512m") == 2**29
    for text in ("", "GB", "-3GB", "0"):
        with pytest.raises(DsLoraError, match="no amount of memory"):
            parse_memory(text)
