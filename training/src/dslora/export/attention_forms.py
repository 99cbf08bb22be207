"""Reads attention in the reference graph: heads of query, key and value, and what makes one result of them."""

from dataclasses import dataclass, replace
from typing import Any, Final

import onnx_ir as ir

from dslora.export.projections import Projection
from dslora.export.surgery import Builder, only_user, producer, scalar_of, substitute

_TO_HEADS: Final = (0, 2, 1, 3)
_TURNED: Final = (0, 1, 3, 2)


@dataclass(frozen=True, eq=False)
class Side:
    """One of query, key and value, from its projection to attention.

    Attributes:
        heads, size: ``[batch, sequence, heads * size]``.
        norm: Of each head, if there is one.
        rotation: The operator that turns it, if there is one.
        end: The value that attention reads.
    """

    heads: int
    size: int
    norm: ir.Node | None
    rotation: ir.Node | None
    end: ir.Value


@dataclass(frozen=True, eq=False)
class Core:
    """Attention itself, in whatever form.

    Attributes:
        query, key, value: Which ends it reads.
        mask: What it adds or asks; None where it is causal by itself.
        scale, softcap: Of the scores; a softcap of 0 is none.
        result: The node whose result is ``[batch, sequence, heads * size]`` again.
    """

    query: ir.Value
    key: ir.Value
    value: ir.Value
    mask: ir.Value | None
    scale: float
    softcap: float
    result: ir.Node


@dataclass(frozen=True, eq=False)
class Heads:
    """Attention of an encoder: the operators from three projections to what follows it.

    Attributes:
        node: The one that attends.
        outs: Query, key and value.
        result: The node whose result is heads side by side, ``[batch, sequence, heads * size]``.
        count: How many heads.
        scale: Of the products.
        bias: What is added to the scores beside the mask, ``[1, heads, sequence, sequence]``, if anything.
    """

    node: ir.Node
    outs: tuple[ir.Value, ...]
    result: ir.Node
    count: int
    scale: float
    bias: ir.Value | None = None

    def order(self, group: list[Projection]) -> list[Projection]:
        """Query, key, value."""
        return [next(each for each in group if each.out is out) for out in self.outs]

    def replace(self, graph: ir.Graph, build: Builder, result: ir.Value) -> None:
        substitute(graph, self.result, build, result)


def side_of(out: ir.Value) -> Side | None:
    """Follows a projection through its heads to attention; None where something else lies between."""
    nodes: list[ir.Node] = []
    value = out
    while (
        node := only_user(value, "Reshape", "Transpose", "RMSNormalization", "RotaryEmbedding", "Unsqueeze", "Expand")
    ) is not None and node.inputs[0] is value:
        nodes.append(node)
        value = node.outputs[0]
    shape = nodes[0].outputs[0].shape if nodes and nodes[0].op_type == "Reshape" else None
    heads, size = (shape[2], shape[3]) if shape is not None and len(shape) == 4 else (None, None)
    if not isinstance(heads, int) or not isinstance(size, int):
        return None
    return _read(nodes[1:], Side(heads, size, None, None, value))


def _read(nodes: list[ir.Node], side: Side) -> Side | None:
    """Each operator where it may stand."""
    transposed = repeated = turned = False
    for node in nodes:
        op, before = node.op_type, not repeated and not turned
        if op == "RMSNormalization" and before and side.norm is None and side.rotation is None and _is_last_axis(node):
            side = replace(side, norm=node)
        elif op == "Transpose" and before and not transposed and _permutation(node) == _TO_HEADS:
            transposed = True
        elif op == "RotaryEmbedding" and before and transposed and side.rotation is None:
            side = replace(side, rotation=node)
        elif op in ("Unsqueeze", "Expand", "Reshape") and transposed and not turned:
            repeated = True
        elif op == "Transpose" and transposed and not turned and _permutation(node) == _TURNED:
            turned = True
        else:
            return None
    return side if transposed else None


def core_of(ends: list[ir.Value]) -> Core | None:
    """The attention that reads these."""
    for end in ends:
        node = only_user(end, "Attention")
        if node is not None and not node.domain:
            return _operator(node)
        product = only_user(end, "MatMul")
        softmax = producer(product.inputs[0], "Softmax") if product is not None else None
        if product is not None and softmax is not None:
            return _written_out(softmax, product)
    return None


def _operator(node: ir.Node) -> Core | None:
    """The standard operator."""
    query, key, value, mask = (*node.inputs, None)[:4]
    result = _heads_together(node)
    shape = query.shape if query is not None else None
    causal = _number(node, "is_causal", 0.0) != 0
    # Causal and a mask besides: the mask would have to be looked at together with what it leaves out.
    if query is None or key is None or value is None or result is None or shape is None or len(node.inputs) > 4:
        return None
    if (mask is None) != causal or len(shape) != 4 or not isinstance(shape[3], int):
        return None
    scale = _number(node, "scale", float(shape[3]) ** -0.5)
    return Core(query, key, value, mask, scale, _number(node, "softcap", 0.0), result)


def _written_out(softmax: ir.Node, product: ir.Node) -> Core | None:
    """``softmax(cap * tanh(scale * q kᵀ / cap) + mask) v`` in operators of its own."""
    add = producer(softmax.inputs[0], "Add")
    value, result = product.inputs[1], _heads_together(product)
    if add is None or value is None or result is None:
        return None
    scores, mask = add.inputs
    softcap = 0.0
    times = producer(scores, "Mul")
    tanh = producer(times.inputs[0], "Tanh") if times is not None else None
    if times is not None and tanh is not None:
        cap, divided = scalar_of(times.inputs[1]), producer(tanh.inputs[0], "Div")
        if cap is None or divided is None or scalar_of(divided.inputs[1]) != cap:
            return None
        softcap, scores = cap, divided.inputs[0]
    times = producer(scores, "Mul")
    scale = scalar_of(times.inputs[1]) if times is not None else None
    scored = producer(times.inputs[0], "MatMul") if times is not None else None
    if scored is None or scale is None or mask is None:
        return None
    query, key = scored.inputs
    if query is None or key is None:
        return None
    return Core(query, key, value, mask, scale, softcap, result)


def _heads_together(node: ir.Node) -> ir.Node | None:
    back = only_user(node.outputs[0], "Transpose")
    if len(node.outputs) != 1 or back is None or _permutation(back) != _TO_HEADS:
        return None
    return only_user(back.outputs[0], "Reshape")


def _permutation(node: ir.Node) -> tuple[int, ...]:
    axes = node.attributes.get("perm")
    return tuple(axes.as_ints()) if axes is not None else ()


def _is_last_axis(norm: ir.Node) -> bool:
    return _number(norm, "axis", -1.0) in (-1.0, 3.0)


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.value)


def attributes_of(node: ir.Node) -> dict[str, Any]:
    return {name: each.value for name, each in node.attributes.items()}
