"""What holds for every row of the table of methods, on a random encoder and a random decoder."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dslora.errors import DsLoraError
from dslora.methods import METHODS, MergeError, Method
from dslora.tuner import GatedLinear
from dslora.tuner.statistics import fit_gate_statistics
from tiny_models import batch, tiny, tiny_deberta, tiny_opt

# d = 16 features, 3 layers, feed-forward 24; the decoder has 4 heads and 2 key-value heads of 4.
_LOW_RANK = 4
_SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "zero-shot": {},
    "houlsby": {"bottleneck": 5},
    "adalora": {"rank": 2, "initial_rank": 4},
}
_LAYERS, _WIDTH, _VALUE = 3, 16, {"bert": 16, "llama": 8}
_GATE = 16 * _WIDTH + 16 + 16 + 1


def closed_form(method: str, family: str, base: nn.Module) -> int:
    """Parameters that a method trains, from the shapes alone."""
    query, value = _LOW_RANK * (_WIDTH + _WIDTH), _LOW_RANK * (_WIDTH + _VALUE[family])
    low_rank = _LAYERS * (query + value)
    return {
        "lora": low_rank,
        "lora-l1": low_rank,
        # Six modules, each with rank 4 and a gate: what that is worth in rank, to half a component.
        "lora-equal": low_rank + 2 * _LAYERS * _GATE + {"bert": -6, "llama": 2}[family],
        "lora-gate": low_rank + 2 * _LAYERS * _GATE,
        "ds-lora": low_rank + 2 * _LAYERS * _GATE,
        "ds-qlora": low_rank + 2 * _LAYERS * _GATE,
        "ds-dora": low_rank + 2 * _LAYERS * _GATE + _LAYERS * (_WIDTH + _VALUE[family]),
        "qlora": low_rank,
        "dora": low_rank + _LAYERS * (_WIDTH + _VALUE[family]),
        "adalora": low_rank + 2 * _LAYERS * _LOW_RANK,
        "houlsby": 2 * _LAYERS * (5 * _WIDTH + 5 + _WIDTH * 5 + _WIDTH),
        "full": sum(p.numel() for p in base.parameters()),
    }[method]


@pytest.fixture(params=sorted(name for name, method in METHODS.items() if method.trains))
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


@pytest.fixture(params=["bert", "llama"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def attach(method: Method, family: str) -> tuple[Any, Any, tuple[str, ...]]:
    settings = method.settings(**_SETTINGS.get(method.name, {"rank": _LOW_RANK, "alpha": 8}))
    targets = method.default_targets(tiny(family).config.model_type)
    base = frozen(method, family)
    torch.manual_seed(0)
    return method.attach(base, settings, targets, "a-base").eval(), settings, targets


def frozen(method: Method, family: str) -> Any:
    """The base that the method starts from: of 4 bits, where it wants it so."""
    settings = method.settings(**_SETTINGS.get(method.name, {"rank": _LOW_RANK, "alpha": 8}))
    return method.prepared(tiny(family), settings).eval()


def perturb(encoder: nn.Module) -> None:
    """As after training: whatever is trained has other values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


@torch.no_grad()
def run(encoder: Any) -> Tensor:
    ids, mask = batch([7, 4])
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden


def test_the_start_computes_what_the_base_computes(method: Method, family: str) -> None:
    encoder, _, _ = attach(method, family)
    torch.testing.assert_close(run(encoder), run(frozen(method, family)), atol=1e-5, rtol=0)


def test_trainable_parameters_follow_the_closed_form(method: Method, family: str) -> None:
    encoder, _, _ = attach(method, family)
    trainable = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert trainable == closed_form(method.name, family, tiny(family))


def test_a_step_changes_what_is_trained_and_nothing_else(method: Method, family: str) -> None:
    encoder, _, _ = attach(method, family)
    perturb(encoder)
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.5)
    ids, mask = batch([7, 4])
    hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    (hidden * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    optimizer.step()
    changed = {name for name, p in encoder.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    # Softmax does not see what all keys share, so a key's bias has no gradient but rounding.
    assert changed | {name for name in trained if name.endswith("key.bias")} == trained


def test_without_it_the_base_is_exact(method: Method, family: str) -> None:
    encoder, _, _ = attach(method, family)
    perturb(encoder)
    if not method.adds_weights:
        with pytest.raises(DsLoraError, match="no adapter to disable"), method.disabled(encoder):
            pass
        return
    base = run(frozen(method, family))
    assert not torch.equal(run(encoder), base)
    with method.disabled(encoder):
        assert torch.equal(run(encoder), base)
    assert not torch.equal(run(encoder), base)


def test_save_and_load_are_bit_exact(method: Method, family: str, tmp_path: Path) -> None:
    encoder, settings, targets = attach(method, family)
    perturb(encoder)
    method.save(encoder, tmp_path)
    again = method.load(frozen(method, family), settings, targets, tmp_path, "a-base").eval()
    first, second = encoder.state_dict(), again.state_dict()
    names = method.trained_names(encoder)
    assert names == method.trained_names(again)
    assert names
    for name in names:
        assert torch.equal(first[name], second[name]), name
    assert torch.equal(run(encoder), run(again))


def test_a_merge_computes_the_same_or_says_why_there_is_none(method: Method, family: str) -> None:
    encoder, _, _ = attach(method, family)
    perturb(encoder)
    expected = run(encoder)
    if method.gated or method.name == "houlsby":
        with pytest.raises(MergeError, match="cannot be merged"):
            method.merged(copy.deepcopy(encoder))
        return
    merged = method.merged(copy.deepcopy(encoder))
    assert type(merged) is type(tiny(family))
    torch.testing.assert_close(run(merged), expected, atol=1e-4, rtol=1e-4)


# Gates that no method has by itself, with the parameters that they train.
_OTHER_GATES: dict[str, tuple[dict[str, Any], int]] = {
    "linear": ({"gate_hidden": 0}, 2 * _LAYERS * (_WIDTH + 1)),
    # One for query and one for value, over all layers.
    "shared": ({"gate_shared": True}, 2 * _GATE),
    "token": ({"gate_pooling": "token"}, 2 * _LAYERS * _GATE),
    "shared token": ({"gate_shared": True, "gate_pooling": "token"}, 2 * _GATE),
    "parameter-free": ({"gate_kind": "parameter-free"}, 0),
    "parameter-free token": ({"gate_kind": "parameter-free", "gate_pooling": "token"}, 0),
}


def gated_layers(encoder: nn.Module) -> list[GatedLinear]:
    return [module for module in encoder.modules() if isinstance(module, GatedLinear)]


@pytest.mark.parametrize("kind", _OTHER_GATES)
def test_every_kind_of_gate_is_kept_bit_for_bit(kind: str, family: str, tmp_path: Path) -> None:
    method, (options, gates) = METHODS["ds-lora"], _OTHER_GATES[kind]
    settings = method.settings(rank=_LOW_RANK, alpha=8, **options)  # type: ignore[call-arg]
    targets = method.default_targets(tiny(family).config.model_type)
    encoder: Any = method.attach(tiny(family), settings, targets, "a-base").eval()
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert trained == closed_form("lora", family, tiny(family)) + gates
    fit_gate_statistics(encoder, [batch([7, 4, 9, 3])])
    perturb(encoder)
    changed = run(encoder)
    assert not torch.equal(changed, run(tiny(family)))

    method.save(encoder, tmp_path)
    again: Any = method.load(tiny(family), settings, targets, tmp_path, "a-base").eval()
    first, second = encoder.state_dict(), again.state_dict()
    names = method.trained_names(encoder)
    assert names == method.trained_names(again)
    for name in names:
        assert torch.equal(first[name], second[name]), name
    assert torch.equal(run(again), changed)
    # What the gates' inputs were measured to be is among what is kept, of each module its own.
    statistics = {name.rsplit(".", 1)[1] for name in names if ".lora_gate." in name} & {
        *("input_mean", "input_std", "score_mean", "score_std")
    }
    assert statistics == {"input_mean", "input_std"} | ({"score_mean", "score_std"} if gates == 0 else set())
    for name in names:
        if name.endswith(("_mean", "_std")):
            assert not torch.equal(second[name], torch.full_like(second[name], float(name.endswith("_std")))), name
    # Query and value of a layer see the same x.
    assert len({second[name].flatten()[0].item() for name in names if name.endswith("input_mean")}) == _LAYERS
    # A gate that was shared is one gate again: what one layer learns, all have.
    if gates:
        weights = {id(layer.lora_gate["default"].get_parameter("output.weight")) for layer in gated_layers(again)}
        assert len(weights) == (2 if options.get("gate_shared") else 2 * _LAYERS)


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    houlsby, settings, targets = attach(METHODS["houlsby"], "bert")
    METHODS["full"].save(attach(METHODS["full"], "bert")[0], tmp_path)
    del houlsby
    with pytest.raises(DsLoraError, match="not those that method houlsby trains"):
        METHODS["houlsby"].load(tiny("bert"), settings, targets, tmp_path, "a-base")


@pytest.mark.parametrize(
    ("base", "layer", "behind"),
    [
        (lambda: tiny("llama"), "layers.2.", {"norm.weight"}),
        (lambda: tiny("bert"), "encoder.layer.2.", set()),
        # What all layers share is registered behind them, and computed before.
        (tiny_deberta, "encoder.layer.2.", set()),
        (lambda: tiny("mpnet"), "encoder.layer.2.", set()),
        # Registered before the layers, and computed behind them.
        (tiny_opt, "decoder.layers.2.", {"decoder.final_layer_norm.weight", "decoder.final_layer_norm.bias"}),
    ],
    ids=["llama", "bert", "deberta", "mpnet", "opt"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_top_layers_leave_the_lower_ones_frozen(
    base: Callable[[], Any], layer: str, behind: set[str], device: str
) -> None:
    full = METHODS["full"]
    encoder = full.attach(base().to(device), full.settings(top_layers=1), (), "a-base")  # type: ignore[call-arg]
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in encoder.named_parameters() if name.startswith(layer)} | behind
    assert len(trained) > len(behind)


def test_more_layers_than_there_are() -> None:
    full = METHODS["full"]
    with pytest.raises(DsLoraError, match="has 3 layers"):
        full.attach(tiny("llama"), full.settings(top_layers=4), (), "a-base")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("method_name", "options", "message"),
    [
        ("adalora", {"rank": 8, "initial_rank": 8}, "must be larger than --rank"),
        ("adalora", {"budget_warmup": 0.6, "budget_final": 0.4}, "together below 1"),
        ("houlsby", {"bottleneck": 0}, "expected 1 or more"),
        ("full", {"target_modules": ("query",)}, "no target modules"),
        ("full", {"top_layers": -1}, "expected 0"),
        ("ds-lora", {"gate_dropout": 1.0}, "from 0 to below 1"),
    ],
)
def test_settings_out_of_range_are_refused(method_name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DsLoraError, match=message):
        METHODS[method_name].settings(**options)
