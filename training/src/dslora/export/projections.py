"""Finds the adapted projections in the reference graph: what they read, their weights, branches and gates."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dslora.export.surgery import Floats, only_user, producer, scalar_of, weights_of


@dataclass(eq=False)
class LearnedGate:
    """``sigmoid(W2 relu(W1 pooled + b1) + b2)`` of one text; ``hidden`` is None for ``sigmoid(Wg pooled + bg)``.

    Attributes:
        pooled: Mean over tokens ``[batch, K]``.
        hidden: W1 ``[d, K]`` and b1 ``[d]``.
        output: W2 ``[1, d]`` (or Wg ``[1, K]``) and its bias ``[1]``.
        value: The gate, ``[batch]``.
    """

    pooled: ir.Value
    hidden: tuple[Floats, Floats] | None
    output: tuple[Floats, Floats]
    value: ir.Value


@dataclass(eq=False)
class Branch:
    """``B (f * (A x))`` beside a projection.

    Attributes:
        a: A ``[K, r]``, as the product has it.
        b: B ``[r, N]``.
        factor: f, ``[batch, 1, 1]`` or ``[batch, sequence, 1]``.
        gate: Where f is a constant times a learned gate of the text.
        scale: That constant.
    """

    a: Floats
    b: Floats
    factor: ir.Value
    gate: LearnedGate | None
    scale: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[1])


@dataclass(eq=False)
class Projection:
    """``x W + bias`` with at most one branch.

    Attributes:
        name: Of the weight, for names of what replaces it.
        product: The node ``x W``.
        stored: W ``[K, N]``; its values are read when they are needed, since those of a large model fill the memory.
        bias: ``[N]``.
        branch: Gated low-rank branch, if any.
        out: The value that the rest of the graph reads.
    """

    name: str
    product: ir.Node
    stored: ir.TensorProtocol
    bias: Floats | None
    branch: Branch | None
    out: ir.Value

    @property
    def sides(self) -> tuple[int, int]:
        """K and N."""
        rows, columns = self.stored.shape.numpy()
        return rows, columns

    def weight(self) -> Floats:
        """``[K, N]``."""
        return self.stored.numpy().astype(np.float32, copy=False)

    @property
    def x(self) -> ir.Value:
        """``[batch, sequence, K]``, as it is now: rewriting the layer before may have put another in its place."""
        x = self.product.inputs[0]
        assert x is not None
        return x


def groups_of_projections(graph: ir.Graph) -> list[list[Projection]]:
    """Projections that read one value and of which at least one has a branch, or that are query, key and value.

    In the order of the graph.
    """
    groups: dict[ir.Value, list[Projection]] = {}
    for node in graph:
        found = _projection(node)
        if found is not None:
            groups.setdefault(found.x, []).append(found)
    return [group for group in groups.values() if len(group) == 3 or any(each.branch for each in group)]


def _projection(product: ir.Node) -> Projection | None:
    if product.op_type != "MatMul" or product.domain:
        return None
    x, weight = product.inputs
    if x is None or x.is_initializer() or weight is None or not weight.is_initializer() or weight.const_value is None:
        return None
    if len(weight.const_value.shape) != 2 or "lora_" in str(weight.name):
        return None
    out, bias = product.outputs[0], None
    add = only_user(out, "Add")
    if add is not None:
        values = weights_of(_other(add, out))
        if values is not None and values.ndim == 1:
            out, bias = add.outputs[0], values
    branch = None
    add = only_user(out, "Add")
    if add is not None:
        branch = _branch(_other(add, out), x)
        if branch is not None:
            out = add.outputs[0]
    return Projection(str(weight.name), product, weight.const_value, bias, branch, out)


def _branch(value: ir.Value | None, x: ir.Value) -> Branch | None:
    up = producer(value, "MatMul")
    b = weights_of(up.inputs[1]) if up is not None else None
    if up is None or b is None or "lora_B" not in str(up.inputs[1] and up.inputs[1].name):
        return None
    scaled = producer(up.inputs[0], "Mul")
    if scaled is None:
        return None
    for low, factor in (scaled.inputs, scaled.inputs[::-1]):
        down = producer(low, "MatMul")
        a = weights_of(down.inputs[1]) if down is not None else None
        if down is not None and a is not None and down.inputs[0] is x and factor is not None:
            gate, scale = _gate_of(factor)
            return Branch(a, b, factor, gate, scale)
    return None


def _gate_of(factor: ir.Value) -> tuple[LearnedGate | None, float]:
    scale = 1.0
    times = producer(factor, "Mul")
    if times is not None:
        for value, other in (times.inputs, times.inputs[::-1]):
            constant = scalar_of(other)
            if constant is not None and value is not None:
                factor, scale = value, constant
                break
    wide = producer(factor, "Unsqueeze")
    value = wide.inputs[0] if wide is not None else None
    narrow = producer(value, "Squeeze")
    sigmoid = producer(narrow.inputs[0], "Sigmoid") if narrow is not None else None
    last = _linear(sigmoid.inputs[0]) if sigmoid is not None else None
    if last is None or value is None or last[1].shape[0] != 1:
        return None, scale
    source, weight, bias = last
    relu = producer(source, "Relu")
    first = _linear(relu.inputs[0]) if relu is not None else None
    if first is not None:
        return LearnedGate(first[0], first[1:], (weight, bias), value), scale
    return LearnedGate(source, None, (weight, bias), value), scale


def _linear(value: ir.Value | None) -> tuple[ir.Value, Floats, Floats] | None:
    """Input ``[batch, K]``, weight ``[N, K]`` and bias ``[N]`` of a linear layer, which is a Gemm."""
    gemm = producer(value, "Gemm")
    if gemm is None or len(gemm.inputs) < 3 or gemm.inputs[0] is None:
        return None
    transposed = gemm.attributes.get("transB")
    weight, bias = weights_of(gemm.inputs[1]), weights_of(gemm.inputs[2])
    # A mean over tokens has two dimensions; what has three is not a gate of a text.
    if weight is None or bias is None or transposed is None or transposed.as_int() != 1:
        return None
    return gemm.inputs[0], weight, bias


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    first, second = node.inputs
    return second if first is value else first


def block_diagonal(blocks: list[Floats]) -> Floats:
    """Blocks ``[r_i, N_i]`` on the diagonal of a matrix of zeros."""
    out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)), dtype=np.float32)
    row = column = 0
    for block in blocks:
        out[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return out
