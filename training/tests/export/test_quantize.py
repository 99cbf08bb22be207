from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from dslora.encoding import TextEncoder
from dslora.export.details import LabelledTexts
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.quantize import WEIGHT_RANGE, integer_weights, quantize, quantize_columns, quantize_rows
from dslora.export.session import GraphSession

from .conftest import Export


@pytest.fixture(scope="module", params=["bert", "llama"])
def models(request: pytest.FixtureRequest, export: Export) -> tuple[ir.Model, ir.Model]:
    model = export(request.param, "ds-lora").graph
    return model, quantize(model)


def session(model: ir.Model, folder: Path) -> GraphSession:
    ir.save(model, folder / "model.onnx")
    return GraphSession(folder / "model.onnx", threads=1)


def test_close_to_float32(
    models: tuple[ir.Model, ir.Model], encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path
) -> None:
    windows = WindowedTexts.of(encoder, texts.texts).windows
    exact, coarse = (Scores(*session(model, tmp_path).run_in_batches(encoder, windows, 16)) for model in models)
    probabilities, gates = coarse.difference(exact)
    assert 0 < probabilities < 0.1
    assert gates < 0.1


def test_an_answer_does_not_depend_on_its_batch(
    models: tuple[ir.Model, ir.Model], encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path
) -> None:
    windows = WindowedTexts.of(encoder, texts.texts).windows
    run = session(models[1], tmp_path)
    alone = Scores(*run.run_in_batches(encoder, windows, 1))
    for size in (2, 8, 32):
        assert max(Scores(*run.run_in_batches(encoder, windows, size)).difference(alone)) <= 1e-5


def test_weights_never_saturate_without_vnni(models: tuple[ir.Model, ir.Model]) -> None:
    weights = dict(integer_weights(models[1]))
    # Query, key, value, output, and two or three of the feed-forward part, in two layers.
    assert len(weights) in (12, 14)
    for name, integers in weights.items():
        assert integers.dtype == np.int8, name
        assert np.abs(integers.astype(int)).max() <= WEIGHT_RANGE, name
    assert 2 * 255 * WEIGHT_RANGE <= 2**15 - 1


def test_small_parts_stay_float32(models: tuple[ir.Model, ir.Model]) -> None:
    graph = models[1].graph
    names = {str(name) for name in graph.initializers}
    assert any("lora_A" in name for name in names)
    for name, value in graph.initializers.items():
        if "lora_" in str(name) or "head" in str(name):
            assert value.dtype == ir.DataType.FLOAT, name
    assert not any("int8" in name and ("lora_" in name or "head" in name) for name in names)


def test_embeddings_are_int8_and_originals_gone(models: tuple[ir.Model, ir.Model]) -> None:
    exact, coarse = models[0].graph.initializers, models[1].graph.initializers
    words = next(name for name in exact if name is not None and ("word_embeddings" in name or "embed_tokens" in name))
    assert words not in coarse
    assert coarse[f"{words}.int8"].dtype == ir.DataType.INT8


def test_the_float32_graph_stays_as_it_is(export: Export) -> None:
    model = export("bert", "ds-lora").graph
    before = ir.to_proto(model).SerializeToString()
    quantize(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_projections_of_one_input_share_its_integers(models: tuple[ir.Model, ir.Model]) -> None:
    products = [node for node in models[1].graph if node.op_type == "MatMulIntegerToFloat"]
    inputs = {node.inputs[0] for node in products}
    # A layer reads four (BERT) or four (Llama: the gate and up projections share one) values.
    assert len(inputs) == 2 * 4
    assert sum(node.op_type == "QuantizeLinear" for node in models[1].graph) == len(inputs)


def test_a_row_of_zeros_is_not_divided_by_zero(encoder: TextEncoder, tmp_path: Path) -> None:
    x = ir.Value(name="attention_mask", shape=ir.Shape(["batch", "sequence"]), type=ir.TensorType(ir.DataType.INT64))
    ids = ir.Value(name="input_ids", shape=x.shape, type=x.type)
    weight = ir.tensor(np.ones((64, 64), np.float32), name="weight")
    stretch = ir.tensor(np.ones((1, 1, 64), np.float32), name="stretch")
    axis = ir.tensor(np.array([2], np.int64), name="axis")
    values = [
        ir.Value(name=tensor.name, const_value=tensor, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))  # type: ignore[arg-type]
        for tensor in (weight, stretch, axis)
    ]
    nodes = [ir.node("Cast", [x], attributes={"to": int(ir.DataType.FLOAT)})]
    nodes.append(ir.node("Unsqueeze", [nodes[0].outputs[0], values[2]]))
    nodes.append(ir.node("Mul", [nodes[1].outputs[0], values[1]]))
    nodes.append(ir.node("MatMul", [nodes[2].outputs[0], values[0]], name="product"))
    nodes.append(ir.node("Cast", [ids], attributes={"to": int(ir.DataType.FLOAT)}))
    for node, name in zip(nodes, "abcde", strict=True):
        node.outputs[0].name = name
    nodes[3].outputs[0].name, nodes[4].outputs[0].name = "probabilities", "gates"
    for output in (nodes[3].outputs[0], nodes[4].outputs[0]):
        output.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [ids, x], [nodes[3].outputs[0], nodes[4].outputs[0]], nodes=nodes, initializers=values, opset_imports={"": 23}
    )
    run = session(quantize(ir.Model(graph, ir_version=10)), tmp_path)

    # The second row is shorter, so its last token has mask 0 and a row of zeros.
    y, _ = run.run(encoder, [[2, 4, 3], [2, 3]])

    assert np.isfinite(y).all()
    np.testing.assert_allclose(y[0], 64, rtol=1e-5)
    np.testing.assert_array_equal(y[1, 2], 0)


def test_scales() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(80, 5)).astype(np.float32)
    weight[:, 3] = 0
    integers, scales = quantize_columns(weight)
    assert scales.shape == (5,)
    assert (np.abs(integers).max(axis=0) == [63, 63, 63, 0, 63]).all()
    assert (np.abs(integers * scales - weight) <= scales / 2 + 1e-7).all()
    integers, scales = quantize_rows(weight)
    assert scales.shape == (80, 1)
    assert (np.abs(integers * scales - weight) <= scales / 2 + 1e-7).all()
