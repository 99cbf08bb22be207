"""A frozen linear layer with gated low-rank adapters beside it."""

from typing import Any, NoReturn

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from dslora.tuner.context import current_context, mean_over_tokens, report_gate
from dslora.tuner.gate import Gate, ParameterFreeGate

MERGE_REFUSED = (
    "A DS-LoRA adapter cannot be merged into the base weights: its gate depends on the input, so there is no "
    "single weight that equals base and adapter. Export it with its gates, or train with method lora to merge."
)


class Magnitude(nn.Module):
    """A learnt number for each output of a layer, ``[d_out]``."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)


class GatedLinear(LoraLinear):
    """``h = W0 x + s * g(x) * (alpha / r) * B A dropout(x)``, for each active adapter.

    Shapes: x ``[batch, sequence, d_in]``, A ``[r, d_in]``, B ``[d_out, r]``, g ``[batch]`` (or
    ``[batch, sequence]`` with token pooling), h ``[batch, sequence, d_out]``.

    Source: Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076.

    With a magnitude m ``[d_out]`` for each output (DoRA, Liu et al. 2024, equation 5), and no bias of the base inside:

        h = m / |W0 + (alpha / r) B A| * (W0 x + s * g(x) * (alpha / r) * B A dropout(x))

    The norm of each output's row is of the ungated change and gets no gradient (DoRA, section 4.3), so that it
    depends on no input: with ``s * g(x) = 1`` this is DoRA.
    """

    adapter_layer_names = (*LoraLinear.adapter_layer_names, "lora_gate", "lora_magnitude")
    other_param_names = (*LoraLinear.other_param_names, "gate_scale", "gate_pooling")

    def update_layer(self, adapter_name: str, r: int, lora_alpha: int, config: Any, **kwargs: Any) -> None:
        if not hasattr(self, "lora_gate"):
            # Linear.__init__ calls this method, so nothing of ours exists before the first call.
            self.lora_gate = nn.ModuleDict()
            self.lora_magnitude = nn.ModuleDict()
            self.gate_scale: dict[str, float] = {}
            self.gate_pooling: dict[str, str] = {}
        self.module_path: str = kwargs.get("target_name", "")
        self.lora_gate[adapter_name] = (
            ParameterFreeGate(self.in_features)
            if config.gate_kind == "parameter-free"
            else Gate(
                self.in_features,
                config.gate_hidden,
                config.gate_bias_init,
                config.gate_weight_init_std,
                config.gate_standardize,
                config.gate_dropout,
            )
        )
        self.gate_scale[adapter_name] = config.gate_scale
        self.gate_pooling[adapter_name] = config.gate_pooling
        super().update_layer(adapter_name, r, lora_alpha, config, **kwargs)
        # PEFT gives all of an adapter the base layer's type. It makes weights float32 again, but not statistics.
        self.lora_gate[adapter_name].float()
        if config.magnitude:
            self.lora_magnitude[adapter_name] = Magnitude(self.row_norms(adapter_name))
            self.set_adapter(self.active_adapters)

    @torch.no_grad()
    def row_norms(self, adapter_name: str) -> Tensor:
        """``|W0 + (alpha / r) B A|`` of each output's row, ``[d_out]``, in float32."""
        weight: Tensor = self.get_base_layer().weight.float()
        a, b = (matrices[adapter_name].get_parameter("weight").float() for matrices in (self.lora_A, self.lora_B))
        norms: Tensor = torch.linalg.vector_norm(weight + self.scaling[adapter_name] * (b @ a), dim=1)
        return norms

    def magnitude_ratio(self, adapter_name: str) -> Tensor:
        """The magnitude over the norm, ``[d_out]``."""
        return self.lora_magnitude[adapter_name].get_parameter("weight") / self.row_norms(adapter_name)

    @torch.no_grad()
    def fold_magnitude_(self, adapter_name: str) -> None:
        """Multiplies W0 and B by the magnitude over the norm and forgets both: the same function without them."""
        factor = self.magnitude_ratio(adapter_name).unsqueeze(1)
        for layer in (self.get_base_layer(), self.lora_B[adapter_name]):
            layer.weight.mul_(factor.to(layer.weight.dtype))
        del self.lora_magnitude[adapter_name]

    def gate(self, adapter_name: str, x: Tensor) -> Tensor:
        """Gate values before ``gate_scale``: ``[batch]``, or ``[batch, sequence]`` with token pooling."""
        context = current_context()
        mask = None if context is None else context.mask
        if x.dim() != 3:
            raise ValueError(
                f"{self.module_path}: expected x as [batch, sequence, features], got {tuple(x.shape)}. "
                "A model that packs its tokens (attn_implementation='flash_attention_2' of some families) cannot "
                "be gated for each text; load it with attn_implementation='sdpa'."
            )
        if mask is not None and not torch.compiler.is_exporting() and mask.shape != x.shape[:2]:
            raise ValueError(
                f"{self.module_path}: attention_mask {tuple(mask.shape)} does not fit x {tuple(x.shape)}. "
                "Generation with a cache is not supported: an instance gate reads the whole text."
            )
        gate: Gate | ParameterFreeGate = self.lora_gate[adapter_name]  # type: ignore[assignment]
        if self.gate_pooling[adapter_name] == "token":
            values: Tensor = gate(x)
            report_gate(adapter_name, self.module_path, mean_over_tokens(values.unsqueeze(-1), mask).squeeze(-1))
            return values
        values = gate(mean_over_tokens(x, None) if context is None else context.pooled(x))
        report_gate(adapter_name, self.module_path, values)
        return values

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._check_forward_args(x, *args, **kwargs)
        if kwargs.pop("adapter_names", None) is not None:
            raise ValueError("DS-LoRA does not mix adapters in one batch. Run one batch for each adapter.")
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        dtype = result.dtype
        for name in self.active_adapters:
            if name not in self.lora_A:
                continue
            lora_a, lora_b = self.lora_A[name], self.lora_B[name]
            values = self.gate(name, x)
            values = values[:, None, None] if values.dim() == 1 else values[:, :, None]
            low_rank = lora_a(self.lora_dropout[name](self._cast_input_dtype(x, lora_a.weight.dtype)))
            # The gate scales the r-wide activations, not the d_out-wide ones: the same product, fewer of them.
            factor = (values * (self.gate_scale[name] * self.scaling[name])).to(low_rank.dtype)
            change = lora_b(low_rank * factor)
            if name in self.lora_magnitude:
                ratio = self.magnitude_ratio(name).to(result.dtype)
                bias = self.get_base_layer().bias
                # The bias stands outside of what is scaled.
                change = ratio * change + (ratio - 1) * (result if bias is None else result - bias)
            result = result + change
        return result.to(dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> NoReturn:
        """Always raises: see :data:`MERGE_REFUSED`."""
        raise ValueError(MERGE_REFUSED)

    def get_delta_weight(self, adapter: str) -> NoReturn:
        """Always raises: the weight change depends on the input."""
        raise ValueError(MERGE_REFUSED)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        return False

    def __repr__(self) -> str:
        return "dslora." + nn.Module.__repr__(self)


# Which layer types get which gated layer. A 4-bit linear layer of bitsandbytes is an nn.Linear too.
GATED_LAYERS: dict[type[nn.Module], type[GatedLinear]] = {nn.Linear: GatedLinear}
