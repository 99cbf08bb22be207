"""The gate: one number in (0, 1) that says how much of an adapter's contribution an input gets."""

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """``sigmoid(W2 relu(W1 x + b1) + b2)``, or ``sigmoid(Wg x + bg)`` when ``hidden`` is 0.

    Source: Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076 (see DS-LoRA in ``docs/method.md``).

    Args:
        in_features: d_in, features of x.
        hidden: d, width of the hidden layer; 0 for a linear gate.
        bias_init: Start of the last bias.
        weight_init_std: Standard deviation of the last layer's weights at the start. Small, so that every
            text starts with nearly the same gate; not zero, or W1 would get no gradient at the first step.
        standardize: Keep buffers ``input_mean`` and ``input_std`` and read ``(x - mean) / std``.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self, in_features: int, hidden: int, bias_init: float, weight_init_std: float, standardize: bool
    ) -> None:
        super().__init__()
        self.standardize = standardize
        if standardize:
            self.register_buffer("input_mean", torch.zeros(in_features))
            self.register_buffer("input_std", torch.ones(in_features))
        self.hidden = nn.Linear(in_features, hidden) if hidden > 0 else None
        self.output = nn.Linear(hidden or in_features, 1)
        nn.init.normal_(self.output.weight, std=weight_init_std)
        nn.init.constant_(self.output.bias, bias_init)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[..., in_features]`` -> ``[...]`` in (0, 1). Computed in the dtype of the gate's weights."""
        x = x.to(self.output.weight.dtype)
        if self.standardize:
            x = (x - self.input_mean) / self.input_std
        if self.hidden is not None:
            x = torch.relu(self.hidden(x))
        return torch.sigmoid(self.output(x)).squeeze(-1)
