"""Full fine-tuning: the paper's "indicative upper bound"."""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import nn

from dslora.bases import values_unread
from dslora.errors import DsLoraError
from dslora.methods.method import MethodSettings
from dslora.methods.trained_weights import TrainedWeightsMethod

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class FullSettings(MethodSettings):
    """Which weights are trained.

    Attributes:
        top_layers: Train only the last so many layers and what follows them; 0 trains every weight.
    """

    top_layers: int = 0

    def __post_init__(self) -> None:
        if self.target_modules:
            raise DsLoraError(
                "Full fine-tuning has no target modules. Leave --target-modules out, or use --top-layers."
            )
        if self.top_layers < 0:
            raise DsLoraError(f"--top-layers is {self.top_layers}; expected 0 (all weights) or more.")


class FullFineTuning(TrainedWeightsMethod):
    """Every weight of the base, or of its last layers, is trained."""

    name = "full"
    summary = "full fine-tuning of all weights or of the top layers"
    adds_weights = False
    settings = FullSettings

    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        layers = 1 + max((int(m.group(1)) for n, _ in base.named_parameters() if (m := _LAYER.search(n))), default=-1)
        if settings.top_layers > layers:
            raise DsLoraError(f"--top-layers is {settings.top_layers}; the base model has {layers} layers.")
        if settings.top_layers == 0:
            return base.requires_grad_(True)  # type: ignore[no-any-return]
        first = layers - settings.top_layers
        behind = _modules_behind_layers(base)
        for name, parameter in base.named_parameters():
            match = _LAYER.search(name)
            # Embeddings, and positions that all layers share, stand before the layers, a last norm after them.
            is_behind = name.rpartition(".")[0] in behind
            parameter.requires_grad_(int(match.group(1)) >= first if match else is_behind)
        return base  # type: ignore[no-any-return]

    def disabled(self, encoder: Any) -> NoReturn:
        raise DsLoraError("Full fine-tuning changed the base's own weights: there is no adapter to disable.")

    def merged(self, encoder: Any) -> nn.Module:
        return encoder  # type: ignore[no-any-return]


def _modules_behind_layers(base: Any) -> set[str]:
    """Paths of modules outside of layers that compute only after a layer has: seen, as no order of names says it.

    Args:
        base: In evaluation mode; on the meta device nothing is computed.
    """
    behind: set[str] = set()
    before: set[str] = set()
    layers_ran = False

    def ran(path: str) -> None:
        nonlocal layers_ran
        if _LAYER.search(f"{path}."):
            layers_ran = True
        else:
            (behind if layers_ran else before).add(path)

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, path=path: ran(path))
        for path, module in base.named_modules()
    ]
    try:
        with torch.no_grad(), values_unread(base.config):
            base(input_ids=torch.zeros((1, 2), dtype=torch.long, device=base.device))
    finally:
        for handle in handles:
            handle.remove()
    return behind - before
