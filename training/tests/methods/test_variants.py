"""What is special about single methods: closed forms and the methods that they must agree with."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from base_folder import make_base
from dslora.bases import load_encoder, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.export.ranks import prune
from dslora.four_bit import FourBit, element_count, four_bit_layers
from dslora.methods import METHODS, EqualSettings
from dslora.methods.equal import ds_lora_parameters, equal_ranks
from dslora.methods.houlsby import Bottleneck
from dslora.tuner import DsLoraConfig, GatedLinear
from tiny_models import batch, randomize, tiny


@torch.no_grad()
def hidden(model: nn.Module) -> torch.Tensor:
    ids, mask = batch([7, 4])
    result: torch.Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return result


class _Open(nn.Module):
    """A gate that is 1 for every text."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(x.shape[:-1])


def over_dora(**options: Any) -> Any:
    config = DsLoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], magnitude=True, **options)
    return get_peft_model(tiny("bert"), config).eval()


def test_ds_dora_with_open_gates_is_dora() -> None:
    ours = over_dora()
    dora = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], use_dora=True)
    theirs = get_peft_model(tiny("bert"), dora).eval()
    randomize(ours)
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.copy_(weights[name.replace("lora_magnitude_vector", "lora_magnitude")])
    assert not torch.allclose(hidden(ours), hidden(theirs), atol=1e-3)
    for layer in ours.modules():
        if isinstance(layer, GatedLinear):
            layer.lora_gate["default"] = _Open()
    torch.testing.assert_close(hidden(ours), hidden(theirs), atol=1e-6, rtol=1e-5)


def test_the_norm_gets_no_gradient_and_folding_changes_nothing() -> None:
    model = over_dora(gate_scale=2.0)
    randomize(model)
    layer = next(module for module in model.modules() if isinstance(module, GatedLinear))
    assert not layer.row_norms("default").requires_grad
    folded = copy.deepcopy(model)
    METHODS["ds-dora"].exportable(folded)
    assert not [name for name, _ in folded.named_parameters() if "lora_magnitude" in name]
    torch.testing.assert_close(hidden(folded), hidden(model), atol=1e-5, rtol=1e-5)
    # An adapter that is switched off leaves the base.
    with model.disable_adapter():
        assert torch.equal(hidden(model), hidden(tiny("bert")))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_houlsby_computes_its_formula_behind_both_projections_of_every_layer(family: str, activation: str) -> None:
    """``h + U f(D h + d) + u``, computed here from the matrices alone."""
    method, base = METHODS["houlsby"], tiny(family)
    settings = method.settings(bottleneck=5, activation=activation)  # type: ignore[call-arg]
    encoder: Any = method.attach(base, settings, method.default_targets(base.config.model_type), "a-base").eval()
    generator = torch.Generator().manual_seed(1)
    layers = {path: module for path, module in encoder.named_modules() if isinstance(module, Bottleneck)}
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for path, layer in layers.items():
        for part in (layer.down, layer.up):
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        layer.register_forward_hook(lambda _, x, result, path=path: seen.update({path: (x[0], result)}))
    changed = hidden(encoder)
    ends = {"bert": ("attention.output.dense", "output.dense"), "llama": ("self_attn.o_proj", "mlp.down_proj")}[family]
    assert sorted(seen) == sorted(path for path in layers if path.endswith(ends))
    assert len(seen) == 2 * 3
    for path, (x, result) in seen.items():
        weights = {name: value.double() for name, value in layers[path].state_dict().items()}
        h = x.double() @ weights["base_layer.weight"].T + weights.get("base_layer.bias", torch.zeros(1))
        inner = h @ weights["down.weight"].T + weights["down.bias"]
        inner = inner.clamp(min=0) if activation == "relu" else inner * (1 + torch.erf(inner / 2**0.5)) / 2
        expected = h + inner @ weights["up.weight"].T + weights["up.bias"]
        torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=1e-5)
        assert (result - h).abs().max() > 0.1
    assert not torch.allclose(changed, hidden(tiny(family)), atol=1e-2)


def test_a_base_is_the_same_quantised_while_it_is_read_or_afterwards(tmp_path: Path) -> None:
    source = resolve_base(make_base(tmp_path))
    read = load_encoder(source, four_bit=FourBit("fp32", True))
    made = METHODS["qlora"].prepared(load_encoder(source), METHODS["qlora"].settings())
    layers, others = four_bit_layers(read), four_bit_layers(made)
    assert layers.keys() == others.keys()
    assert len(layers) == 3 * 6
    for path, layer in layers.items():
        assert torch.equal(layer.weight.data, others[path].weight.data), path
    assert torch.equal(hidden(read), hidden(made))
    assert sum(map(element_count, read.parameters())) == sum(p.numel() for p in load_encoder(source).parameters())
    # Evaluation does not repack weights, whatever the processor has.
    before = {path: layer.weight.data.clone() for path, layer in layers.items()}
    hidden(read)
    assert all(torch.equal(layer.weight.data, before[path]) for path, layer in layers.items())


@pytest.mark.parametrize("method", ["qlora", "ds-qlora"])
def test_what_is_exported_of_four_bits_is_the_quantised_model(method: str, tmp_path: Path) -> None:
    spec = ClassifierSpec(
        base=make_base(tmp_path / "base"),
        method=method,
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=("whitespace",),
        max_tokens=32,
        window_overlap=4,
        adapter=METHODS[method].settings(rank=4, alpha=8, compute_type="bf16"),  # type: ignore[call-arg]
    )
    classifier = build_classifier(spec).eval()
    randomize(classifier)
    classifier.save(tmp_path / "kept")
    again = Classifier.load(tmp_path / "kept")
    assert {layer.compute_dtype for layer in four_bit_layers(classifier).values()} == {torch.bfloat16}
    assert {layer.compute_dtype for layer in four_bit_layers(again).values()} == {torch.float32}
    pruned = prune(again).classifier
    assert not four_bit_layers(pruned)
    ids, mask = batch([9, 5])
    with torch.no_grad():
        for found, expected in zip(pruned(ids, mask), again(ids, mask), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        # Training's bfloat16 products are near, and not the same.
        assert 0 < (classifier(ids, mask)[0] - again(ids, mask)[0]).abs().max() < 0.2


@pytest.mark.parametrize(
    ("options", "gates"),
    [
        ({"gate_hidden": 16}, 4 * (16 * 18 + 1)),
        ({"gate_hidden": 0}, 4 * 17),
        ({"gate_hidden": 32, "gate_shared": True}, 2 * (32 * 18 + 1)),
        ({"gate_kind": "parameter-free"}, 0),
    ],
)
def test_equal_ranks_come_closest_to_ds_lora(options: dict[str, Any], gates: int) -> None:
    sides = {f"layers.{i}.{name}": (16, wide) for i in (0, 1) for name, wide in (("query", 16), ("value", 8))}
    settings = EqualSettings(rank=4, **options)
    wanted = ds_lora_parameters(sides, settings)
    assert wanted == 4 * sum(map(sum, sides.values())) + gates
    ranks = equal_ranks(sides, settings)
    found = sum(rank * sum(sides[path]) for path, rank in ranks.items())
    assert abs(found - wanted) <= 16


def test_lora_equal_keeps_alpha_over_rank_and_says_what_is_left(tmp_path: Path) -> None:
    method = METHODS["lora-equal"]
    settings = EqualSettings(rank=4, alpha=8)
    encoder = method.attach(tiny("llama"), settings, ("q_proj", "v_proj"), "a-base")
    layers = [module for module in encoder.modules() if isinstance(module, LoraLayer)]
    assert {layer.scaling["default"] for layer in layers} == {2.0}
    assert len({layer.r["default"] for layer in layers}) == 2
    assert method.remarks(encoder, settings) == (
        "Ranks 14 to 15: 2,408 adapter parameters beside DS-LoRA's 2,406 (+2, +0.08%).",
    )
    method.save(encoder, tmp_path)
    again = method.load(tiny("llama"), settings, ("q_proj", "v_proj"), tmp_path, "a-base")
    assert method.remarks(again, settings) == method.remarks(encoder, settings)
