"""Attention of decoders, rewritten: query, key and value stay ``[batch, sequence, heads * size]`` all the way.

The reference graph cuts them into heads, transposes, rotates, repeats keys and values for every head of a group, masks
and transposes back. The operators do all of that on what lies there:

    q, k = RotaryEmbedding(q), RotaryEmbedding(k)            after each head's RMSNormalization in Qwen 3, Gemma 3
    Attention(q, k, v, is_causal)                            keys and values of a group are not repeated
    Attention(q, k, v, window)                               a window is one mask [sequence, sequence] for all texts
    GroupQueryAttention(q, k, v, softcap, local_window_size) where scores are capped (Gemma 2)

Real tokens come first in every row (``padding.py``), so looking back shows no padding. Milliseconds of one layer's
attention of SmolLM2's shape, 8 x 64 tokens, one thread: reference 1.56, standard operator 1.10 with or without a mask,
``GroupQueryAttention`` 1.43, ``MultiHeadAttention`` 1.98; with capped scores 3.7 and, by ``GroupQueryAttention``, 2.8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from dslora.export.adapters import Layer, Packed, plain
from dslora.export.attention_forms import Core, Side, attributes_of, core_of, side_of
from dslora.export.causal_mask import Causal, causal_mask
from dslora.export.last_token import pick_token_early
from dslora.export.padding import move_padding_right
from dslora.export.projections import Projection
from dslora.export.surgery import CONTRIB, Builder, constant, substitute

# GroupQueryAttention takes no other sizes of heads.
_SIZE_OF_CAPPED_HEADS: Final = 8


@dataclass(frozen=True, eq=False)
class _Heads:
    """Three projections that are query, key and value of causal attention, in that order."""

    group: list[Projection]
    sides: list[Side]
    core: Core
    window: int | None


class DecoderAttention:
    """Finds and rewrites the attention of one graph's decoder layers.

    Args:
        model: Is changed.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model, self._graph = model, model.graph
        self._masks: dict[ir.Value, Causal | None] = {}
        self._shared: dict[str, ir.Value] = {}
        self._fused = 0
        self._counts_positions = _has_table_of_positions(model.graph)

    def fuse(
        self,
        group: list[Projection],
        layout: Callable[[Layer], Packed] | None,
        gates: dict[ir.Value, tuple[ir.Value, int]],
    ) -> bool:
        """Rewrites the layer of these projections. Returns whether it is a decoder's and was rewritten."""
        heads = self._heads(group)
        if heads is None:
            return False
        build = Builder(f"{heads.group[0].name}.packed")
        layer = Layer(self._graph, heads.group, build, gates)
        if layer.branches and layout is None:
            parts = tuple(each.out for each in heads.group)
        else:
            parts = layer.parts(
                layout(layer) if layout is not None and layer.branches else plain(layer), with_bias=True
            )
        result = self._attend(
            build, heads, [self._turned(build, *each) for each in zip(parts, heads.sides, strict=True)]
        )
        substitute(self._graph, heads.core.result, build, result)
        self._fused += 1
        return True

    def finish(self) -> None:
        """What concerns the whole graph, once all layers were offered. Nothing, if none was rewritten."""
        if self._fused:
            move_padding_right(self._graph)
            pick_token_early(self._graph)
            # Exporters compute the angles of positions anew for every layer.
            CommonSubexpressionEliminationPass()(self._model)

    def _heads(self, group: list[Projection]) -> _Heads | None:
        if len(group) != 3 or self._counts_positions:
            return None
        sides = {each: side_of(each.out) for each in group}
        ends = {side.end: each for each, side in sides.items() if side is not None}
        core = core_of([side.end for side in sides.values() if side is not None])
        if core is None or any(value not in ends for value in (core.query, core.key, core.value)):
            return None
        order = [ends[value] for value in (core.query, core.key, core.value)]
        ordered = [side for side in (sides[each] for each in order) if side is not None]
        query, key, value = ordered
        if key.heads != value.heads or query.heads % key.heads or len({side.size for side in ordered}) != 1:
            return None
        if core.softcap and query.size % _SIZE_OF_CAPPED_HEADS:
            return None
        seen = self._seen(core.mask)
        return _Heads(order, ordered, core, seen.window) if seen is not None else None

    def _seen(self, mask: ir.Value | None) -> Causal | None:
        if mask is None:
            return Causal(None)
        if mask not in self._masks:
            self._masks[mask] = causal_mask(self._model, mask)
        return self._masks[mask]

    def _turned(self, build: Builder, value: ir.Value, side: Side) -> ir.Value:
        if side.norm is not None:
            apart = constant(self._graph, f"heads.of.{side.size}", np.array([0, 0, -1, side.size], dtype=np.int64))
            together = constant(self._graph, "heads.together", np.array([0, 0, -1], dtype=np.int64))
            normed = build(
                "RMSNormalization", build("Reshape", value, apart), side.norm.inputs[1], **attributes_of(side.norm)
            )
            value = build("Reshape", normed, together)
        if side.rotation is not None:
            attributes = {**attributes_of(side.rotation), "num_heads": side.heads}
            value = build("RotaryEmbedding", value, *side.rotation.inputs[1:], **attributes)
        return value

    def _attend(self, build: Builder, heads: _Heads, parts: list[ir.Value]) -> ir.Value:
        query, key, _ = heads.sides
        core = heads.core
        if core.softcap:
            return build.several(
                "GroupQueryAttention",
                3,
                *parts,
                None,
                None,
                self._once("attention.last", self._last_columns),
                self._once("attention.tokens", self._tokens),
                domain=CONTRIB,
                num_heads=query.heads,
                kv_num_heads=key.heads,
                scale=core.scale,
                softcap=core.softcap,
                local_window_size=heads.window or -1,
            )[0]
        window = heads.window
        mask = None if window is None else self._once(f"attention.window.{window}", lambda b: self._window(b, window))
        return build(
            "Attention",
            *parts,
            *(() if mask is None else (mask,)),
            q_num_heads=query.heads,
            kv_num_heads=key.heads,
            scale=core.scale,
            is_causal=int(mask is None),
        )

    def _once(self, name: str, make: Callable[[Builder], ir.Value]) -> ir.Value:
        """A value that all layers share, computed at the start of the graph."""
        if name not in self._shared:
            build = Builder(name)
            self._shared[name] = make(build)
            self._graph.insert_before(self._graph[0], build.take())
        return self._shared[name]

    def _number(self, value: int) -> ir.Value:
        return constant(self._graph, f"attention.{value}", np.array(value, dtype=np.int64))

    def _sequence(self, build: Builder) -> ir.Value:
        return build("Squeeze", build("Shape", self._graph.inputs[1], start=1, end=2))

    def _tokens(self, build: Builder) -> ir.Value:
        """Length of the padded rows, int32."""
        return build("Cast", self._sequence(build), to=int(ir.DataType.INT32))

    def _last_columns(self, build: Builder) -> ir.Value:
        """Last column of each row ``[batch]``, int32, padded or not.

        The operator would leave undefined what follows a row's real tokens, and a gate's mean multiplies that by 0.
        """
        last = build("Sub", self._sequence(build), self._number(1))
        batch = build("Shape", self._graph.inputs[1], start=0, end=1)
        return build("Expand", build("Cast", last, to=int(ir.DataType.INT32)), batch)

    def _window(self, build: Builder, tokens: int) -> ir.Value:
        """``[sequence, sequence]``: a token sees itself and up to ``tokens - 1`` before it."""
        at = build("Range", self._number(0), self._sequence(build), self._number(1))
        axis = constant(self._graph, "axis.1", np.array([1], dtype=np.int64))
        past = build("Sub", build("Unsqueeze", at, axis), at)
        return build(
            "And",
            build("GreaterOrEqual", past, self._number(0)),
            build("Less", past, self._number(tokens)),
        )


def _has_table_of_positions(graph: ir.Graph) -> bool:
    """Whether anything but tokens is looked up in a table: then a token's column matters, and padding must stay."""
    tables = [node for node in graph if node.op_type == "Gather" and _is_table(node.inputs[0])]
    return any(node.inputs[1] is not graph.inputs[0] for node in tables)


def _is_table(value: ir.Value | None) -> bool:
    if value is None or not value.is_initializer() or value.shape is None:
        return False
    return len(value.shape) == 2 and value.dtype == ir.DataType.FLOAT
