"""Linear layers whose frozen weights have 4 bits: NF4 of QLoRA, by bitsandbytes.

Source: Dettmers et al. 2023, QLoRA, sections 3 (NF4, double quantisation) and 4.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dslora.errors import DsLoraError

COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class FourBit:
    """How weights are kept.

    Attributes:
        compute: Type that a layer's product is computed in: ``fp32`` or ``bf16``.
        double: Whether the scales of the blocks are quantised too.
    """

    compute: str
    double: bool


def check_four_bit() -> None:
    """Tries bitsandbytes on a few numbers, before anything large is loaded.

    Raises:
        DsLoraError: It is missing or does not run on this machine.
    """
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        device = "cuda" if torch.cuda.is_available() else "cpu"
        numbers = torch.linspace(-1, 1, 64, device=device)
        packed, state = quantize_4bit(numbers, quant_type="nf4", compress_statistics=True)
        runs = bool((dequantize_4bit(packed, state) - numbers).abs().max() < 0.2)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        if runs:
            return
        reason = "what it quantised does not come back"
    raise DsLoraError(
        f"4-bit weights need the package bitsandbytes, which does not run here ({reason}). "
        "Install it for this machine, or use method lora or ds-lora, which keep the base in float32."
    )


def quantization_config(settings: FourBit) -> Any:
    """The same for ``from_pretrained``, which then never holds the whole model in float32."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=settings.double,
        bnb_4bit_compute_dtype=COMPUTE[settings.compute],
    )


def quantize_(model: nn.Module, settings: FourBit) -> None:
    """Replaces every linear layer of a float32 model by one of 4 bits."""
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    for path, layer in [(p, m) for p, m in model.named_modules() if type(m) is nn.Linear]:
        packed = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=COMPUTE[settings.compute],
            compress_statistics=settings.double,
            quant_type="nf4",
            device="meta",
        )
        packed.weight = Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=settings.double, quant_type="nf4", module=packed
        )
        packed.bias = layer.bias
        # Quantisation happens when a weight is moved to its device.
        model.set_submodule(path, packed.to(layer.weight.device))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]
    keep_as_stored(model)


def keep_as_stored(model: nn.Module) -> None:
    """Forbids bitsandbytes to repack weights at the first text, as it does on processors with AVX512-BF16.

    Repacking rounds the scales to bfloat16: the frozen weights would change between training and evaluation.
    """
    for layer in four_bit_layers(model).values():
        layer.support_avx512bf16_for_cpu = False


def compute_in_float32(model: nn.Module) -> None:
    """Makes every 4-bit layer compute in float32, as an exported graph does."""
    for layer in four_bit_layers(model).values():
        layer.compute_dtype = torch.float32


def four_bit_layers(model: nn.Module) -> dict[str, Any]:
    """Layers of 4 bits by path."""
    from bitsandbytes.nn.modules import Linear4bit

    return {path: module for path, module in model.named_modules() if isinstance(module, Linear4bit)}


def dequantized_linear(layer: Any) -> nn.Linear:
    """The float32 layer that a 4-bit layer computes with."""
    from bitsandbytes.functional import dequantize_4bit

    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.detach().float(), requires_grad=False)
    return linear


def element_count(parameter: Tensor) -> int:
    """Elements of a weight; two of 4 bits share a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
