"""Small operations on a graph that several rewritings share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

CONTRIB = "com.microsoft"

Floats = NDArray[np.float32]


class Builder:
    """Makes nodes in the order of calls; each call returns the node's one output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[ir.Node] = []
        self._made = 0

    def __call__(self, op: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        return self.several(op, 1, *inputs, domain=domain, **attributes)[0]

    def several(
        self, op: str, outputs: int, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """A node with more than one output."""
        self._made += 1
        name = f"{self._name}.{self._made}"
        node = ir.node(op, inputs, attributes=attributes, domain=domain, name=name, num_outputs=outputs)
        for number, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}.{number}"
        self._nodes.append(node)
        return tuple(node.outputs)

    def take(self) -> list[ir.Node]:
        nodes, self._nodes = self._nodes, []
        return nodes


def constant(graph: ir.Graph, name: str, values: NDArray[Any] | np.generic) -> ir.Value:
    """The graph's constant of that name, made from ``values`` if it is new."""
    return registered(graph, ir.tensor(np.asarray(values), name=name))


class Widened(ir.LazyTensor):
    """float32 values of a constant that is stored with fewer bits, computed each time that somebody reads them.

    Attributes:
        stored: That constant. Who wants fewer bits again reads it, and has no float32 copy in memory.
    """

    def __init__(self, stored: ir.TensorProtocol, name: str) -> None:
        def widen() -> ir.TensorProtocol:
            return ir.tensor(stored.numpy().astype(np.float32), name=name)

        super().__init__(widen, ir.DataType.FLOAT, ir.Shape(stored.shape.numpy()), name=name)
        self.stored = stored


def widened(graph: ir.Graph, name: str, stored: ir.TensorProtocol) -> ir.Value:
    """The graph's constant of that name: a stored one in float32."""
    return registered(graph, Widened(stored, name))


def later(
    graph: ir.Graph, name: str, shape: tuple[int, ...], dtype: ir.DataType, make: Callable[[], NDArray[Any]]
) -> ir.Value:
    """The graph's constant of that name, computed from other weights each time that somebody reads it.

    So what is made of large weights is in memory only while it is written.

    Args:
        graph: Gets the constant.
        name: Of the constant.
        shape: Of what ``make`` returns.
        dtype: The same.
        make: Computes it.
    """

    def compute() -> ir.TensorProtocol:
        return ir.tensor(np.ascontiguousarray(make()), name=name)

    return registered(graph, ir.LazyTensor(compute, dtype, ir.Shape(shape), name=name))


def registered(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """The graph's constant of a tensor's name, which is the tensor if it is new."""
    name = str(tensor.name)
    if name not in graph.initializers:
        graph.register_initializer(
            ir.Value(
                name=name,
                const_value=tensor,
                shape=ir.Shape(tensor.shape.numpy()),
                type=ir.TensorType(tensor.dtype),
            )
        )
    return graph.initializers[name]


def substitute(graph: ir.Graph, node: ir.Node, build: Builder, result: ir.Value) -> None:
    """Puts the builder's nodes in the place of a node with one output, of which ``result`` takes name and users."""
    old = node.outputs[0]
    graph.insert_before(node, build.take())
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    # Whoever reads both graphs finds a value under one name; an output of the graph must keep its own.
    result.name, result.shape, result.type = old.name, old.shape, old.type


def remove_unused(model: ir.Model) -> None:
    """Takes out nodes and weights that no output depends on."""
    RemoveUnusedNodesPass()(model)


def weights_of(value: ir.Value | None) -> Floats | None:
    """A constant's values as float32; None for what is computed."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy().astype(np.float32, copy=False)


def sides(value: ir.Value) -> tuple[int, ...]:
    """Shape of a constant."""
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def producer(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The node that computes a value, if it is of one of the kinds."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in ops else None


def only_user(value: ir.Value, *ops: str) -> ir.Node | None:
    """The one node that reads a value, if there is exactly one and it is of one of the kinds."""
    users = {use.node for use in value.uses()}
    if len(users) != 1 or value.is_graph_output():
        return None
    (user,) = users
    return user if user.op_type in ops else None


def scalar_of(value: ir.Value | None) -> float | None:
    """A constant of one element."""
    values = weights_of(value)
    return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def node_counts(model: ir.Model) -> dict[str, int]:
    """How many nodes of each kind a graph has, most frequent first; onnxruntime's own kinds with their domain."""
    counts: dict[str, int] = {}
    for node in model.graph:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
