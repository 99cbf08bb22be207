import pytest
import torch

from dslora.classifier import Classifier, GateColumn
from dslora.errors import DsLoraError
from dslora.export.ranks import prune

from .conftest import Build


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 60, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[2, 1:] = 0
    return ids, mask


def weights(classifier: Classifier, module: int) -> tuple[torch.Tensor, torch.Tensor]:
    layer = classifier.gated_layers()[module]
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


@pytest.mark.parametrize("base", ["bert", "llama"])
@pytest.mark.parametrize("adapter", [{}, {"gate_hidden": 0}, {"gate_pooling": "token"}, {"gate_standardize": False}])
def test_dead_components_go_and_the_function_stays(build: Build, base: str, adapter: dict[str, object]) -> None:
    classifier = build(base, **adapter)
    a, b = weights(classifier, 0)
    a[1] = 0
    b[:, 3] = 0
    before = classifier(*batch())

    pruned = prune(classifier)

    after = pruned.classifier(*batch())
    torch.testing.assert_close(after[0], before[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after[1], before[1], atol=1e-6, rtol=1e-5)
    assert [rank.rank for rank in pruned.ranks] == [2, 4, 4, 4]
    assert pruned.gates == tuple(classifier.gate_columns())
    assert pruned.dropped == ()
    zeros = a.shape[1] + b.shape[0]
    elements = sum(each.numel() for module in range(4) for each in weights(classifier, module))
    assert pruned.sparsity == pytest.approx(zeros / elements)


def test_a_module_without_rank_loses_branch_and_gate(build: Build) -> None:
    classifier = build()
    # Components die on different sides: together none is left.
    a, b = weights(classifier, 2)
    a[:2] = 0
    b[:, 2:] = 0
    before = classifier(*batch())

    pruned = prune(classifier)

    assert pruned.dropped == (GateColumn(1, "query"),)
    assert pruned.kept_columns == (0, 1, 3)
    assert pruned.gates == (GateColumn(0, "query"), GateColumn(0, "value"), GateColumn(1, "value"))
    assert pruned.ranks[2] == (1, "query", 0)
    after = pruned.classifier(*batch())
    torch.testing.assert_close(after[0], before[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after[1], before[1][:, [0, 1, 3]], atol=1e-6, rtol=1e-5)


def test_no_module_left(build: Build) -> None:
    classifier = build()
    for module in range(4):
        weights(classifier, module)[1].zero_()
    before = classifier(*batch())

    pruned = prune(classifier)

    assert pruned.gates == ()
    logits, gates = pruned.classifier(*batch())
    assert gates.shape == (3, 0)
    torch.testing.assert_close(logits, before[0], atol=1e-6, rtol=1e-5)


def test_static_lora_is_merged(build: Build) -> None:
    classifier = build(method="lora")
    before = classifier(*batch())

    pruned = prune(classifier)

    assert not any("lora_" in name for name, _ in pruned.classifier.named_modules())
    assert [rank.rank for rank in pruned.ranks] == [4, 4, 4, 4]
    torch.testing.assert_close(pruned.classifier(*batch())[0], before[0], atol=1e-5, rtol=1e-5)


def test_the_original_stays_as_it_is(build: Build) -> None:
    classifier = build()
    weights(classifier, 0)[0][0] = 0
    state = {name: value.clone() for name, value in classifier.state_dict().items()}

    prune(classifier)

    assert state.keys() == classifier.state_dict().keys()
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(build: Build, value: float) -> None:
    classifier = build()
    weights(classifier, 3)[1][0, 0] = value
    with pytest.raises(DsLoraError, match=r"layer\.1\.attention\.self\.value\.lora_B.*NaN or infinity"):
        prune(classifier)
