"""What a trained classifier becomes before it is exported: the same function, with nothing in it that does nothing.

- A rank component whose row of A or column of B is exactly zero adds nothing, whatever the input, so it goes.
- A module that has no component left loses its branch and with it its gate, which no longer scales anything.
- What is the same change for every text (LoRA, DoRA, AdaLoRA) is merged into the base weights.
- Weights of 4 bits become the float32 weights that they stand for.
- A gate's standardisation ``(x - mean) / std`` is an affine map and goes into the gate's first layer.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from peft import PeftModel
from peft.tuners.adalora.layer import AdaLoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from dslora.architectures import canonical_module
from dslora.classifier import Classifier, GateColumn
from dslora.errors import DsLoraError
from dslora.methods import MergeError
from dslora.methods.peft_method import ADAPTER
from dslora.tuner import GatedLinear
from dslora.tuner.gate import Gate


class ModuleRank(NamedTuple):
    """Rank that runs in one adapted module, under the names of a bundle's manifest."""

    layer: int
    module: str
    rank: int


@dataclass(frozen=True, eq=False)
class Pruned:
    """A classifier ready for export.

    Attributes:
        classifier: A copy that computes the same, in evaluation mode, on the CPU. Weights that neither changes are
            the original's own.
        ranks: What is left of every adapted module, in the model's order; 0 where nothing is.
        gates: Meaning of the columns of the copy's gates.
        kept_columns: Which columns of the original's gates these are.
        dropped: Modules without any rank left.
        sparsity: Share of exact zeros in A and B before anything was dropped; None without adapters.
    """

    classifier: Classifier
    ranks: tuple[ModuleRank, ...]
    gates: tuple[GateColumn, ...]
    kept_columns: tuple[int, ...]
    dropped: tuple[GateColumn, ...]
    sparsity: float | None


def prune(classifier: Classifier) -> Pruned:
    """Copies a classifier and takes out of the copy what cannot change an answer; see the module's text.

    Outputs of the copy equal the original's up to the rounding of float32 (1e-6).

    Raises:
        DsLoraError: A weight is not a finite number.
    """
    _check_finite(classifier)
    columns = classifier.gate_columns()
    slim = copy.deepcopy(classifier, _shared(classifier)).cpu().eval().requires_grad_(False)
    slim.encoder = slim.method.exportable(slim.encoder)
    ranks: list[ModuleRank] = []
    zeros = elements = 0
    for path, layer in [(p, m) for p, m in slim.encoder.named_modules() if isinstance(m, LoraLayer)]:
        if not isinstance(layer, LoraLinear) or layer.lora_magnitude_vector:
            # AdaLoRA and DoRA are merged below. DoRA changes weights even where nothing of B A is left.
            ranks.append(ModuleRank(*canonical_module(path), _rank(layer)))
            continue
        weights = (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)
        zeros += sum(int((weight == 0).sum()) for weight in weights)
        elements += sum(weight.numel() for weight in weights)
        left = _drop_dead_components(layer)
        ranks.append(ModuleRank(*canonical_module(path), left))
        if left == 0:
            slim.encoder.set_submodule(path, layer.base_layer)
        elif isinstance(layer, GatedLinear):
            gate = layer.lora_gate[ADAPTER]
            if isinstance(gate, Gate):
                _fold_standardization(gate)
    if not any(isinstance(module, GatedLinear) for module in slim.encoder.modules()):
        slim.encoder = _without_adapters(slim)
    gates = tuple(slim.gate_columns())
    return Pruned(
        classifier=slim,
        ranks=tuple(ranks),
        gates=gates,
        kept_columns=tuple(i for i, column in enumerate(columns) if column in gates),
        dropped=tuple(GateColumn(r.layer, r.module) for r in ranks if r.rank == 0),
        sparsity=zeros / elements if elements else None,
    )


def _shared(classifier: Classifier) -> dict[int, nn.Parameter]:
    """Weights that original and copy may share, since nothing here changes them: the frozen base's, which are most.

    A memo for ``copy.deepcopy``.
    """
    changed: set[int] = set()
    for layer in classifier.encoder.modules():
        if isinstance(layer, GatedLinear) and ADAPTER not in layer.lora_magnitude:
            changed.update(id(p) for name, p in layer.named_parameters() if not name.startswith("base_layer."))
        elif isinstance(layer, BaseTunerLayer):
            changed.update(map(id, layer.parameters()))
    return {
        id(parameter): parameter
        for parameter in classifier.parameters()
        if id(parameter) not in changed and not parameter.requires_grad and parameter.device.type == "cpu"
    }


def _rank(layer: LoraLayer) -> int:
    """Components that are left of an AdaLoRA or DoRA module."""
    if isinstance(layer, AdaLoraLayer):
        return int((layer.lora_E[ADAPTER] != 0).sum())
    return int(layer.r[ADAPTER])


def _check_finite(classifier: Classifier) -> None:
    for name, weight in classifier.named_parameters():
        # NaN is passed on by both bounds; a mask as large as the weight would be in memory beside it.
        if weight.numel() and not torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all():
            raise DsLoraError(
                f"Weight {name} holds NaN or infinity, so no answer of the model would mean anything. "
                "Train again with a lower learning rate, or export an earlier checkpoint."
            )


def live_components(layer: LoraLinear) -> Tensor:
    """Which rank components of a module can add something, [r]; one without any is dropped from a bundle."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    alive: Tensor = (a != 0).any(dim=1) & (b != 0).any(dim=0)
    return alive


def _drop_dead_components(layer: LoraLinear) -> int:
    """Keeps the rank components that can add something. Returns how many."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    alive = live_components(layer)
    count = int(alive.sum())
    if 0 < count < len(alive):
        # The factor alpha / r stays that of training: it belongs to the trained values, not to the rank left.
        layer.lora_A[ADAPTER] = _linear(a[alive])
        layer.lora_B[ADAPTER] = _linear(b[:, alive])
        layer.r[ADAPTER] = count
    return count


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return linear


def _fold_standardization(gate: Gate) -> None:
    if not gate.standardize:
        return
    first = gate.hidden if gate.hidden is not None else gate.output
    # W (x - mean) / std + b = (W / std) x + (b - (W / std) mean), in double: the two parts of the bias cancel.
    weight = first.weight.double() / gate.input_std.double()
    bias = first.bias.double() - weight @ gate.input_mean.double()
    # A new layer: a shared gate has one first layer for modules of different statistics.
    folded = nn.Linear(first.in_features, first.out_features)
    folded.weight = nn.Parameter(weight.to(first.weight.dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(first.bias.dtype), requires_grad=False)
    if gate.hidden is not None:
        gate.hidden = folded
    else:
        gate.output = folded
    gate.standardize = False
    del gate.input_mean, gate.input_std


def _without_adapters(classifier: Classifier) -> nn.Module:
    """The base model, with what static adapters are left merged into its weights where that can be done."""
    encoder = classifier.encoder
    if isinstance(encoder, PeftModel) and not any(isinstance(module, LoraLayer) for module in encoder.modules()):
        base: nn.Module = encoder.get_base_model()
        return base
    try:
        return classifier.method.merged(encoder)
    except MergeError:
        return classifier.encoder  # type: ignore[no-any-return]
