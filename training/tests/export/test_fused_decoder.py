"""Decoders' graphs: what is recognised, what is fused, and what is computed for one token only."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from dslora.encoding import TextEncoder
from dslora.export.causal_mask import Causal, causal_mask
from dslora.export.details import LabelledTexts
from dslora.export.fused import fuse
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.padding import move_padding_right
from dslora.export.session import GraphSession
from dslora.export.surgery import node_counts

from .conftest import Export

IDS = np.array([[11, 12, 13, 14], [11, 12, 1, 1], [1, 1, 1, 11]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]])


def attention_mask(model: ir.Model) -> ir.Value:
    mask = next(node.inputs[3] for node in model.graph if node.op_type == "Attention")
    assert mask is not None
    return mask


def run(model: ir.Model, folder: Path, ids: NDArray[Any], mask: NDArray[Any]) -> list[NDArray[np.float32]]:
    ir.save(model, folder / "model.onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {"input_ids": ids, "attention_mask": mask})
    return outputs


def test_what_is_fused_for_a_decoder(export: Export) -> None:
    reference = export("llama", "ds-lora").graph
    counts = node_counts(fuse(reference, "llama", "k-concat", "inside"))
    assert counts["Attention"] == 2
    # Heads are never apart, keys and values never repeated, and the angles are computed once.
    assert not {"Transpose", "Reshape", "LessOrEqual"} & set(counts)
    assert counts["Cos"] == counts["Sin"] == 1
    assert counts["Expand"] == 2
    assert sum(counts.values()) < 0.6 * len(reference.graph)


def test_the_last_layer_computes_one_token(export: Export) -> None:
    fused = fuse(export("llama", "ds-lora").graph, "llama", "k-concat", "inside")
    one_token = [
        str(node.inputs[1].name)
        for node in fused.graph
        if node.op_type == "MatMul" and node.inputs[1] and node.inputs[0] and ".picked" in str(node.outputs[0].name)
    ]
    assert sorted(one_token) == [
        "layers.1.mlp.down_proj.weight.T",
        "layers.1.mlp.gate_proj.weight.T",
        "layers.1.mlp.up_proj.weight.T",
        "layers.1.self_attn.o_proj.weight.T",
    ]


@pytest.mark.parametrize("layout", ["k-concat", "naive"])
def test_gates_behind_attention_read_all_tokens(
    export: Export, encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path, layout: str
) -> None:
    reference = export("llama", "ds-lora", target_modules=("q_proj", "v_proj", "o_proj", "down_proj")).graph
    fused = fuse(reference, "llama", layout, "outside")
    windows = WindowedTexts.of(encoder, texts.texts[:16]).windows
    ir.save(reference, tmp_path / "reference.onnx")
    ir.save(fused, tmp_path / "fused.onnx")
    theirs, ours = (
        Scores(*GraphSession(tmp_path / f"{name}.onnx", threads=1).run_in_batches(encoder, windows, 7))
        for name in ("reference", "fused")
    )
    assert max(ours.difference(theirs)) <= 1e-5


def test_a_text_is_the_same_wherever_its_padding_is(export: Export, tmp_path: Path) -> None:
    fused = fuse(export("llama", "ds-lora").graph, "llama", "k-concat", "inside")
    mixed = run(fused, tmp_path, IDS, MASK)
    for row, length in enumerate(MASK.sum(axis=1)):
        real = IDS[row][MASK[row] == 1][None]
        alone = run(fused, tmp_path, real, np.ones((1, length), dtype=np.int64))
        for batched, single in zip(mixed, alone, strict=True):
            np.testing.assert_allclose(batched[row], single[0], atol=1e-6)


def test_a_row_of_padding_disturbs_nobody(export: Export, tmp_path: Path) -> None:
    fused = fuse(export("llama", "ds-lora").graph, "llama", "k-concat", "inside")
    with_it = run(fused, tmp_path, np.vstack([IDS, IDS[:1]]), np.vstack([MASK, np.zeros((1, 4), dtype=np.int64)]))
    for values, without in zip(with_it, run(fused, tmp_path, IDS, MASK), strict=True):
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values[:3], without, atol=1e-6)


def test_a_decoders_mask_is_recognised(export: Export) -> None:
    reference = export("llama", "ds-lora").graph
    assert causal_mask(reference, attention_mask(reference)) == Causal(None)


@pytest.mark.parametrize("tokens", [2, 4096])
def test_a_window_is_recognised_whatever_its_size(export: Export, tokens: int) -> None:
    model = export("llama", "ds-lora").graph.clone()
    node = next(node for node in model.graph if node.op_type == "LessOrEqual")
    # j <= i becomes j <= i and j > i - tokens.
    column, row = node.inputs
    users = list(node.outputs[0].uses())
    size = ir.Value(name="size", const_value=ir.tensor(np.array(tokens)), shape=ir.Shape([]))
    model.graph.register_initializer(size)
    start = ir.node("Sub", [row, size])
    inside = ir.node("Greater", [column, start.outputs[0]])
    both = ir.node("And", [node.outputs[0], inside.outputs[0]])
    both.outputs[0].type = node.outputs[0].type
    for use in users:
        use.node.replace_input_with(use.idx, both.outputs[0])
    model.graph.insert_after(node, [start, inside, both])
    assert causal_mask(model, attention_mask(model)) == Causal(tokens)


def test_other_masks_are_no_decoders(export: Export) -> None:
    encoder = export("bert", "ds-lora").graph
    assert causal_mask(encoder, attention_mask(encoder)) is None
    backwards = export("llama", "ds-lora").graph.clone()
    node = next(node for node in backwards.graph if node.op_type == "LessOrEqual")
    first, second = node.inputs
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)
    assert causal_mask(backwards, attention_mask(backwards)) is None


def test_a_model_that_counts_positions_keeps_its_padding(export: Export) -> None:
    model = export("llama", "ds-lora").graph.clone()
    graph = model.graph
    embedding = next(node for node in graph if node.op_type == "Gather")
    table = ir.Value(name="positions", const_value=ir.tensor(np.zeros((64, 64), np.float32)), shape=ir.Shape([64, 64]))
    table.type = ir.TensorType(ir.DataType.FLOAT)
    graph.register_initializer(table)
    column = ir.node("Mul", [graph.inputs[1], graph.inputs[1]])
    rows = ir.node("Gather", [table, column.outputs[0]])
    total = ir.node("Add", [embedding.outputs[0], rows.outputs[0]])
    for use in list(embedding.outputs[0].uses()):
        if use.node is not total:
            use.node.replace_input_with(use.idx, total.outputs[0])
    graph.insert_after(embedding, [column, rows, total])
    assert "GatherElements" not in node_counts(fuse(model, "llama", "k-concat", "inside"))


def test_padding_is_moved_to_the_right(tmp_path: Path) -> None:
    inputs = [
        ir.Value(name=name, shape=ir.Shape(["batch", "sequence"]), type=ir.TensorType(ir.DataType.INT64))
        for name in ("input_ids", "attention_mask")
    ]
    nodes = [ir.node("Identity", [each]) for each in inputs]
    for node in nodes:
        node.outputs[0].type = inputs[0].type
    graph = ir.Graph(inputs, [node.outputs[0] for node in nodes], nodes=nodes, opset_imports={"": 23}, name="graph")
    move_padding_right(graph)
    ids, mask = run(ir.Model(graph, ir_version=10), tmp_path, IDS, MASK)
    np.testing.assert_array_equal(mask, np.sort(MASK, axis=1)[:, ::-1])
    np.testing.assert_array_equal(ids, [[11, 12, 13, 14], [11, 12, 1, 1], [11, 1, 1, 1]])
