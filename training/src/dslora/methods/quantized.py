"""Methods whose frozen base has 4-bit weights: QLoRA, and DS-LoRA on such a base."""

from dataclasses import dataclass
from typing import Any, Literal

from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from dslora.bases import BaseSource, load_encoder
from dslora.four_bit import (
    FourBit,
    check_four_bit,
    compute_in_float32,
    dequantized_linear,
    four_bit_layers,
    quantize_,
)
from dslora.methods.gated import DsLora, GatedSettings
from dslora.methods.low_rank import Lora, LowRankSettings
from dslora.methods.method import MethodSettings
from dslora.methods.peft_method import ADAPTER, PeftMethod


@dataclass(frozen=True)
class FourBitSettings(MethodSettings):
    """How the frozen weights are kept while training.

    Attributes:
        compute_type: Type of the products with 4-bit weights: bf16 is QLoRA's and needs a GPU to be fast.
        double_quantization: Quantise the scales of the blocks too, which saves 0.4 bits a weight.
    """

    compute_type: Literal["fp32", "bf16"] = "fp32"
    double_quantization: bool = True


@dataclass(frozen=True)
class QLoraSettings(LowRankSettings, FourBitSettings):
    """LoRA's and the base's."""


@dataclass(frozen=True)
class DsQLoraSettings(GatedSettings, FourBitSettings):
    """DS-LoRA's and the base's."""


class FourBitMethod(PeftMethod):
    """A PEFT method on NF4 weights. What is exported are these weights in float32, the adapter beside or in them."""

    keeps_stored_weights = False

    def check_machine(self) -> None:
        check_four_bit()

    def load_base(self, source: BaseSource, settings: Any, dtype: str = "float32") -> Any:
        check_four_bit()
        return load_encoder(source, dtype=dtype, four_bit=_four_bit(settings))

    def prepared(self, base: Any, settings: Any) -> Any:
        quantize_(base, _four_bit(settings))
        return base

    def load(self, base: Any, *arguments: Any) -> nn.Module:
        # A kept model is measured and exported, and a graph computes in float32.
        compute_in_float32(base)
        return super().load(base, *arguments)

    def exportable(self, encoder: Any) -> nn.Module:
        config = encoder.peft_config[ADAPTER]
        for path, layer in four_bit_layers(encoder).items():
            holder = encoder.get_submodule(path.removesuffix(".base_layer"))
            if not isinstance(holder, LoraLayer):
                encoder.set_submodule(path, dequantized_linear(layer))
            elif isinstance(holder, LoraLinear):
                holder.base_layer = dequantized_linear(layer)
            else:
                plain = LoraLinear(
                    dequantized_linear(layer),
                    ADAPTER,
                    config,
                    r=holder.r[ADAPTER],
                    lora_alpha=holder.lora_alpha[ADAPTER],
                )
                plain.lora_A, plain.lora_B, plain.scaling = holder.lora_A, holder.lora_B, holder.scaling
                encoder.set_submodule(path.removesuffix(".base_layer"), plain)
        encoder.get_base_model().is_loaded_in_4bit = False
        return encoder.eval()  # type: ignore[no-any-return]

    def merged(self, encoder: Any) -> nn.Module:
        return super().merged(self.exportable(encoder))


def _four_bit(settings: FourBitSettings) -> FourBit:
    return FourBit(settings.compute_type, settings.double_quantization)


class QLora(FourBitMethod, Lora):
    """LoRA on NF4 weights. Source: Dettmers et al. 2023, QLoRA."""

    name = "qlora"
    summary = "LoRA on a base of 4-bit weights (QLoRA), merged into their float32 values at export"
    settings = QLoraSettings


class DsQLora(FourBitMethod, DsLora):
    """DS-LoRA on NF4 weights."""

    name = "ds-qlora"
    summary = "DS-LoRA on a base of 4-bit weights"
    settings = DsQLoraSettings
