"""Brings every text to the left of its row, so that what follows need only know padding on the right."""

import numpy as np
import onnx_ir as ir

from dslora.export.surgery import Builder, constant


def move_padding_right(graph: ir.Graph) -> None:
    """Rotates each row until its first real token comes first. A row padded on the right, or not at all, stays.

    Behind causal attention a real token then sees no padding, and no mask is needed. It changes nothing where positions
    only count as distances, as with rotary embeddings.
    """
    ids, mask = graph.inputs
    build = Builder("padding.right")
    zero, step = (constant(graph, f"padding.{n}", np.array(n, dtype=np.int64)) for n in (0, 1))
    users = {value: list(value.uses()) for value in (ids, mask)}
    sequence = build("Squeeze", build("Shape", mask, start=1, end=2))
    first = build("ArgMax", mask, axis=1, keepdims=1)
    columns = build("Mod", build("Add", build("Range", zero, sequence, step), first), sequence)
    for value in (ids, mask):
        moved = build("GatherElements", value, columns, axis=1)
        moved.shape, moved.type = value.shape, value.type
        for use in users[value]:
            use.node.replace_input_with(use.idx, moved)
    graph.insert_before(graph[0], build.take())
