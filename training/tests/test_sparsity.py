"""L1: the closed form of the proximal step, its schedule, and what lambda means under Adam."""

import math
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from dslora.errors import DsLoraError
from dslora.sparsity import (
    L1Schedule,
    L1Settings,
    low_rank_parameters,
    measure_sparsity,
    shrink_components_,
    soft_threshold_,
)
from tiny_models import randomize, tiny


def test_soft_threshold_is_the_closed_form() -> None:
    value = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.2, 0.99, 1.0, 1.5, 2.5])
    expected = [math.copysign(max(abs(v) - 1.0, 0.0), v) for v in value.tolist()]
    parameters = [value.clone(), value.clone().reshape(3, 3)]
    soft_threshold_(parameters, 1.0)
    for parameter in parameters:
        torch.testing.assert_close(parameter.flatten(), torch.tensor(expected))
    # 1.5 lies between t and 2t: it must survive.
    assert parameters[0][7] == 0.5


def _train_toward(noise: float, strength: float, steps: int = 400) -> float:
    """Share of zeros among elements whose gradient is 1 plus noise of the given size, under Adam."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(500))
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    schedule = L1Schedule(L1Settings(strength=strength, warmup=0, debias=0), [weight], steps)
    for step in range(steps):
        weight.grad = torch.ones(500).add(torch.randn(500, generator=generator), alpha=noise)
        schedule.before_step(step)
        optimizer.step()
        schedule.after_step(step, 1e-2)
    return float((weight == 0).float().mean())


def test_lambda_is_a_signal_to_noise_threshold() -> None:
    # |m| / sqrt(v) tends to 1 / sqrt(1 + noise^2): 0.1 for a noise of 10.
    assert _train_toward(noise=0.1, strength=0.5) == 0.0
    assert _train_toward(noise=10.0, strength=0.7) > 0.95
    assert _train_toward(noise=10.0, strength=0.01) < 0.1


def test_schedule_waits_shrinks_and_then_keeps_its_zeros() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 0.001]))
    schedule = L1Schedule(L1Settings(strength=0.5, warmup=0.2, debias=0.5), [weight], 10)
    history: list[list[float]] = []
    for step in range(10):
        schedule.before_step(step)
        with torch.no_grad():
            weight.add_(1e-4)  # an optimizer's step
        schedule.after_step(step, 0.1)
        history.append(weight.tolist())
    assert history[1] == pytest.approx([1.0002, 0.0012], abs=1e-6)
    assert history[2] == pytest.approx([1.0003 - 0.05, 0.0], abs=1e-6)
    assert history[4][0] == pytest.approx(1.0005 - 3 * 0.05, abs=1e-6)
    # Debiasing: the survivor moves freely, the zero stays.
    assert history[9] == pytest.approx([1.001 - 3 * 0.05, 0.0], abs=1e-6)


def test_the_penalty_in_the_loss_has_the_papers_gradient() -> None:
    weights = [nn.Parameter(torch.tensor([2.0, -3.0, 0.0])), nn.Parameter(torch.tensor([[-1.0]]))]
    schedule = L1Schedule(L1Settings(kind="loss", strength=0.1, warmup=0.5, debias=0), weights, 10)
    reference = [weight.detach().clone().requires_grad_() for weight in weights]
    torch.stack([0.1 * weight.abs().sum() for weight in reference]).sum().backward()
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    schedule.add_gradients(4)
    assert all(bool((weight.grad == 1).all()) for weight in weights if weight.grad is not None)
    schedule.add_gradients(5)
    for weight, expected in zip(weights, reference, strict=True):
        assert weight.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(weight.grad, expected.grad + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "expected 0 or more"),
        ({"strength": 1.0}, "must be below 1"),
        ({"warmup": 0.8, "debias": 0.3}, "together at most 1"),
    ],
)
def test_impossible_settings_are_refused(options: Any, message: str) -> None:
    with pytest.raises(DsLoraError, match=message):
        L1Settings(**options)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"warmup": 0.0, "debias": 1.0}, 100),
        ({"warmup": 0.4, "debias": 0.6}, 100),
        # 0.6 of a step before and 0.3 after: none is left between.
        ({"warmup": 0.6, "debias": 0.3}, 1),
        ({"kind": "loss", "warmup": 1.0, "debias": 0.0}, 100),
    ],
)
def test_a_penalty_that_would_end_before_it_starts_is_refused(options: Any, steps: int) -> None:
    weight = nn.Parameter(torch.zeros(3))
    with pytest.raises(DsLoraError, match="--l1-warmup or --l1-debias"):
        L1Schedule(L1Settings(**options), [weight], steps)
    # Without a penalty there is nothing to start.
    L1Schedule(L1Settings(**options, strength=0.0), [weight], steps)


def test_the_defaults_act_in_a_training_of_any_length() -> None:
    for steps in range(1, 200):
        schedule = L1Schedule(L1Settings(), [nn.Parameter(torch.zeros(3))], steps)
        assert schedule.settled(steps)


def test_surviving_rank_counts_components_that_still_act() -> None:
    model = get_peft_model(tiny("bert"), LoraConfig(r=4, target_modules=["query", "value"]))
    randomize(model)
    weights: list[Tensor] = low_rank_parameters(model)
    assert len(weights) == 2 * 2 * 3
    layer = model.base_model.model.encoder.layer[1].attention.self.value
    with torch.no_grad():
        layer.lora_A["default"].weight[0] = 0
        layer.lora_B["default"].weight[:, 2] = 0
        layer.lora_B["default"].weight[0, 3] = 0
    share, modules = measure_sparsity(model)
    found = {(module.layer, module.module): module for module in modules}
    assert found[(1, "value")].surviving_rank == 2
    assert found[(1, "value")].zeros == pytest.approx((16 + 16 + 1) / 128)
    assert found[(0, "query")].surviving_rank == 4
    assert found[(0, "query")].zeros == 0
    assert share == pytest.approx(33 / (128 * 6))


def test_components_shrink_together() -> None:
    # Norm 5 of three values; 2 sqrt(3) is taken off. The second has norm 1 and dies. The third is zero.
    a = torch.tensor([[3.0, 0.0], [0.6, 0.0], [0.0, 0.0]])
    b = torch.tensor([[4.0, 0.8, 0.0]])
    shrink_components_([a, b], 2.0)
    kept = 1 - 2 * 3**0.5 / 5
    torch.testing.assert_close(a, torch.tensor([[3.0 * kept, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(b, torch.tensor([[4.0 * kept, 0.0, 0.0]]))


def test_a_component_rests_at_zero_where_its_gradients_are_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = nn.Parameter(torch.full((2, 40), 0.1)), nn.Parameter(torch.zeros(30, 2))
    optimizer = torch.optim.Adam([a, b], lr=1e-2)
    schedule = L1Schedule(L1Settings(strength=0.4, warmup=0, debias=0, unit="component"), [a, b], 400)
    noise = torch.tensor([0.1, 10.0])
    for step in range(400):
        a.grad = 1 + noise[:, None] * torch.randn(2, 40, generator=generator)
        b.grad = 1 + noise * torch.randn(30, 2, generator=generator)
        schedule.before_step(step)
        optimizer.step()
        schedule.after_step(step, 1e-2)
    assert (a[0] != 0).all()
    assert (b[:, 0] != 0).all()
    assert (a[1] == 0).all()
    assert (b[:, 1] == 0).all()


@pytest.mark.parametrize("options", [{"unit": "row"}, {"unit": "component", "kind": "loss", "strength": 0.1}])
def test_units_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(DsLoraError, match="component"):
        L1Settings(**options)
