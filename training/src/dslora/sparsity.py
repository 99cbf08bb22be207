"""L1 on the low-rank matrices A and B: as a loss term, or as a proximal step that leaves exact zeros.

Paper: ``L = CE + lambda * sum(|A|_1 + |B|_1)`` (Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076).

How lambda enters under Adam
----------------------------
Adam divides a gradient by its own size, so it moves every element by about the learning rate at each step,
however small the gradient. Two things follow.

- The loss term (``kind="loss"``) adds ``lambda * sign(p)`` to the gradient *before* that division. It leaves
  small values, never zeros, and its strength against the data term is not under control: where the data
  gradient is small the penalty decides, whatever lambda is.
- The textbook proximal step with threshold ``lr * lambda`` and a small lambda does nothing: an element that
  was set to zero is lifted off again by about ``lr`` at the next step.

The formulation here (``kind="proximal"``, the default) is decoupled, as AdamW's weight decay is: after the
optimizer's step every element of A and B is soft-thresholded by ``lr * lambda``. An element then rests at
zero while ``|m / sqrt(v)| < lambda``, where m and v are Adam's averages of its gradient and squared
gradient. That ratio lies between 0 and about 1: near 1 when the gradient keeps its sign, near 0 when it is
noise. So **lambda is a signal-to-noise threshold with the usable range 0 to 1**: an element is kept when the
direction in which the data push it is more consistent than lambda. 0.1 hardly removes anything, 0.3 to 0.6
removes about half or more, 1 removes everything. The learning rate does not enter, so a schedule changes
nothing about which elements survive.

The step is ``sign(p) * max(|p| - t, 0)``, applied once to the value before it. (Testing the already shrunk
value again would zero everything below ``2 t``.)

Shrinkage starts after a warm-up, when A and B hold something to judge, and ends before the last phase, in
which the surviving elements are trained without it (debiasing: L1 also shrinks what it keeps) and the zeros
stay zeros.

Elements or components
----------------------
Zeros save time and bytes only where a whole rank component dies, and elementwise L1 leaves most components with a
few elements. ``unit="component"`` is the group lasso (Yuan and Lin, 2006, https://doi.org/10.1111/j.1467-9868.2005.00532.x)
on (row of A, column of B): a component's n values shrink together, by ``max(0, 1 - t sqrt(n) / norm)``. The factor
sqrt(n) is theirs, and keeps lambda's meaning: a component rests at zero while the root mean square of its
``m / sqrt(v)`` is below lambda.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dslora.architectures import canonical_module
from dslora.errors import DsLoraError
from dslora.sharding import local

L1Kind = Literal["loss", "proximal"]
L1Unit = Literal["element", "component"]


@dataclass(frozen=True)
class L1Settings:
    """When and how A and B are penalised.

    Attributes:
        kind: ``proximal`` (exact zeros) or ``loss`` (the paper's term).
        strength: lambda. Proximal: signal-to-noise threshold in [0, 1). Loss: the paper's factor.
        warmup: Share of training before the penalty starts.
        debias: Share of training at the end without the penalty, zeros kept. Proximal only.
        unit: What becomes zero at once: an ``element``, or a ``component`` (a row of A with its column of B).
            Component is proximal only.
    """

    kind: L1Kind = "proximal"
    strength: float = 0.3
    warmup: float = 0.25
    debias: float = 0.35
    unit: L1Unit = "element"

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise DsLoraError(f"L1 lambda is {self.strength}; expected 0 or more.")
        if self.kind == "proximal" and self.strength >= 1:
            raise DsLoraError(
                f"L1 lambda is {self.strength}; under the proximal step it is a signal-to-noise threshold and must "
                "be below 1 (0.08 to 0.2 is what our own models have). Lower it, or use --l1-kind loss."
            )
        if self.unit not in ("element", "component"):
            raise DsLoraError(f"L1 unit is {self.unit!r}; expected 'element' or 'component'.")
        if self.unit == "component" and self.kind == "loss":
            raise DsLoraError("L1 by component is a proximal step. Use --l1-kind proximal, or --l1-unit element.")
        if min(self.warmup, self.debias) < 0 or self.warmup + self.debias > 1:
            raise DsLoraError(
                f"L1 warm-up {self.warmup} and debiasing {self.debias} are shares of training: "
                "each at least 0, together at most 1."
            )


def low_rank_parameters(model: nn.Module) -> list[Tensor]:
    """The weights A ``[r, d_in]`` and B ``[d_out, r]`` of every adapted module."""
    return [p for name, p in model.named_parameters() if (".lora_A." in name or ".lora_B." in name)]


@torch.no_grad()
def add_l1_gradient_(parameters: list[Tensor], gradients: list[Tensor], strength: float) -> None:
    """In place: adds ``strength * sign(p)``, the gradient of ``strength * sum |p|_1``, to each gradient."""
    torch._foreach_add_(gradients, torch._foreach_sign(parameters), alpha=strength)


@torch.no_grad()
def soft_threshold_(parameters: list[Tensor], threshold: float) -> None:
    """In place: ``sign(p) * max(|p| - threshold, 0)``, written as ``p - clamp(p, -t, t)``."""
    clamped = torch._foreach_clamp_max(parameters, threshold)
    torch._foreach_clamp_min_(clamped, -threshold)
    torch._foreach_sub_(parameters, clamped)


@torch.no_grad()
def shrink_components_(parameters: list[Tensor], threshold: float) -> None:
    """In place, for each component of n values v: ``v * max(0, 1 - threshold sqrt(n) / |v|_2)``.

    Args:
        parameters: A ``[r, d_in]`` and B ``[d_out, r]`` of each module in turn (:func:`low_rank_parameters`).
        threshold: As of an element.
    """
    for a, b in zip(parameters[::2], parameters[1::2], strict=True):
        norm = (a.float().square().sum(dim=1) + b.float().square().sum(dim=0)).sqrt()
        limit = threshold * (a.shape[1] + b.shape[0]) ** 0.5
        # A component that is zero already has no direction; it stays zero.
        kept = (1 - limit / norm.clamp(min=1e-30)).clamp(min=0)
        a.mul_(kept[:, None].to(a.dtype))
        b.mul_(kept.to(b.dtype))


class L1Schedule:
    """Applies the penalty over a training of ``total_steps`` optimizer steps.

    Stateless but for the mask of zeros in the debiasing phase, which the parameters themselves hold: a zero
    at its start stays one. A resumed run therefore goes on as the uninterrupted one.

    Raises:
        DsLoraError: The penalty would end before it starts.
    """

    def __init__(self, settings: L1Settings, parameters: Sequence[Tensor], total_steps: int) -> None:
        self.settings = settings
        # Under FSDP each process penalises its own part; every element belongs to one.
        self._whole = parameters
        self.parameters = [local(parameter) for parameter in parameters]
        self.start = round(settings.warmup * total_steps)
        self.stop = total_steps - (round(settings.debias * total_steps) if settings.kind == "proximal" else 0)
        # An end at step 0 is the worst of it: B is zero there and would stay so, and nothing would be learnt.
        if settings.strength > 0 and self.start >= self.stop:
            raise DsLoraError(
                f"L1 would start at step {self.start} of {total_steps} and end at step {self.stop}, so it would never "
                "shrink anything. Lower --l1-warmup or --l1-debias, train for more epochs, or leave L1 out with "
                "--l1-strength 0."
            )
        self._kept: list[Tensor] | None = None

    def settled(self, step: int) -> bool:
        """Whether a model after ``step`` steps is the sparse one: nothing is being shrunk any more."""
        return self.settings.kind != "proximal" or self.settings.strength == 0 or step >= self.stop

    def add_gradients(self, step: int) -> None:
        """Adds the gradient of the paper's penalty at optimizer step ``step`` (from 0), where that is in force."""
        if self.settings.kind != "loss" or self.settings.strength == 0 or step < self.start:
            return
        gradients = [(p, p.grad) for p in self._whole if p.grad is not None]
        add_l1_gradient_([local(p) for p, _ in gradients], [local(g) for _, g in gradients], self.settings.strength)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    @torch.no_grad()
    def after_step(self, step: int, learning_rate: float) -> None:
        """To be called after optimizer step ``step`` (from 0) with the learning rate that it used."""
        if self.settings.kind != "proximal" or self.settings.strength == 0 or step < self.start:
            return
        if step < self.stop:
            shrink = soft_threshold_ if self.settings.unit == "element" else shrink_components_
            shrink(self.parameters, learning_rate * self.settings.strength)
            return
        if self._kept is None:
            raise RuntimeError("before_step was not called")
        torch._foreach_mul_(self.parameters, self._kept)

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """To be called before optimizer step ``step``: remembers which elements are zero while debiasing."""
        if self.settings.kind == "proximal" and self.settings.strength > 0 and step >= self.stop and self._kept is None:
            # Numbers and not booleans: a product in place is one operation for all of them.
            self._kept = [(parameter != 0).to(parameter.dtype) for parameter in self.parameters]


@dataclass(frozen=True)
class ModuleSparsity:
    """What is left of one adapted module. Ranks count rows of A and columns of B that are both not all zero."""

    layer: int
    module: str
    rank: int
    surviving_rank: int
    zeros: float


def measure_sparsity(model: nn.Module) -> tuple[float, list[ModuleSparsity]]:
    """Share of exact zeros in all A and B, and each module's own share and surviving rank."""
    return sparsity_of(dict(model.named_parameters()))


@torch.no_grad()
def sparsity_of(state: Mapping[str, Tensor]) -> tuple[float, list[ModuleSparsity]]:
    """The same of weights by name."""
    weights = {name: p for name, p in state.items() if ".lora_A." in name or ".lora_B." in name}
    modules = []
    zeros = total = 0
    for name, a in weights.items():
        if ".lora_A." not in name:
            continue
        b = weights[name.replace(".lora_A.", ".lora_B.")]
        alive = (a != 0).any(dim=1) & (b != 0).any(dim=0)
        dead, elements = int((a == 0).sum() + (b == 0).sum()), a.numel() + b.numel()
        zeros += dead
        total += elements
        layer, module = canonical_module(name.split(".lora_A.")[0])
        # AdaLoRA may leave a module without any rank.
        share = dead / elements if elements else 0.0
        modules.append(ModuleSparsity(layer, module, a.shape[0], int(alive.sum()), share))
    return (zeros / total if total else 0.0), modules
