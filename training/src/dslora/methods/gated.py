"""LoRA with gates, with and without L1: the product's own methods."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from peft import PeftConfig
from torch import nn

from dslora.architectures import reads_positions
from dslora.errors import DsLoraError
from dslora.methods.low_rank import LowRankSettings
from dslora.methods.method import MergeError, MethodSettings, target_layers
from dslora.methods.peft_method import ADAPTER, PeftMethod
from dslora.stored_precision import become_float32
from dslora.tuner import DsLoraConfig, GatedLinear
from dslora.tuner.layer import MERGE_REFUSED


@dataclass(frozen=True)
class GatedSettings(LowRankSettings):
    """Shape and start of adapters and gates.

    Attributes:
        gate_kind: ``learned``, or ``parameter-free``: how unusual the text is to the module, in standard deviations.
        gate_hidden: Width of the gate's hidden layer; 0 is a linear gate.
        gate_pooling: One gate for each text (instance) or token.
        gate_scale: Factor on the gate. The paper's is 1; with 2 a gate that starts at 0.5 starts as LoRA.
        gate_bias_init: Start of the gate's last bias; 0 starts gates at 0.5.
        gate_standardize: Give gates standardised inputs, so that they see what differs between texts.
        gate_dropout: Dropout on the gate's input and hidden layer.
        gate_shared: All layers share one gate for query, one for value.
    """

    gate_kind: Literal["learned", "parameter-free"] = "learned"
    gate_hidden: int = 16
    gate_pooling: Literal["instance", "token"] = "instance"
    gate_scale: float = 2.0
    gate_bias_init: float = 0.0
    gate_standardize: bool = True
    gate_dropout: float = 0.0
    gate_shared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gate_dropout < 1:
            raise DsLoraError(f"Gate dropout is {self.gate_dropout}; expected a number from 0 to below 1.")


class LoraGate(PeftMethod):
    """``h = W0 x + s g(x) (alpha / r) B A x``. Source: Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076, table 3."""

    name = "lora-gate"
    summary = "LoRA with gates, without L1"
    gated = True
    settings: ClassVar[type[MethodSettings]] = GatedSettings
    magnitude: ClassVar[bool] = False

    def configure(self, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        return DsLoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(targets),
            gate_kind=settings.gate_kind,
            gate_hidden=settings.gate_hidden,
            gate_pooling=settings.gate_pooling,
            gate_scale=settings.gate_scale,
            gate_bias_init=settings.gate_bias_init,
            gate_standardize=settings.gate_standardize,
            gate_dropout=settings.gate_dropout,
            gate_shared=settings.gate_shared,
            magnitude=self.magnitude,
        )

    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        wrong = [path for path in target_layers(base, targets) if reads_positions(base.config, path)]
        if wrong:
            raise DsLoraError(
                f"{wrong[0]} reads relative positions beside the texts, and no gate can be computed of these. Adapt "
                "value alone (--target-modules value_proj), or use a method without gates, such as lora."
            )
        return super().attach(base, settings, targets, base_id)

    def merged(self, encoder: Any) -> nn.Module:
        raise MergeError(MERGE_REFUSED)


class DsLora(LoraGate):
    """Gates and L1 together."""

    name = "ds-lora"
    summary = "gated and sparse LoRA (the product's own)"
    sparse = True


class DsDora(DsLora):
    """``h = m / |W0 + s B A| (W0 x + g(x) s B A x)``: DS-LoRA over DoRA, ours. See docs/method.md."""

    name = "ds-dora"
    summary = "DS-LoRA over DoRA: gates and L1, with a magnitude for each output"
    magnitude = True

    def exportable(self, encoder: Any) -> nn.Module:
        for layer in list(encoder.modules()):
            if isinstance(layer, GatedLinear) and ADAPTER in layer.lora_magnitude:
                become_float32(layer.get_base_layer())
                layer.fold_magnitude_(ADAPTER)
        return encoder  # type: ignore[no-any-return]
