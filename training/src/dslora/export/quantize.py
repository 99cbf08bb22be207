"""int8 for CPUs: a float32 graph to one whose large matrices are int8.

How a product x W is computed, for x ``[batch, sequence, K]`` and W ``[K, N]``:

    m = max |x| over the K features of a row (a token)            Abs, ReduceMax
    q = round(127 x / m) + 128, uint8                             Div, QuantizeLinear
    y = m · (q − 128) Wq · (column scale / 127)                   MatMulIntegerToFloat, Mul

- One scale a row, not one a tensor: a text's answer cannot depend on the texts that share its batch. (A dynamic
  scale a tensor, what ``DynamicQuantizeLinear`` computes, moved answers by up to 0.03.)
- Weights have 7 bits, −63 … 63, and one scale a column. A processor without VNNI adds two products of uint8 and
  int8 in 16 bits: 2 · 255 · 63 fits, 2 · 255 · 127 saturates, so answers agree between processors.
- Activations are uint8: uint8 × int8 is the fast kernel of onnxruntime on x86.
- ``MatMulIntegerToFloat`` (onnxruntime's own) is ``MatMulInteger``, ``Cast`` and ``Mul`` by the column scales in
  one node, with the same integers inside.
- Projections that read the same x (query, key, value) share q.
- Embeddings are int8 with one scale a row. Gates, low-rank matrices, head, norms and softmax stay float32.

Rounding to integers magnifies what is before it: two float32 values that differ in the last bit can fall on
different integers. So the float32 part must not depend on batch and padding either, to the bit. All of it does
not, except one product: see :func:`_pool_alike_at_any_length`.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

WEIGHT_RANGE: Final = 63
ACTIVATION_RANGE: Final = 127
ACTIVATION_ZERO: Final = 128
EMBEDDING_RANGE: Final = 127
# Narrower matrices cost less than the nodes that would quantise their input.
SMALLEST_SIDE: Final = 64
CONTRIB: Final = "com.microsoft"

Floats = NDArray[np.float32]
Int8s = NDArray[np.int8]


def quantize(model: ir.Model) -> ir.Model:
    """A copy of a float32 graph with int8 products and embeddings. See the module's text.

    Args:
        model: As :func:`dslora.export.graph.build_graph` returns it; weights keep the names given there, by which
            the adapters are told from the base. Stays as it is.
    """
    model = model.clone()
    _Quantizer(model.graph).run()
    model.opset_imports[CONTRIB] = 1
    return model


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

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.row_scale = self._constant("activation.scale", np.float32(1 / ACTIVATION_RANGE))
        self.zero = self._constant("activation.zero", np.uint8(ACTIVATION_ZERO))
        # A row of zeros must not be divided by zero. Far below any activation that means something.
        self.smallest = self._constant("activation.smallest", np.float32(1e-12))
        self.last_axis = self._constant("activation.axis", np.array([-1], dtype=np.int64))

    def run(self) -> None:
        for x, products in self._products().items():
            self._quantize_products(x, products)
        for node in list(self.graph):
            if node.op_type == "Gather" and self._is_embedding(node):
                self._quantize_embedding(node)
            elif node.op_type == "MatMul" and _is_mean_over_tokens(node):
                self._pool_alike_at_any_length(node)
            elif node.op_type == "LayerNormalization":
                self._keep_norm_apart(node)
        self._remove_unused()

    def _products(self) -> dict[ir.Value, list[ir.Node]]:
        """Products with a large constant matrix, by the value they read."""
        found: dict[ir.Value, list[ir.Node]] = {}
        for node in self.graph:
            x, weight = (*node.inputs, None, None)[:2]
            if node.op_type != "MatMul" or x is None or weight is None or not weight.is_initializer():
                continue
            sides = _sides(weight)
            if len(sides) == 2 and min(sides) >= SMALLEST_SIDE and "lora_" not in str(weight.name):
                found.setdefault(x, []).append(node)
        return found

    def _quantize_products(self, x: ir.Value, products: list[ir.Node]) -> None:
        build = _Builder(f"{x.name}.quantized")
        magnitude = build("ReduceMax", build("Abs", x), self.last_axis, keepdims=1)
        row = build("Max", magnitude, self.smallest)
        q = build("QuantizeLinear", build("Div", x, row), self.row_scale, self.zero)
        self.graph.insert_before(products[0], build.take())
        for product in products:
            weight = product.inputs[1]
            assert weight is not None
            integers, scales = quantize_columns(_array(weight))
            build = _Builder(f"{weight.name}.product")
            y = build(
                "MatMulIntegerToFloat",
                q,
                self._constant(f"{weight.name}.int8", integers),
                self.row_scale,
                self._constant(f"{weight.name}.scales", scales),
                self.zero,
                domain=CONTRIB,
            )
            self._replace(product, build, build("Mul", y, row))

    def _is_embedding(self, node: ir.Node) -> bool:
        table = node.inputs[0]
        axis = node.attributes.get("axis")
        if table is None or not table.is_initializer() or (axis is not None and axis.as_int() != 0):
            return False
        sides = _sides(table)
        return table.dtype == ir.DataType.FLOAT and len(sides) == 2 and min(sides) >= SMALLEST_SIDE

    def _quantize_embedding(self, node: ir.Node) -> None:
        table, ids = node.inputs
        assert table is not None
        integers, scales = quantize_rows(_array(table))
        build = _Builder(f"{table.name}.rows")
        rows = build("Gather", self._constant(f"{table.name}.int8", integers), ids)
        factors = build("Gather", self._constant(f"{table.name}.scales", scales), ids)
        self._replace(node, build, build("Mul", build("Cast", rows, to=int(ir.DataType.FLOAT)), factors))

    def _pool_alike_at_any_length(self, node: ir.Node) -> None:
        """Computes a mean over tokens so that padding does not change its last bit.

        The mean is a product of one row of weights with x. onnxruntime has a kernel of its own for one row, which
        adds four products at a time, so zeros at the end change how the last real ones are grouped and with it
        the rounding. Two rows take the kernel that adds them one after another. So: the row twice, and the first
        of the two results.
        """
        weights, x = node.inputs
        build = _Builder(f"{node.outputs[0].name}.twice")
        twice = build("MatMul", build("Concat", weights, weights, axis=1), x)
        first = self._constant("pooling.first", np.array([0], dtype=np.int64))
        self._replace(node, build, build("Gather", twice, first, axis=1))

    def _keep_norm_apart(self, norm: ir.Node) -> None:
        """Writes the residual addition before a norm as ``Sum``.

        onnxruntime fuses ``Add`` and ``LayerNormalization`` into one operator whose CPU kernel is not vectorised:
        0.55 ms for 8 x 40 tokens of 384 features on one thread, against 0.14 ms for the two of them. ``Sum`` is
        the same addition and is not fused.
        """
        x = norm.inputs[0]
        add = None if x is None else x.producer()
        if add is None or add.op_type != "Add" or any(value.is_initializer() for value in add.inputs if value):
            return
        build = _Builder(f"{norm.name}.residual")
        self._replace(add, build, build("Sum", *add.inputs))

    def _replace(self, node: ir.Node, build: "_Builder", result: ir.Value) -> None:
        old = node.outputs[0]
        self.graph.insert_before(node, build.take())
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        # Whoever reads both graphs finds a value under one name; an output of the graph must keep its own.
        result.name, result.shape, result.type = old.name, old.shape, old.type

    def _constant(self, name: str, values: NDArray[Any] | np.generic) -> ir.Value:
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.asarray(values), name=name)
            self.graph.register_initializer(
                ir.Value(
                    name=name,
                    const_value=tensor,
                    shape=ir.Shape(tensor.numpy().shape),
                    type=ir.TensorType(tensor.dtype),
                )
            )
        return self.graph.initializers[name]

    def _remove_unused(self) -> None:
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self.graph.initializers[name]


class _Builder:
    """Makes nodes in the order of calls; each call returns the node's one output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[ir.Node] = []
        self._made = 0

    def __call__(self, op: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        self._made += 1
        name = f"{self._name}.{self._made}"
        node = ir.node(op, inputs, attributes=attributes, domain=domain, name=name)
        node.outputs[0].name = name
        self._nodes.append(node)
        return node.outputs[0]

    def take(self) -> list[ir.Node]:
        nodes, self._nodes = self._nodes, []
        return nodes


def _is_mean_over_tokens(node: ir.Node) -> bool:
    """One row of weights for each text, times activations: ``[batch, 1, sequence] x [batch, sequence, features]``."""
    weights, x = node.inputs
    if weights is None or x is None or x.is_initializer() or weights.shape is None:
        return False
    return len(weights.shape) == 3 and weights.shape[1] == 1


def _sides(value: ir.Value) -> tuple[int, ...]:
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def _array(value: ir.Value) -> Floats:
    assert value.const_value is not None
    return value.const_value.numpy().astype(np.float32, copy=False)


def integer_weights(model: ir.Model) -> Iterator[tuple[str, Int8s]]:
    """Name and values of every int8 matrix of products, for checks of their range."""
    for node in model.graph:
        if node.op_type == "MatMulIntegerToFloat" and node.inputs[1] is not None:
            value = node.inputs[1]
            assert value.const_value is not None
            yield str(value.name), value.const_value.numpy()
