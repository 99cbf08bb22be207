"""Rewrites the reference graph into one that onnxruntime runs faster. It computes the same.

- Query, key and value are one product, their branches in one of the layouts of ``adapters.py``.
- Attention between heads is onnxruntime's own ``Attention`` (with the product inside, for float32) or
  ``MultiHeadAttention``, where a family is in ``KEY_PADDING``. Other families keep the standard operator.
- The embedding of token types, which are all 0, is part of the positions' table.
- ``Add`` before ``LayerNormalization`` is written as ``Sum``: see :func:`keep_norms_apart`.

It rewrites instead of building from weights, because what is outside attention (embeddings, norms, pooling, head)
then needs no code for each family, and every graph can be compared with the one it came from.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.adapters import ADAPTER_LAYOUTS, Layer, Packed, plain
from dslora.export.attention_forms import Heads
from dslora.export.biased_attention import biased_heads
from dslora.export.fused_decoder import DecoderAttention
from dslora.export.projections import Projection, groups_of_projections
from dslora.export.rotary_attention import ROTARY_ENCODERS, fuse_rotary_attention
from dslora.export.surgery import (
    CONTRIB,
    Builder,
    constant,
    only_user,
    producer,
    remove_unused,
    sides,
    substitute,
    weights_of,
)

# Families, by transformers' model_type, in which a token attends to every real token of its text and nothing else.
# The graph does not say so in a form that can be recognised; the comparison with PyTorch proves it.
KEY_PADDING: Final = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet"})


class FusionError(DsLoraError):
    """This graph cannot be fused; the reference layout is there for it."""


Attention = Literal["inside", "outside"]


def fuse(reference: ir.Model, model_type: str, adapter_layout: str, attention: Attention) -> ir.Model:
    """A faster copy of a reference graph.

    Args:
        reference: As PyTorch's exporter makes it, weights named; stays as it is.
        model_type: Of the base model.
        adapter_layout: Name in ``ADAPTER_LAYOUTS``.
        attention: Whether the product of query, key and value may be inside fused attention. The int8 form needs
            it outside.

    Raises:
        DsLoraError: The layout is not known.
        FusionError: Nothing was found to fuse.
    """
    if adapter_layout not in ADAPTER_LAYOUTS:
        raise DsLoraError(f"Layout {adapter_layout!r} is not known. Expected one of: {', '.join(ADAPTER_LAYOUTS)}.")
    model = reference.clone()
    graph = model.graph
    groups = groups_of_projections(graph)
    if not groups:
        raise FusionError(
            f"No projections of query, key and value were found in the graph of model type {model_type!r}, "
            "so there is nothing to fuse. Export with --layout reference."
        )
    gates: dict[ir.Value, tuple[ir.Value, int]] = {}
    mask = _mask(graph) if model_type in KEY_PADDING else None
    decoder = DecoderAttention(model)
    for group in groups:
        if mask is not None or not decoder.fuse(group, ADAPTER_LAYOUTS[adapter_layout], gates):
            _fuse_group(graph, group, ADAPTER_LAYOUTS[adapter_layout], mask, attention, gates)
    decoder.finish()
    if model_type in ROTARY_ENCODERS:
        fuse_rotary_attention(graph)
    _report_gates(graph, gates)
    _fold_token_types(graph)
    keep_norms_apart(graph)
    remove_unused(model)
    model.opset_imports[CONTRIB] = 1
    return model


def keep_norms_apart(graph: ir.Graph) -> None:
    """Writes the residual addition before a norm as ``Sum``.

    onnxruntime fuses ``Add`` and ``LayerNormalization`` into one operator whose CPU kernel is not vectorised:
    0.55 ms for 8 x 40 tokens of 384 features on one thread, against 0.14 ms for the two of them. ``Sum`` is
    the same addition and is not fused.
    """
    for norm in graph:
        if norm.op_type != "LayerNormalization":
            continue
        add = producer(norm.inputs[0], "Add")
        if add is None or any(value.is_initializer() for value in add.inputs if value):
            continue
        build = Builder(f"{norm.name}.residual")
        substitute(graph, add, build, build("Sum", *add.inputs))


def _mask(graph: ir.Graph) -> ir.Value:
    """The attention mask as onnxruntime's fused operators want it, int32."""
    build = Builder("mask.int32")
    mask = build("Cast", graph.inputs[1], to=int(ir.DataType.INT32))
    graph.insert_before(graph[0], build.take())
    return mask


def _fuse_group(
    graph: ir.Graph,
    group: list[Projection],
    layout: Callable[[Layer], Packed] | None,
    mask: ir.Value | None,
    attention: Attention,
    gates: dict[ir.Value, tuple[ir.Value, int]],
) -> None:
    heads = (_heads(group) or biased_heads(group)) if mask is not None else None
    branches = any(each.branch for each in group)
    if branches and layout is None:
        if heads is not None:
            build = Builder(f"{heads.node.name}.fused")
            heads.replace(
                graph, build, _multi_head(build, heads, [each.out for each in heads.order(group)], None, mask)
            )
        return
    group = heads.order(group) if heads is not None else group
    build = Builder(f"{group[0].name}.packed")
    layer = Layer(graph, group, build, gates)
    packed = plain(layer) if layout is None or not branches else layout(layer)
    bias = layer.bias()
    if heads is None:
        value = packed.computed(build)
        if bias is not None:
            value = build("Add", value, bias)
        _split(graph, layer, value)
    elif attention == "inside" and packed.product is not None:
        product = packed.product
        widths = {} if len(set(layer.sizes)) == 1 else {"qkv_hidden_sizes": layer.sizes}
        if product.source is not layer.x:
            widths = {"qkv_hidden_sizes": layer.sizes}
        none = np.zeros(sum(layer.sizes), dtype=np.float32)
        bias = bias if bias is not None else layer.constant("bias", none)
        result = build(
            "Attention",
            product.source,
            product.weight,
            bias,
            mask,
            *(() if heads.bias is None else (None, heads.bias)),
            domain=CONTRIB,
            num_heads=heads.count,
            scale=heads.scale,
            **widths,
        )
        heads.replace(graph, build, result)
    else:
        parts = layer.parts(packed)
        heads.replace(graph, build, _multi_head(build, heads, parts, bias, mask))


def _multi_head(
    build: Builder,
    heads: Heads,
    parts: Sequence[ir.Value],
    bias: ir.Value | None,
    mask: ir.Value | None,
) -> ir.Value:
    inputs = (*parts, bias, mask, *(() if heads.bias is None else (heads.bias,)))
    return build("MultiHeadAttention", *inputs, domain=CONTRIB, num_heads=heads.count, scale=heads.scale)


def _split(graph: ir.Graph, layer: Layer, value: ir.Value) -> None:
    """Gives the projections' users their part of the packed result."""
    outs = [each.out for each in layer.projections]
    parts: tuple[ir.Value, ...] = (value,)
    if len(outs) > 1:
        parts = layer.build.several("Split", len(outs), value, layer.widths(), axis=-1)
    first = _earliest(graph, [use.node for out in outs for use in out.uses()])
    graph.insert_before(first, layer.build.take())
    for out, part in zip(outs, parts, strict=True):
        part.shape, part.type = out.shape, out.type
        out.replace_all_uses_with(part)


def _earliest(graph: ir.Graph, nodes: list[ir.Node]) -> ir.Node:
    wanted = set(nodes)
    return next(node for node in graph if node in wanted)


def _heads(group: list[Projection]) -> Heads | None:
    """Follows three projections to one standard ``Attention``; None where something else lies between."""
    if len(group) != 3:
        return None
    found: dict[int, ir.Value] = {}
    node: ir.Node | None = None
    for each in group:
        reshape = only_user(each.out, "Reshape")
        transpose = only_user(reshape.outputs[0], "Transpose") if reshape is not None else None
        attention = only_user(transpose.outputs[0], "Attention") if transpose is not None else None
        if attention is None or transpose is None or (node is not None and attention is not node):
            return None
        node = attention
        found[list(attention.inputs).index(transpose.outputs[0])] = each.out
    if node is None or sorted(found) != [0, 1, 2] or len(node.outputs[0].uses()) != 1:
        return None
    back = only_user(node.outputs[0], "Transpose")
    result = only_user(back.outputs[0], "Reshape") if back is not None else None
    query = node.inputs[0]
    shape = query.shape if query is not None else None
    scale = node.attributes.get("scale")
    if result is None or shape is None or not isinstance(shape[1], int) or not isinstance(shape[3], int):
        return None
    return Heads(
        node,
        tuple(found[i] for i in range(3)),
        result,
        shape[1],
        scale.as_float() if scale is not None else float(shape[3]) ** -0.5,
    )


def _report_gates(graph: ir.Graph, gates: dict[ir.Value, tuple[ir.Value, int]]) -> None:
    """Takes the reported gates from the layers' factors, in which each gate stands once for each rank component."""
    if not gates:
        return
    last = next(output.producer() for output in graph.outputs if output.name == "gates")
    if last is None:
        return
    columns = [_reported(value) for value in (last.inputs if last.op_type == "Concat" else last.inputs[:1])]
    if last.op_type in ("Concat", "Unsqueeze") and all(column in gates for column in columns):
        sources: dict[ir.Value, int] = {}
        width = 0
        indices = []
        for column in columns:
            assert column is not None
            source, at = gates[column]
            if source not in sources:
                sources[source] = width
                width += _width(source)
            indices.append(sources[source] + at)
        build = Builder("gates.reported")
        together = build("Concat", *sources, axis=1) if len(sources) > 1 else next(iter(sources))
        wanted = constant(graph, "gates.columns", np.array(indices, dtype=np.int64))
        substitute(graph, last, build, build("Gather", together, wanted, axis=1))
        return
    for value, (source, at) in gates.items():
        build = Builder(f"{value.name}.column")
        node = value.producer()
        assert node is not None
        column = build("Gather", source, constant(graph, f"column.{at}", np.array(at, dtype=np.int64)), axis=1)
        first = _earliest(graph, [use.node for use in value.uses()])
        graph.insert_before(first, build.take())
        value.replace_all_uses_with(column)


def _reported(value: ir.Value | None) -> ir.Value | None:
    """The gate ``[batch]`` behind a column ``[batch, 1]`` of the output."""
    node = producer(value, "Unsqueeze")
    return node.inputs[0] if node is not None else value


def _width(factors: ir.Value) -> int:
    gemm = producer(producer(factors, "Sigmoid").inputs[0], "Gemm")  # type: ignore[union-attr]
    assert gemm is not None
    assert gemm.inputs[1] is not None
    return sides(gemm.inputs[1])[0]


def _fold_token_types(graph: ir.Graph) -> None:
    """Adds the embedding of token type 0, which is every token's, to the table of positions."""
    rows = [node for node in graph if node.op_type == "Gather" and node.inputs[0] is not None]
    types = [node for node in rows if str(node.inputs[0].name).endswith("token_type_embeddings.weight")]  # type: ignore[union-attr]
    positions = [node for node in rows if str(node.inputs[0].name).endswith("position_embeddings.weight")]  # type: ignore[union-attr]
    if len(types) != 1 or len(positions) != 1:
        return
    table, kind = positions[0].inputs[0], weights_of(types[0].inputs[0])
    add = only_user(types[0].outputs[0], "Add")
    values = weights_of(table)
    if add is None or kind is None or values is None or table is None or len(table.uses()) != 1:
        return
    first, second = add.inputs
    rest = second if first is types[0].outputs[0] else first
    if rest is None or add.outputs[0].is_graph_output():
        return
    table.const_value = ir.tensor(values + kind[0], name=table.name)
    add.outputs[0].replace_all_uses_with(rest)
