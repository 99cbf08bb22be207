"""The gate: one number in (0, 1) that says how much of an adapter's contribution an input gets."""

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """``sigmoid(W2 relu(W1 x + b1) + b2)``, or ``sigmoid(Wg x + bg)`` when ``hidden`` is 0.

    Source: Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076 (see DS-LoRA in ``docs/method.md``).

    With ``standardize`` it reads ``(x - input_mean) / input_std``.

    Args:
        in_features: d_in, features of x.
        hidden: d, width of the hidden layer; 0 for a linear gate.
        bias_init: Start of the last bias.
        weight_init_std: Standard deviation of the last layer's weights at the start. Small, so that every
            text starts with nearly the same gate; not zero, or W1 would get no gradient at the first step.
        standardize: Keep buffers ``input_mean`` and ``input_std``.
        dropout: On the input and the hidden layer.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        bias_init: float,
        weight_init_std: float,
        standardize: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.standardize = standardize
        if standardize:
            self.register_buffer("input_mean", torch.zeros(in_features))
            self.register_buffer("input_std", torch.ones(in_features))
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(in_features, hidden) if hidden > 0 else None
        self.output = nn.Linear(hidden or in_features, 1)
        nn.init.normal_(self.output.weight, std=weight_init_std)
        nn.init.constant_(self.output.bias, bias_init)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[..., in_features]`` -> ``[...]`` in (0, 1), in the weights' dtype; under autocast in its own."""
        x = x.to(self.output.weight.dtype)
        if self.standardize:
            x = (x - self.input_mean) / self.input_std
        x = self.dropout(x)
        if self.hidden is not None:
            x = self.dropout(torch.relu(self.hidden(x)))
        return torch.sigmoid(self.output(x)).squeeze(-1)

    def fit(self, pooled: Tensor) -> None:
        """Sets the statistics from inputs of the base model, double ``[texts, in_features]``."""
        if self.standardize:
            _set_statistics(self, pooled)


class ParameterFreeGate(nn.Module):
    """``sigmoid((u - score_mean) / score_std)`` with ``u = mean over features of ((x - input_mean) / input_std)^2``.

    Nothing is learnt: the gate opens for a text whose input to the module is unusual. Over the texts that it was
    fitted on, u has mean 0 and standard deviation 1 after standardising, so gates differ between texts by design.
    Ours; the paper leaves such a gate open.
    """

    input_mean: Tensor
    input_std: Tensor
    score_mean: Tensor
    score_std: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(in_features))
        self.register_buffer("input_std", torch.ones(in_features))
        self.register_buffer("score_mean", torch.ones(()))
        self.register_buffer("score_std", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """x ``[..., in_features]`` -> ``[...]`` in (0, 1), in float32."""
        unusual = (((x.float() - self.input_mean) / self.input_std) ** 2).mean(dim=-1)
        return torch.sigmoid((unusual - self.score_mean) / self.score_std)

    def fit(self, pooled: Tensor) -> None:
        """Sets the statistics from inputs of the base model, double ``[texts, in_features]``."""
        _set_statistics(self, pooled)
        scores = (((pooled - self.input_mean.cpu()) / self.input_std.cpu()) ** 2).mean(dim=-1)
        self.score_mean.copy_(scores.mean())
        self.score_std.copy_(scores.std().clamp(min=1e-6))


# Below this share of a module's typical spread a feature counts as constant: dividing by it would only
# magnify rounding.
_MIN_RELATIVE_STD = 1e-2


def _set_statistics(gate: Gate | ParameterFreeGate, pooled: Tensor) -> None:
    std = pooled.std(dim=0)
    floor = _MIN_RELATIVE_STD * std.median().clamp(min=1e-6)
    gate.input_mean.copy_(pooled.mean(dim=0))
    gate.input_std.copy_(std.clamp(min=floor))
