"""int8 for CPUs: a float32 graph to one whose large matrices are int8.

How a product x W is computed, for x ``[batch, sequence, K]`` and W ``[K, N]``. With one scale a row (a token):

    m = max |x| over the K features of a row                      Abs, ReduceMax
    q = round(127 x / m) + 128, uint8                             Div, QuantizeLinear
    y = m · (q − 128) Wq · (column scale / 127)                   MatMulIntegerToFloat, Mul

With a fixed scale, from texts that were looked at before (``bounds``):

    q = round(127 x / (t s)) + 128, uint8                         Mul by 1/s, QuantizeLinear
    y = t · (q − 128) (s W)q · (column scale / 127)               MatMulIntegerToFloat

where s evens out features of different size (SmoothQuant, arXiv:2211.10438, equation 4) and t is what is left.

- Neither depends on the texts that share a batch. (A dynamic scale a tensor, what ``DynamicQuantizeLinear``
  computes, moved answers by up to 0.03.)
- Weights have 7 bits, −63 … 63, and one scale a column. A processor without VNNI adds two products of uint8 and
  int8 in 16 bits: 2 · 255 · 63 fits, 2 · 255 · 127 saturates, so answers agree between processors.
- Activations are uint8: uint8 × int8 is the fast kernel of onnxruntime on x86.
- ``MatMulIntegerToFloat`` (onnxruntime's own) is ``MatMulInteger``, ``Cast`` and ``Mul`` by the column scales in
  one node, with the same integers inside. It adds a bias as well.
- Projections that read the same x (query, key, value) share q.
- Embeddings are int8 with one scale a row. Gates, low-rank matrices, head, norms and softmax stay float32.

Rounding to integers magnifies what is before it: two float32 values that differ in the last bit can fall on
different integers. So the float32 part must not depend on batch and padding either, to the bit. All of it does
not, except one product: see :func:`_pool_alike_at_any_length`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from dslora.export.fused import keep_norms_apart
from dslora.export.surgery import (
    CONTRIB,
    Builder,
    Floats,
    constant,
    only_user,
    producer,
    remove_unused,
    sides,
    substitute,
    weights_of,
)

WEIGHT_RANGE: Final = 63
ACTIVATION_RANGE: Final = 127
ACTIVATION_ZERO: Final = 128
EMBEDDING_RANGE: Final = 127
# Narrower matrices cost less than the nodes that would quantise their input.
SMALLEST_SIDE: Final = 64
# How much of the unevenness of features the weights take over; SmoothQuant's alpha.
SMOOTHING: Final = 0.5
# GELU's least value is -0.17, so where its largest is above that the sign need not be taken off before the maximum.
_LEAST_GELU: Final = 0.17

Int8s = NDArray[np.int8]


def quantize(model: ir.Model, bounds: Mapping[str, Floats] | None = None, keep: Collection[str] = ()) -> ir.Model:
    """A copy of a float32 graph with int8 products and embeddings. See the module's text.

    Args:
        model: As ``dslora.export.graph`` makes it; weights keep the names given there, by which
            the adapters are told from the base. Stays as it is.
        bounds: Largest absolute value of each feature ``[K]``, by the name of the value that products read. Products
            of these values get a fixed scale, others one a row.
        keep: Names of values whose products stay float32.
    """
    model = model.clone()
    _Quantizer(model.graph, bounds or {}, keep).run()
    remove_unused(model)
    model.opset_imports[CONTRIB] = 1
    return model


def quantize_tables(graph: ir.Graph) -> None:
    """Embeddings to int8, and means over tokens that padding does not change; products stay as they are."""
    _Quantizer(graph, {}, ()).tables()


def quantizable(graph: ir.Graph) -> dict[ir.Value, list[ir.Node]]:
    """Products with a large constant matrix, by the value they read, in the order of the graph."""
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        x, weight = (*node.inputs, None, None)[:2]
        if node.op_type != "MatMul" or x is None or weight is None or not weight.is_initializer():
            continue
        lengths = sides(weight)
        if len(lengths) == 2 and min(lengths) >= SMALLEST_SIDE and "lora_" not in str(weight.name):
            found.setdefault(x, []).append(node)
    return found


def quantize_columns(weight: Floats) -> tuple[Int8s, Floats]:
    """7-bit weights: W ``[K, N]`` -> (integers ``[K, N]``, scales ``[N]``)."""
    integers, scales = _quantize(weight, WEIGHT_RANGE, axis=0)
    return integers, scales[0]


def quantize_rows(table: Floats) -> tuple[Int8s, Floats]:
    """8-bit embeddings: ``[V, H]`` -> (integers ``[V, H]``, scales ``[V, 1]``)."""
    return _quantize(table, EMBEDDING_RANGE, axis=1)


def _quantize(values: Floats, largest: int, axis: int) -> tuple[Int8s, Floats]:
    scales = np.abs(values).max(axis=axis, keepdims=True).astype(np.float32) / np.float32(largest)
    scales[scales == 0] = 1
    return np.rint(values / scales).clip(-largest, largest).astype(np.int8), scales


class _Quantizer:
    """Rewrites one graph in place."""

    def __init__(self, graph: ir.Graph, bounds: Mapping[str, Floats], keep: Collection[str]) -> None:
        self.graph, self.bounds, self.keep = graph, bounds, keep
        self.row_scale = self._constant("activation.scale", np.float32(1 / ACTIVATION_RANGE))
        self.zero = self._constant("activation.zero", np.uint8(ACTIVATION_ZERO))
        # A row of zeros must not be divided by zero. Far below any activation that means something.
        self.smallest = self._constant("activation.smallest", np.float32(1e-12))
        self.least_gelu = self._constant("activation.gelu", np.float32(_LEAST_GELU))
        self.last_axis = self._constant("activation.axis", np.array([-1], dtype=np.int64))

    def run(self) -> None:
        for x, products in quantizable(self.graph).items():
            if x.name in self.keep:
                continue
            bound = self.bounds.get(str(x.name))
            if bound is None:
                self._scale_rows(x, products)
            else:
                self._scale_fixed(x, products, bound)
        self.tables()

    def tables(self) -> None:
        for node in list(self.graph):
            if node.op_type == "Gather" and self._is_embedding(node):
                self._quantize_embedding(node)
            elif node.op_type == "MatMul" and _is_mean_over_tokens(node):
                self._pool_alike_at_any_length(node)
        keep_norms_apart(self.graph)

    def _scale_rows(self, x: ir.Value, products: list[ir.Node]) -> None:
        build = Builder(f"{x.name}.quantized")
        if producer(x, "Gelu") is not None:
            row = build("Max", build("ReduceMax", x, self.last_axis, keepdims=1), self.least_gelu)
        else:
            row = build("Max", build("ReduceMax", build("Abs", x), self.last_axis, keepdims=1), self.smallest)
        q = build("QuantizeLinear", build("Div", x, row), self.row_scale, self.zero)
        self.graph.insert_before(products[0], build.take())
        for product in products:
            weight = product.inputs[1]
            assert weight is not None
            build = Builder(f"{weight.name}.product")
            y = self._integer_product(build, q, str(weight.name), _array(weight), self.row_scale, None)
            substitute(self.graph, product, build, build("Mul", y, row))

    def _scale_fixed(self, x: ir.Value, products: list[ir.Node], bound: Floats) -> None:
        weights = [_array(product.inputs[1]) for product in products]
        smoothing = smooth(bound, weights)
        scale = self._constant(f"{x.name}.scale", np.float32((bound / smoothing).max() / ACTIVATION_RANGE))
        build = Builder(f"{x.name}.quantized")
        even = build("Mul", x, self._constant(f"{x.name}.smoothing", (1 / smoothing).astype(np.float32)))
        q = build("QuantizeLinear", even, scale, self.zero)
        self.graph.insert_before(products[0], build.take())
        for product, weight in zip(products, weights, strict=True):
            assert product.inputs[1] is not None
            name = str(product.inputs[1].name)
            build = Builder(f"{name}.product")
            add = only_user(product.outputs[0], "Add")
            bias = None if add is None else next((v for v in add.inputs if weights_of(v) is not None), None)
            y = self._integer_product(build, q, name, weight * smoothing[:, None], scale, bias)
            if add is None or bias is None:
                substitute(self.graph, product, build, y)
            else:
                substitute(self.graph, add, build, y)
                self.graph.remove(product, safe=True)

    def _integer_product(
        self, build: Builder, q: ir.Value, name: str, weight: Floats, scale: ir.Value, bias: ir.Value | None
    ) -> ir.Value:
        integers, scales = quantize_columns(weight)
        return build(
            "MatMulIntegerToFloat",
            q,
            self._constant(f"{name}.int8", integers),
            scale,
            self._constant(f"{name}.scales", scales),
            self.zero,
            *(() if bias is None else (None, bias)),
            domain=CONTRIB,
        )

    def _is_embedding(self, node: ir.Node) -> bool:
        table = node.inputs[0]
        axis = node.attributes.get("axis")
        if table is None or not table.is_initializer() or (axis is not None and axis.as_int() != 0):
            return False
        lengths = sides(table)
        return table.dtype == ir.DataType.FLOAT and len(lengths) == 2 and min(lengths) >= SMALLEST_SIDE

    def _quantize_embedding(self, node: ir.Node) -> None:
        table, ids = node.inputs
        assert table is not None
        integers, scales = quantize_rows(_array(table))
        build = Builder(f"{table.name}.rows")
        rows = build("Gather", self._constant(f"{table.name}.int8", integers), ids)
        factors = build("Gather", self._constant(f"{table.name}.scales", scales), ids)
        substitute(self.graph, node, build, build("Mul", build("Cast", rows, to=int(ir.DataType.FLOAT)), factors))

    def _pool_alike_at_any_length(self, node: ir.Node) -> None:
        """Computes a mean over tokens so that padding does not change its last bit.

        The mean is a product of one row of weights with x. onnxruntime has a kernel of its own for one row, which
        adds four products at a time, so zeros at the end change how the last real ones are grouped and with it
        the rounding. Two rows take the kernel that adds them one after another. So: the row twice, and the first
        of the two results.
        """
        weights, x = node.inputs
        assert weights is not None
        twice = self._twice(weights)
        build = Builder(f"{node.outputs[0].name}.twice")
        rows = build("MatMul", twice, x)
        squeeze = only_user(node.outputs[0], "Squeeze")
        if squeeze is not None:
            # A scalar index takes the axis away, so nothing is left to squeeze.
            first = self._constant("pooling.first.scalar", np.array(0, dtype=np.int64))
            substitute(self.graph, squeeze, build, build("Gather", rows, first, axis=1))
            self.graph.remove(node, safe=True)
            return
        first = self._constant("pooling.first", np.array([0], dtype=np.int64))
        substitute(self.graph, node, build, build("Gather", rows, first, axis=1))

    def _twice(self, weights: ir.Value) -> ir.Value:
        for use in weights.uses():
            if use.node.op_type == "Concat" and list(use.node.inputs) == [weights, weights]:
                return use.node.outputs[0]
        build = Builder(f"{weights.name}.twice")
        twice = build("Concat", weights, weights, axis=1)
        source = weights.producer()
        assert source is not None
        self.graph.insert_after(source, build.take())
        return twice

    def _constant(self, name: str, values: NDArray[Any] | np.generic) -> ir.Value:
        return constant(self.graph, name, values)


def smooth(bound: Floats, weights: list[Floats], alpha: float = SMOOTHING) -> Floats:
    """SmoothQuant's factors of the features, equation 4: ``max|x_j|^alpha / max|W_j|^(1 - alpha)``, ``[K]``."""
    size = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    # A feature that is never anything but zero, or that no column reads, has no size of its own.
    factors = np.maximum(bound, 1e-5) ** alpha / np.maximum(size, 1e-5) ** (1 - alpha)
    return np.asarray(factors, dtype=np.float32)


def _is_mean_over_tokens(node: ir.Node) -> bool:
    """One row of weights for each text, times activations: ``[batch, 1, sequence] x [batch, sequence, features]``."""
    weights, x = node.inputs
    if weights is None or x is None or x.is_initializer() or weights.is_initializer() or weights.shape is None:
        return False
    return len(weights.shape) == 3 and weights.shape[1] == 1


def _array(value: ir.Value | None) -> Floats:
    values = weights_of(value)
    assert values is not None
    return values


def integer_weights(model: ir.Model) -> Iterator[tuple[str, Int8s]]:
    """Name and values of every int8 matrix of products, for checks of their range."""
    for node in model.graph:
        if node.op_type == "MatMulIntegerToFloat" and node.inputs[1] is not None:
            value = node.inputs[1]
            assert value.const_value is not None
            yield str(value.name), value.const_value.numpy()
