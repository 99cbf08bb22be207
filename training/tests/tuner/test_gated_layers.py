"""What users of the tuner rely on: the formula, the mask, save and load, and that a merge is refused."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from dslora.errors import DsLoraError
from dslora.tuner import DsLoraConfig, GatedLinear, capture_gates
from dslora.tuner.statistics import fit_gate_statistics
from tiny_models import DECODERS, ENCODERS, batch, randomize, tiny

FAMILIES = sorted(ENCODERS | DECODERS)


def adapted(family: str, **options: Any) -> PeftModel:
    torch.manual_seed(0)
    model = get_peft_model(tiny(family), DsLoraConfig(r=4, lora_alpha=8, **options)).eval()
    randomize(model)
    return model


def run(model: PeftModel, ids: Tensor, mask: Tensor | None, **more: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad(), capture_gates() as gates:
        hidden = model(input_ids=ids, attention_mask=mask, **more).last_hidden_state
    return hidden, torch.stack(list(gates.values()), dim=1)


def layers(model: torch.nn.Module) -> list[GatedLinear]:
    return [module for module in model.modules() if isinstance(module, GatedLinear)]


def gate_by_hand(layer: GatedLinear, pooled: Tensor) -> Tensor:
    gate: Any = layer.lora_gate["default"]
    if gate.hidden is None:
        inner = pooled @ gate.output.weight.T + gate.output.bias
    else:
        inner = torch.clamp(pooled @ gate.hidden.weight.T + gate.hidden.bias, min=0) @ gate.output.weight.T
        inner = inner + gate.output.bias
    return 1 / (1 + torch.exp(-inner.squeeze(-1)))


@pytest.mark.parametrize("hidden", [0, 3, 16])
@pytest.mark.parametrize("pooling", ["instance", "token"])
def test_layer_computes_the_papers_formula(hidden: int, pooling: str) -> None:
    model = adapted("bert", gate_hidden=hidden, gate_pooling=pooling, gate_scale=1.5)
    layer = layers(model)[0]
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _m, args, out: seen.extend([args[0], out]))
    ids, mask = batch([6, 3])
    run(model, ids, mask)
    handle.remove()
    x, out = seen
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    if pooling == "token":
        g = gate_by_hand(layer, x)[:, :, None]
    else:
        means = torch.stack([x[row, : int(mask[row].sum())].mean(dim=0) for row in range(2)])
        g = gate_by_hand(layer, means)[:, None, None]
    expected = layer.base_layer(x) + 1.5 * g * (8 / 4) * (x @ a.T @ b.T)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_changes_gates_by_rounding_only(family: str, left: bool) -> None:
    model = adapted(family)
    rows = [9, 4, 7]
    ids, mask = batch(rows, left=left)
    # BERT counts positions from the first column, padding or not, unless it is told otherwise.
    positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if family == "bert" else {}
    _, together = run(model, ids, mask, **positions)
    for row, length in enumerate(rows):
        where = slice(9 - length, 9) if left else slice(0, length)
        _, alone = run(model, ids[row : row + 1, where], None)
        tolerance = 1e-6 if family in ENCODERS else 1e-5
        assert (together[row] - alone[0]).abs().max() <= tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_default_targets_are_query_and_value_of_every_layer(family: str) -> None:
    assert len(layers(adapted(family))) == 2 * 3


def test_mask_by_position_is_understood() -> None:
    model = adapted("bert")
    ids, mask = batch([5, 2])
    _, by_name = run(model, ids, mask)
    with torch.no_grad(), capture_gates() as gates:
        model(ids, mask)
    torch.testing.assert_close(torch.stack(list(gates.values()), dim=1), by_name, atol=0, rtol=0)


def test_mask_of_another_form_is_refused() -> None:
    model = adapted("bert")
    ids, mask = batch([5, 2])
    with pytest.raises(ValueError, match=r"expected a tensor \[batch, sequence\]"):
        model(input_ids=ids, attention_mask=mask[:, None, None, :])


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(family: str, reentrant: bool) -> None:
    first, second = batch([7, 3]), batch([4, 6], seed=5)

    def gradients(checkpointing: bool) -> list[Tensor]:
        model = adapted(family, lora_dropout=0.0)
        base = model.base_model.model
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            base.activation_checkpointing_enable({"use_reentrant": reentrant})
            base.enable_input_require_grads()
        model.train()
        # Two forward passes before one backward: each must be run again with its own mask.
        outputs = [model(input_ids=ids, attention_mask=mask).last_hidden_state for ids, mask in (first, second)]
        sum(output.square().sum() for output in outputs).backward()
        return [p.grad for n, p in model.named_parameters() if "lora_" in n and p.grad is not None]

    plain, recomputed = gradients(False), gradients(True)
    assert len(plain) == len(recomputed) > 0
    for expected, actual in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


def test_every_part_of_the_adapter_gets_gradients() -> None:
    model = adapted("bert")
    model.train()
    ids, mask = batch([7, 3])
    model(input_ids=ids, attention_mask=mask).last_hidden_state.square().sum().backward()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert {part for part in ("lora_A", "lora_B", "lora_gate") if any(part in n for n, _ in trained)} == {
        "lora_A",
        "lora_B",
        "lora_gate",
    }
    for name, parameter in trained:
        assert "lora_" in name
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_replicas_in_threads_keep_their_masks_apart() -> None:
    model = adapted("bert")
    inputs = [batch([9, 2], seed=s) for s in range(4)]
    expected = [run(model, *each)[1] for each in inputs]
    actual: dict[int, list[Tensor]] = {index: [] for index in range(4)}

    def work(index: int) -> None:
        actual[index] = [run(model, *inputs[index])[1] for _ in range(20)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        assert len(actual[index]) == 20
        for gates in actual[index]:
            torch.testing.assert_close(gates, expected[index], atol=1e-6, rtol=0)


def test_two_adapters_have_gates_of_their_own() -> None:
    model = adapted("bert")
    ids, mask = batch([6, 3])
    _, first = run(model, ids, mask)
    model.add_adapter("other", DsLoraConfig(r=2, gate_hidden=0))
    randomize(model, seed=7)
    model.set_adapter("other")
    hidden_other, second = run(model, ids, mask)
    assert second.shape == first.shape
    assert not torch.allclose(first, second)
    model.set_adapter("default")
    hidden, _ = run(model, ids, mask)
    assert not torch.allclose(hidden, hidden_other)


def test_without_the_adapter_the_base_is_exact() -> None:
    model = adapted("llama")
    ids, mask = batch([6, 3])
    base = tiny("llama")
    with torch.no_grad():
        expected = base(input_ids=ids, attention_mask=mask).last_hidden_state
        with model.disable_adapter():
            disabled = model(input_ids=ids, attention_mask=mask).last_hidden_state
        unloaded = model.unload()
        after = unloaded(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(disabled, expected)
    assert torch.equal(after, expected)
    assert not unloaded._forward_pre_hooks


@pytest.mark.parametrize("standardize", [False, True])
def test_save_and_load_are_bit_exact(tmp_path: Path, standardize: bool) -> None:
    model = adapted("bert", gate_standardize=standardize, gate_scale=2.0)
    if standardize:
        for layer in layers(model):
            gate: Any = layer.lora_gate["default"]
            gate.input_mean.normal_()
            gate.input_std.uniform_(0.5, 2)
    ids, mask = batch([6, 3])
    expected = run(model, ids, mask)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny("bert"), tmp_path).eval()
    actual = run(loaded, ids, mask)
    assert torch.equal(expected[0], actual[0])
    assert torch.equal(expected[1], actual[1])


def test_plain_peft_refuses_the_adapter(tmp_path: Path) -> None:
    adapted("bert").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "DS_LORA"
    program = (
        "import sys; from transformers import BertConfig, BertModel; from peft import PeftModel\n"
        "PeftModel.from_pretrained(BertModel(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, "
        "num_attention_heads=2, intermediate_size=24)), sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "DS_LORA" in done.stderr


def test_merging_is_refused_with_the_reason() -> None:
    model = adapted("bert")
    with pytest.raises(ValueError, match="its gate depends on the input"):
        model.merge_and_unload()
    with pytest.raises(ValueError, match="its gate depends on the input"):
        model.merge_adapter()
    with pytest.raises(ValueError, match="its gate depends on the input"):
        layers(model)[0].get_delta_weight("default")


@pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning")
def test_a_layer_without_a_gated_form_is_refused() -> None:
    """PEFT by itself would adapt it by plain LoRA, beside gates elsewhere."""
    for target, kind in (("word_embeddings", "Embedding"), ("query", "Conv1D")):
        base = tiny("bert")
        if kind == "Conv1D":
            base.encoder.layer[0].attention.self.query = Conv1D(16, 16)
        with pytest.raises(DsLoraError, match=f"{target} is a {kind}, which has no gated form"):
            get_peft_model(base, DsLoraConfig(r=2, target_modules=["value", target]))


def test_a_gate_scale_of_two_starts_as_lora() -> None:
    torch.manual_seed(0)
    model = get_peft_model(tiny("bert"), DsLoraConfig(r=4, gate_scale=2.0, gate_weight_init_std=0.0)).eval()
    layer = layers(model)[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        x = torch.randn(2, 5, 16)
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(layer(x), layer.base_layer(x) + layer.scaling["default"] * (x @ a.T @ b.T))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate_hidden": -1}, "gate_hidden is -1"),
        ({"gate_pooling": "sentence"}, "expected 'instance' or 'token'"),
        ({"gate_scale": 0.0}, "gate_scale is 0.0"),
        ({"use_dora": True}, "cannot be combined with use_dora"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DsLoraError, match=message):
        DsLoraConfig(**options)


def pooled_inputs(model: PeftModel, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Mean over real tokens of what each gated module reads."""
    seen: dict[str, Tensor] = {}

    def note(layer: Any, args: Any) -> None:
        weights = mask / mask.sum(dim=1, keepdim=True)
        seen[layer.module_path] = (args[0] * weights[:, :, None]).sum(dim=1)

    handles = [layer.register_forward_pre_hook(note) for layer in layers(model)]
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    for handle in handles:
        handle.remove()
    return seen


def test_a_parameter_free_gate_says_how_unusual_its_input_is() -> None:
    config = DsLoraConfig(r=4, lora_alpha=8, gate_kind="parameter-free")
    model = get_peft_model(tiny("bert"), config).eval()
    texts = [batch([6, 9, 4, 7], seed=seed) for seed in range(8)]
    fit_gate_statistics(model, texts)
    randomize(model)
    assert not [name for name, _ in model.named_parameters() if "lora_gate" in name]
    with torch.no_grad(), model.disable_adapter():
        fitted = [pooled_inputs(model, ids, mask) for ids, mask in texts]
    ids, mask = batch([5, 8], seed=99)
    inputs = pooled_inputs(model, ids, mask)
    _, gates = run(model, ids, mask)
    for column, layer in enumerate(layers(model)):
        seen = torch.cat([each[layer.module_path] for each in fitted]).double()
        scores = (((seen - seen.mean(dim=0)) / seen.std(dim=0)) ** 2).mean(dim=1)
        own = (((inputs[layer.module_path].double() - seen.mean(dim=0)) / seen.std(dim=0)) ** 2).mean(dim=1)
        expected = torch.sigmoid((own - scores.mean()) / scores.std())
        torch.testing.assert_close(gates[:, column].double(), expected, atol=1e-4, rtol=0)


def test_a_shared_gate_is_one_in_all_layers_but_not_over_query_and_value(tmp_path: Path) -> None:
    model = adapted("bert", gate_shared=True, gate_standardize=True)
    fit_gate_statistics(model, [batch([6, 9, 4, 7], seed=seed) for seed in range(4)])
    gates: list[Any] = [layer.lora_gate["default"] for layer in layers(model)]
    assert len({id(gate.hidden) for gate in gates}) == len({id(gate.output) for gate in gates}) == 2
    assert len({float(gate.input_std.sum()) for gate in gates}) > 2
    one = 16 * 16 + 16 + 16 + 1
    assert sum(p.numel() for n, p in model.named_parameters() if "lora_gate" in n) == 2 * one
    ids, mask = batch([5, 2])
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny("bert"), tmp_path).eval()
    assert torch.equal(run(model, ids, mask)[1], run(again, ids, mask)[1])


def test_gate_dropout_acts_while_training_only() -> None:
    model = adapted("bert", gate_dropout=0.5)
    ids, mask = batch([5, 8])
    assert torch.equal(run(model, ids, mask)[1], run(model, ids, mask)[1])
    model.train()
    assert not torch.equal(run(model, ids, mask)[1], run(model, ids, mask)[1])
