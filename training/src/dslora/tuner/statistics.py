"""Statistics of the gates' inputs, measured once on the base model before training."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dslora.tuner.context import current_context, mean_over_tokens
from dslora.tuner.gate import Gate, ParameterFreeGate
from dslora.tuner.layer import GatedLinear


@torch.no_grad()
def fit_gate_statistics(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], adapter_name: str = "default"
) -> None:
    """Sets the statistics of every gate that has some from pooled inputs.

    Args:
        model: The adapted model; called with ``input_ids`` and ``attention_mask``.
        batches: Pairs (input_ids, attention_mask), each ``[batch, sequence]``; at least two texts in all.
        adapter_name: Whose gates.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, GatedLinear)
        and adapter_name in module.lora_gate
        and getattr(module.lora_gate[adapter_name], "standardize", True)
    ]
    if not layers:
        return
    pooled: dict[GatedLinear, list[Tensor]] = {layer: [] for layer in layers}

    def record(layer: GatedLinear, args: tuple[Tensor, ...]) -> None:
        context = current_context()
        pooled[layer].append(mean_over_tokens(args[0], None if context is None else context.mask).cpu())

    handles = [layer.register_forward_pre_hook(record) for layer in layers]
    training = model.training
    model.eval()
    try:
        for input_ids, attention_mask in batches:
            model(input_ids=input_ids, attention_mask=attention_mask)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    for layer, parts in pooled.items():
        gate: Gate | ParameterFreeGate = layer.lora_gate[adapter_name]  # type: ignore[assignment]
        gate.fit(torch.cat(parts).double())
