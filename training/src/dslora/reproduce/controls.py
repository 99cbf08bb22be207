"""The control of gated models: what remains when gates no longer depend on the text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dslora.classifier import Classifier
from dslora.methods.peft_method import ADAPTER


class ConstantGate(nn.Module):
    """One value for every input: ``[..., features]`` -> ``[...]``."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """The value, in float32."""
        return torch.full(x.shape[:-1], self.value, device=x.device)


@contextmanager
def gates_fixed(classifier: Classifier, means: Sequence[float]) -> Iterator[None]:
    """Inside, each module's gate is a constant; the rest of the model is as it was.

    Args:
        classifier: A gated one.
        means: One value a gate column, as a rule the mean over the development split.
    """
    layers = classifier.gated_layers()
    gates = [layer.lora_gate[ADAPTER] for layer in layers]
    try:
        for layer, mean in zip(layers, means, strict=True):
            layer.lora_gate[ADAPTER] = ConstantGate(float(mean))
        yield
    finally:
        for layer, gate in zip(layers, gates, strict=True):
            layer.lora_gate[ADAPTER] = gate
