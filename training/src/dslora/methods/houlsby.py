"""Houlsby's bottleneck adapters, after the attention's and the feed-forward's output projection of every layer.

The package ``adapters`` has them, but none of its releases takes transformers 5, so the layer is here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslora.architectures import output_projections
from dslora.errors import DsLoraError
from dslora.methods.method import MergeError, MethodSettings, target_layers
from dslora.methods.trained_weights import TrainedWeightsMethod

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}
_INIT_STD = 1e-2


@dataclass(frozen=True)
class HoulsbySettings(MethodSettings):
    """Shape of the bottlenecks.

    Attributes:
        bottleneck: Width m of the bottleneck.
        activation: Between the two projections.
        dropout: Dropout on the bottleneck's input.
    """

    bottleneck: int = 16
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.bottleneck < 1:
            raise DsLoraError(f"--bottleneck is {self.bottleneck}; expected 1 or more.")
        if not 0 <= self.dropout < 1:
            raise DsLoraError(f"Adapter dropout is {self.dropout}; expected a number from 0 to below 1.")


class Bottleneck(nn.Module):
    """``h + U f(D h + d) + u`` on the output h ``[..., d_out]`` of a frozen projection.

    D ``[m, d_out]`` starts small and U ``[d_out, m]`` at zero, so the start computes what the base computes.
    Source: Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, section 2.1 and figure 2.
    """

    def __init__(self, base_layer: nn.Linear, settings: HoulsbySettings) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.enabled = True
        self.dropout = nn.Dropout(settings.dropout)
        self.down = nn.Linear(base_layer.out_features, settings.bottleneck)
        self.up = nn.Linear(settings.bottleneck, base_layer.out_features)
        self.activation = _ACTIVATIONS[settings.activation]
        nn.init.trunc_normal_(self.down.weight, std=_INIT_STD, a=-2 * _INIT_STD, b=2 * _INIT_STD)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.base_layer(x)
        if not self.enabled:
            return hidden
        inner = self.activation(self.down(self.dropout(hidden).to(self.down.weight.dtype)))
        result: Tensor = hidden + self.up(inner).to(hidden.dtype)
        return result


class Houlsby(TrainedWeightsMethod):
    """Two bottlenecks a layer; everything else is frozen."""

    name = "houlsby"
    summary = "Houlsby bottleneck adapters after attention and feed-forward"
    settings = HoulsbySettings

    def default_targets(self, model_type: str) -> tuple[str, ...]:
        return output_projections(model_type)

    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        base.requires_grad_(False)
        with torch.device(base.device):
            for path, layer in target_layers(base, targets).items():
                base.set_submodule(path, Bottleneck(layer, settings))
        return base  # type: ignore[no-any-return]

    @contextmanager
    def disabled(self, encoder: Any) -> Iterator[None]:
        bottlenecks = [module for module in encoder.modules() if isinstance(module, Bottleneck)]
        for bottleneck in bottlenecks:
            bottleneck.enabled = False
        try:
            yield
        finally:
            for bottleneck in bottlenecks:
                bottleneck.enabled = True

    def merged(self, encoder: Any) -> nn.Module:
        raise MergeError(
            "Bottleneck adapters cannot be merged into the base weights: there is a nonlinearity between their two "
            "projections. They are exported as layers of their own."
        )
