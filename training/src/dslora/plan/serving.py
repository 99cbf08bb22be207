"""Bytes of a classifier's weights when served, counted by what the exporter does with each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from dslora.export.blocks import BLOCK
from dslora.export.quantize import SMALLEST_SIDE
from dslora.tuner import GatedLinear

# A float32 scale stands beside what has become integers.
_SCALE = 4
# What PEFT's layers hold beside the weight that they adapt, and of a gated one what is folded into its weights.
_MERGED = ("lora_A", "lora_B", "lora_E", "lora_magnitude_vector", "ranknum")
_FOLDED = ("lora_magnitude",)


@dataclass(frozen=True)
class _Matrix:
    """A weight of two sides.

    Attributes:
        inputs: Features that a product reads; of a table, its rows' length.
        outputs: Features that a product makes; of a table, its rows.
        is_table: Read by rows, as embeddings are.
        in_integers: Whether the exporter makes integers of it where it makes any.
    """

    inputs: int
    outputs: int
    is_table: bool
    in_integers: bool

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


def serving_bytes(outline: Any) -> dict[str, float]:
    """Bytes by precision, of the layout ``reference`` and without the graph around the weights.

    Ranks that a sparse method will have emptied are not known before it has trained, so all are counted.

    Args:
        outline: The classifier on the meta device.
    """
    served = {id(p): p.numel() for p in _served(outline)}
    matrices = {key: matrix for key, matrix in _matrices(outline) if key in served}
    total = sum(served.values())
    biases = sum(served.get(id(m.bias), 0) for m in _products(outline).values() if m.bias is not None)
    halves = biases + sum(matrix.weights for matrix in matrices.values())
    integers = [matrix for matrix in matrices.values() if matrix.in_integers]
    floats = 4 * (total - sum(matrix.weights for matrix in integers))
    return {
        "fp32": 4.0 * total,
        # What decides stays float32: norms, gates and head (dslora.export.half).
        "fp16": 4.0 * (total - halves) + 2.0 * halves,
        "int8": float(floats + sum(map(_in_8_bits, integers))),
        "4-bit": float(floats + sum(map(_in_4_bits, integers))),
    }


def _in_8_bits(matrix: _Matrix) -> int:
    """A scale a column, or of a table a scale a row (dslora.export.quantize)."""
    return matrix.weights + matrix.outputs * _SCALE


def _in_4_bits(matrix: _Matrix) -> int:
    """A scale and a zero of 4 bits for each block of a column; tables have 8 bits (dslora.export.blocks)."""
    if matrix.is_table:
        return _in_8_bits(matrix)
    blocks = -(-matrix.inputs // BLOCK)
    return matrix.outputs * (blocks * (BLOCK // 2 + _SCALE) + -(-blocks // 2))


def _served(outline: Any) -> Iterator[nn.Parameter]:
    """Parameters without those that are the same change for every text: these are merged at export."""
    merged = {
        id(parameter)
        for module in outline.modules()
        if isinstance(module, BaseTunerLayer)
        for name, parameter in module.named_parameters()
        if name.startswith(_FOLDED if isinstance(module, GatedLinear) else _MERGED)
    }
    return (parameter for parameter in outline.parameters() if id(parameter) not in merged)


def _products(outline: Any) -> dict[str, nn.Linear]:
    """Linear layers of the encoder, by path, but for those of gates: these and the head stay float32."""
    return {
        path: module
        for path, module in outline.encoder.named_modules()
        if isinstance(module, nn.Linear) and "lora_gate" not in path
    }


def _matrices(outline: Any) -> Iterator[tuple[int, _Matrix]]:
    """The encoder's, by the identity of the parameter."""
    for path, layer in _products(outline).items():
        large = min(layer.in_features, layer.out_features) >= SMALLEST_SIDE
        yield id(layer.weight), _Matrix(layer.in_features, layer.out_features, False, large and "lora_" not in path)
    for module in outline.encoder.modules():
        if isinstance(module, nn.Embedding):
            rows, length = module.weight.shape
            yield id(module.weight), _Matrix(length, rows, True, min(rows, length) >= SMALLEST_SIDE)
