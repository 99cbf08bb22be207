"""Weights of 4 or 8 bits with a scale for every block of a column: onnxruntime's ``MatMulNBits``.

A column of W ``[K, N]`` is cut into blocks of 32 values w, each with a scale s and a zero z:

    4 bits   s = (max w - min w) / 15, z = round(-min w / s), q = round(w / s) + z        0 … 15
    8 bits   s = max |w| / 127, z = 128,                      q = round(w / s) + z        1 … 255

(0 counts among the values, so that z fits). Activations stay float32, or become int8 with a scale for each block of a
row (``integers``), which depends on no other text either. Embeddings are int8 with a scale a row, as in
``dslora.export.quantize``: a table is read by rows, so there is no product to save on.
"""

from collections.abc import Collection
from typing import Any, Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from dslora.export.quantize import quantizable, quantize_tables
from dslora.export.surgery import CONTRIB, Builder, Floats, constant, remove_unused, substitute, weights_of

BLOCK: Final = 32
Bits = Literal[4, 8]
# Value of the attribute accuracy_level by which a kernel may make int8 of activations.
_INT8_ACTIVATIONS: Final = 4

Bytes = NDArray[np.uint8]


def quantize_blocks(model: ir.Model, bits: Bits, *, integers: bool, keep: Collection[str] = ()) -> ir.Model:
    """A copy of a float32 graph with weights in blocks. See the module's text.

    Args:
        model: With products outside of attention; stays as it is.
        bits: Of a weight.
        integers: Whether activations may become int8 inside a product, where the processor has a kernel for it.
        keep: Names of values whose products stay float32.
    """
    model = model.clone()
    graph = model.graph
    for x, products in quantizable(graph).items():
        if x.name in keep:
            continue
        for product in products:
            _replace(graph, product, bits, integers)
    quantize_tables(graph)
    remove_unused(model)
    model.opset_imports[CONTRIB] = 1
    return model


def _replace(graph: ir.Graph, product: ir.Node, bits: Bits, integers: bool) -> None:
    x, weight = product.inputs
    values = weights_of(weight)
    assert values is not None
    assert weight is not None
    packed, scales, zeros = pack(values, bits)
    build = Builder(f"{weight.name}.product")
    parts: list[NDArray[Any]] = [packed, scales, *(() if zeros is None else (zeros,))]
    names = (f"{weight.name}.{name}" for name in (f"int{bits}", "scales", "zeros"))
    y = build(
        "MatMulNBits",
        x,
        *(constant(graph, name, part) for name, part in zip(names, parts, strict=False)),
        domain=CONTRIB,
        K=values.shape[0],
        N=values.shape[1],
        bits=bits,
        block_size=BLOCK,
        **({"accuracy_level": _INT8_ACTIVATIONS} if integers else {}),
    )
    substitute(graph, product, build, y)


def pack(weight: Floats, bits: Bits) -> tuple[Bytes, Floats, Bytes | None]:
    """W ``[K, N]`` as ``MatMulNBits`` reads it.

    Returns:
        Integers ``[N, blocks, 32 * bits / 8]``, of 4 bits two in a byte, the first in its low half; scales
        ``[N, blocks]``; zeros ``[N, ceil(blocks / 2)]`` likewise, or None where the operator's default of 128 holds.
    """
    k, n = weight.shape
    count = -(-k // BLOCK)
    values = np.zeros((n, count * BLOCK), dtype=np.float32)
    values[:, :k] = weight.T
    values = values.reshape(n, count, BLOCK)
    if bits == 8:
        scales = np.abs(values).max(axis=2) / np.float32(127)
        scales[scales == 0] = 1
        return (np.rint(values / scales[:, :, None]) + 128).astype(np.uint8), scales, None
    low, high = values.min(axis=2).clip(max=0), values.max(axis=2).clip(min=0)
    scales = (high - low) / np.float32(15)
    scales[scales == 0] = 1
    zeros = np.rint(-low / scales).clip(0, 15)
    integers = (np.rint(values / scales[:, :, None]) + zeros[:, :, None]).clip(0, 15).astype(np.uint8)
    even = np.zeros((n, count + count % 2), dtype=np.uint8)
    even[:, :count] = zeros
    return _in_pairs(integers), scales, _in_pairs(even)


def _in_pairs(nibbles: Bytes) -> Bytes:
    return np.asarray(nibbles[..., 0::2] | nibbles[..., 1::2] << 4, dtype=np.uint8)
