"""Computes for the token that the head reads, and for no other, whatever only that token needs.

After the last layer's attention no token needs another's value any more, so the row that is picked at the end of the
graph is picked there instead: output projection, feed-forward part and norms of the last layer see one token a text.
What a gate's mean over tokens reads is still computed for all of them.
"""

from typing import Final

import numpy as np
import onnx_ir as ir

from dslora.export.surgery import Builder, constant, producer, substitute

_NORMS: Final = ("RMSNormalization", "LayerNormalization")
# Operators that treat each token by itself, where their other inputs are constants or tokens too.
_BY_TOKEN: Final = frozenset({"Add", "Sum", "Sub", "Mul", "Div", "Sigmoid", "Tanh", "Gelu", "Relu", "MatMul", *_NORMS})


def pick_token_early(graph: ir.Graph) -> None:
    """Moves the choice of each text's token to before the operators that treat tokens one by one."""
    pick = _pick(graph)
    if pick is None:
        return
    data, index = pick.inputs
    assert data is not None
    moved = _movable(graph, pick)
    if data.producer() not in moved:
        return
    build = Builder(f"{pick.name}.early")
    axis = constant(graph, "axis.1", np.array([1], dtype=np.int64))
    # [batch, 1, 2]: a dimension of one token stays, so that what follows finds what it is used to.
    index = build("Unsqueeze", index, axis)
    picked: dict[ir.Value, ir.Value] = {}

    def one_token(value: ir.Value | None) -> ir.Value | None:
        if value is None or not _is_of_tokens(value):
            return value
        if value not in picked:
            picked[value] = build("GatherND", value, index)
            _set_type(picked[value], value)
        return picked[value]

    for node in [node for node in graph if node in moved]:
        inputs = [one_token(value) for value in node.inputs]
        attributes = {name: each.value for name, each in node.attributes.items()}
        (output,) = node.outputs
        picked[output] = build(node.op_type, *inputs, domain=node.domain, **attributes)
        picked[output].name = f"{output.name}.picked"
        _set_type(picked[output], output)
    substitute(graph, pick, build, build("Squeeze", picked[data], axis))


def _pick(graph: ir.Graph) -> ir.Node | None:
    """``hidden[arange(batch), last]`` of the last hidden state ``[batch, sequence, features]``."""
    for node in graph:
        index = producer(node.inputs[1], "Concat") if node.op_type == "GatherND" else None
        data = node.inputs[0]
        batched = node.attributes.get("batch_dims")
        if index is None or data is None or not _is_of_tokens(data) or (batched is not None and batched.as_int()):
            continue
        wide = [producer(value, "Unsqueeze") for value in index.inputs]
        if len(wide) == 2 and wide[1] is not None and producer(wide[1].inputs[0], "ArgMax") is not None:
            return node
    return None


def _movable(graph: ir.Graph, pick: ir.Node) -> set[ir.Node]:
    """Operators by token whose result nothing else reads than such operators and the choice of the token."""
    moved = {pick}
    for node in reversed(graph):
        users = {use.node for output in node.outputs for use in output.uses()}
        if users and users <= moved and _treats_tokens_one_by_one(node) and len(node.outputs) == 1:
            moved.add(node)
    moved.remove(pick)
    return moved


def _treats_tokens_one_by_one(node: ir.Node) -> bool:
    if node.op_type not in _BY_TOKEN or node.domain or not _is_of_tokens(node.outputs[0]):
        return False
    if node.outputs[0].is_graph_output():
        return False
    if node.op_type == "MatMul":
        x, weight = node.inputs
        return _is_of_tokens(x) and weight is not None and _sides(weight) == 2 and weight.is_initializer()
    if node.op_type in _NORMS:
        axis = node.attributes.get("axis")
        return _is_of_tokens(node.inputs[0]) and (axis is None or axis.as_int() in (-1, 2))
    return all(_is_of_tokens(value) or _is_same_for_tokens(value) for value in node.inputs)


def _sides(value: ir.Value) -> int | None:
    return len(value.shape) if value.shape is not None else None


def _is_of_tokens(value: ir.Value | None) -> bool:
    """``[batch, sequence, features]``."""
    return value is not None and value.shape is not None and len(value.shape) == 3 and value.shape[1] != 1


def _is_same_for_tokens(value: ir.Value | None) -> bool:
    """``[features]``, a scalar, or one number for each text ``[batch, 1, 1]``."""
    if value is None or value.shape is None:
        return False
    return len(value.shape) <= 1 or (len(value.shape) == 3 and value.shape[1] == 1)


def _set_type(value: ir.Value, like: ir.Value) -> None:
    assert like.shape is not None
    value.shape, value.type = ir.Shape([like.shape[0], 1, like.shape[2]]), like.type
