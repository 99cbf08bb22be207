"""Attention that is written out, with something added to its scores: MPNet, whose positions are such a bias.

    softmax(q kᵀ / c + bias + mask) v        bias [1, heads, sequence, sequence], mask [batch, 1, sequence, sequence]

onnxruntime's operators take such a bias as their input ``attention_bias``.
"""

from dataclasses import dataclass

import onnx_ir as ir

from dslora.export.attention_forms import Heads
from dslora.export.projections import Projection
from dslora.export.surgery import only_user, producer, scalar_of


def biased_heads(group: list[Projection]) -> Heads | None:
    """Follows three projections to one softmax; None where attention is something else."""
    if len(group) != 3:
        return None
    ends: dict[tuple[ir.Node, int], tuple[ir.Value, ir.Node]] = {}
    for each in group:
        reshape = only_user(each.out, "Reshape")
        node = reshape
        while node is not None and (after := only_user(node.outputs[0], "Transpose")) is not None:
            node = after
        product = only_user(node.outputs[0], "MatMul") if node is not None else None
        if product is None or node is None or reshape is None:
            return None
        ends[product, list(product.inputs).index(node.outputs[0])] = (each.out, reshape)
    for product, side in ends:
        softmax = producer(product.inputs[0], "Softmax") if side == 1 else None
        scores = _scores(softmax) if softmax is not None else None
        if scores is not None and (scores.product, 0) in ends and (scores.product, 1) in ends:
            back = only_user(product.outputs[0], "Transpose")
            result = only_user(back.outputs[0], "Reshape") if back is not None else None
            query, reshape = ends[scores.product, 0]
            count = _heads_of(reshape)
            bias = _bias(scores.added)
            if result is None or count is None or bias is None or softmax is None:
                return None
            outs = (query, ends[scores.product, 1][0], ends[product, 1][0])
            return Heads(softmax, outs, result, count, scores.scale, bias)
    return None


@dataclass(frozen=True, eq=False)
class _Scores:
    """``scale * product + added``, as a softmax reads it."""

    product: ir.Node
    scale: float
    added: tuple[ir.Value, ...]


def _scores(softmax: ir.Node) -> _Scores | None:
    value, scale = softmax.inputs[0], 1.0
    added: list[ir.Value] = []
    while (node := producer(value, "Add", "Div", "Mul", "MatMul")) is not None:
        first, second = node.inputs
        if node.op_type == "MatMul":
            return _Scores(node, scale, tuple(added))
        if first is None or second is None:
            return None
        if node.op_type == "Add":
            # Once scaled, what is added would have to be scaled as well.
            if scale != 1.0:
                return None
            value, other = (first, second) if _leads_to_product(first) else (second, first)
            added.append(other)
            continue
        constant = scalar_of(second)
        if constant is None:
            return None
        scale *= constant if node.op_type == "Mul" else 1 / constant
        value = first
    return None


def _leads_to_product(value: ir.Value) -> bool:
    while (node := producer(value, "Add", "Div", "Mul")) is not None and node.inputs[0] is not None:
        value = node.inputs[0]
    return producer(value, "MatMul") is not None


def _heads_of(reshape: ir.Node) -> int | None:
    """Heads of ``[batch, sequence, heads, size]``."""
    shape = reshape.outputs[0].shape
    heads = shape[2] if shape is not None and len(shape) == 4 else None
    return heads if isinstance(heads, int) else None


def _bias(added: tuple[ir.Value, ...]) -> ir.Value | None:
    """What differs between heads; what does not is the mask, which the operator is told otherwise."""
    of_heads = [value for value in added if value.shape is None or len(value.shape) != 4 or value.shape[1] != 1]
    return _unrepeated(of_heads[0]) if len(of_heads) == 1 else None


def _unrepeated(value: ir.Value) -> ir.Value:
    """What was repeated for every text of the batch, and need not be: the operators do so by themselves."""
    node = producer(value, "Expand")
    source = node.inputs[0] if node is not None else None
    one = source is not None and source.shape is not None and len(source.shape) == 4 and source.shape[0] == 1
    return source if one and source is not None else value
