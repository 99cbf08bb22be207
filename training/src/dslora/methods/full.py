"""Full fine-tuning: the paper's "indicative upper bound"."""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

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
        first = layers - settings.top_layers if settings.top_layers else 0
        seen_layer = False
        for name, parameter in base.named_parameters():
            match = _LAYER.search(name)
            seen_layer = seen_layer or match is not None
            # Embeddings stand before the layers, a last norm after them.
            in_reach = int(match.group(1)) >= first if match else seen_layer
            parameter.requires_grad_(settings.top_layers == 0 or in_reach)
        return base  # type: ignore[no-any-return]

    def disabled(self, encoder: Any) -> NoReturn:
        raise DsLoraError("Full fine-tuning changed the base's own weights: there is no adapter to disable.")

    def merged(self, encoder: Any) -> nn.Module:
        return encoder  # type: ignore[no-any-return]
