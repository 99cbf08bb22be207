"""Attention of ModernBERT: query, key and value are one matrix, positions rotate them, and most layers see a window.

The graph cuts ``[batch, sequence, 3 * heads * size]`` into pieces of five dimensions and transposes each before the
standard operators rotate and attend. Here it is split in three where it lies, rotated there (the operator takes three
dimensions as well), and given to onnxruntime's ``MultiHeadAttention``, which has no transposed copies:

    q, k, v = Split(x Wqkv)
    MultiHeadAttention(RotaryEmbedding(q), RotaryEmbedding(k), v, attention_bias)

Windows and padding are the bias: 0 where the mask of the layer's kind lets a token see another, far below any score
where not; one for all layers of a kind. onnxruntime has no operator for the feed-forward part (GeGLU): it stays.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from dslora.export.surgery import CONTRIB, Builder, constant, only_user, producer, substitute, weights_of

# model_type of the families that are so.
ROTARY_ENCODERS: Final = frozenset({"modernbert"})
# exp of it is 0; a row of nothing else has a softmax still.
_UNSEEN: Final = -10_000.0


@dataclass(frozen=True, eq=False)
class _Rotated:
    """One of query, key and value before attention.

    Attributes:
        packed: ``[batch, sequence, 3 * heads * size]``.
        part: Which of the three it is.
        rotation: The operator that turns it, if any.
    """

    packed: ir.Value
    part: int
    rotation: ir.Node | None


def fuse_rotary_attention(graph: ir.Graph) -> None:
    """Rewrites every attention of this kind; what is another is left as it is."""
    masks: dict[ir.Value, ir.Value] = {}
    for node in [node for node in graph if node.op_type == "Attention" and not node.domain]:
        _fuse(graph, node, masks)


def _fuse(graph: ir.Graph, node: ir.Node, masks: dict[ir.Value, ir.Value]) -> None:
    parts = [_rotated(value) for value in node.inputs[:3]]
    back = only_user(node.outputs[0], "Transpose")
    result = only_user(back.outputs[0], "Reshape") if back is not None else None
    query = node.inputs[0]
    shape = query.shape if query is not None else None
    first = parts[0]
    if result is None or shape is None or first is None or _is_set(node, "is_causal") or _is_set(node, "softcap"):
        return
    found = [(part.packed, part.part) for part in parts if part is not None]
    if found != [(first.packed, number) for number in range(3)]:
        return
    heads, size = shape[1], shape[3]
    if not isinstance(heads, int) or not isinstance(size, int):
        return
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    scale = node.attributes.get("scale")
    build = Builder(f"{node.name}.fused")
    split = build.several("Split", 3, first.packed, axis=-1, num_outputs=3)
    turned = [
        _turn(build, value, part.rotation, heads) if part is not None else value
        for value, part in zip(split, parts, strict=True)
    ]
    value = build(
        "MultiHeadAttention",
        *turned,
        None,
        None,
        _bias(graph, node, mask, masks),
        domain=CONTRIB,
        num_heads=heads,
        scale=scale.as_float() if scale is not None else float(size) ** -0.5,
    )
    substitute(graph, result, build, value)


def _rotated(value: ir.Value | None) -> _Rotated | None:
    rotation = producer(value, "RotaryEmbedding")
    transpose = producer(rotation.inputs[0] if rotation is not None else value, "Transpose")
    piece = transpose.inputs[0] if transpose is not None else None
    squeeze = producer(piece, "Squeeze")
    cut = producer(squeeze.inputs[0], "Slice", "Split") if squeeze is not None else producer(piece, "Gather")
    if cut is None:
        return None
    part = _part(cut, squeeze.inputs[0] if squeeze is not None else None)
    reshape = producer(cut.inputs[0], "Reshape")
    packed = reshape.inputs[0] if reshape is not None else None
    five = cut.inputs[0]
    if part is None or packed is None or five is None or five.shape is None or len(five.shape) != 5:
        return None
    return _Rotated(packed, part, rotation)


def _part(cut: ir.Node, piece: ir.Value | None) -> int | None:
    """Which of the three a piece is."""
    if cut.op_type == "Split":
        return list(cut.outputs).index(piece) if piece is not None else None
    start = weights_of(cut.inputs[1])
    return int(start.reshape(-1)[0]) if start is not None and start.size == 1 else None


def _is_set(node: ir.Node, name: str) -> bool:
    attribute = node.attributes.get(name)
    return attribute is not None and bool(attribute.value)


def _turn(build: Builder, value: ir.Value, rotation: ir.Node | None, heads: int) -> ir.Value:
    if rotation is None:
        return value
    kept = {name: each.value for name, each in rotation.attributes.items()}
    return build("RotaryEmbedding", value, *rotation.inputs[1:], **{**kept, "num_heads": heads})


def _bias(graph: ir.Graph, node: ir.Node, mask: ir.Value | None, masks: dict[ir.Value, ir.Value]) -> ir.Value | None:
    """What is added to scores for a mask: of booleans, or what is added already."""
    if mask is None or mask.dtype == ir.DataType.FLOAT:
        return mask
    if mask not in masks:
        build = Builder(f"{mask.name}.bias")
        seen, unseen = (
            constant(graph, f"mask.{name}", np.float32(value)) for name, value in (("seen", 0.0), ("unseen", _UNSEEN))
        )
        masks[mask] = build("Where", mask, seen, unseen)
        graph.insert_before(node, build.take())
    return masks[mask]
