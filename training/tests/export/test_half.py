"""fp16 graphs, run on the CPU, which computes float16 or casts where it has no kernel."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.details import LabelledTexts
from dslora.export.half import to_half
from dslora.export.layouts import arrange
from dslora.export.parity import LIMITS
from dslora.export.session import GraphSession
from dslora.export.surgery import producer

from .conftest import Export, in_batches

ATTENTION = ("Attention", "MultiHeadAttention", "GroupQueryAttention")


@pytest.mark.parametrize("layout", ["reference", "k-concat", "one-gemm", "small-gemm", "naive"])
@pytest.mark.parametrize(
    ("base", "adapter"), [("bert", {}), ("bert", {"gate_pooling": "token", "gate_hidden": 0}), ("llama", {})]
)
def test_it_computes_what_pytorch_computes(
    export: Export,
    encoder: TextEncoder,
    texts: LabelledTexts,
    tmp_path: Path,
    base: str,
    adapter: dict[str, object],
    layout: str,
) -> None:
    exported = export(base, "ds-lora", **adapter)
    ir.save(to_half(arrange(exported.graph, base, layout, "fp16")), tmp_path / "model.onnx")
    session = GraphSession(tmp_path / "model.onnx", threads=1)
    for got, expected in in_batches(session, exported.classifier, encoder, texts, (1, 7)):
        assert got.probabilities.dtype == got.gates.dtype == np.float32
        assert max(got.difference(expected)) <= LIMITS["fp16"].probabilities


@pytest.mark.parametrize("base", ["bert", "llama"])
@pytest.mark.parametrize("layout", ["reference", "k-concat"])
def test_what_is_float16_and_what_is_not(export: Export, base: str, layout: str) -> None:
    arranged = arrange(export(base, "ds-lora").graph, base, layout, "fp16")
    half = to_half(arranged)
    weights = {str(name): value for name, value in half.graph.initializers.items()}
    for name, value in weights.items():
        assert value.const_value is not None
        decides = any(part in name for part in ("lora_gate", "head", "orm"))
        if len(value.const_value.shape) == 2:
            assert (value.dtype == ir.DataType.FLOAT) == decides, name
    for node in half.graph:
        kinds = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
        if "Normalization" in node.op_type or node.op_type in ("Softmax", "Gemm", "Pow"):
            assert ir.DataType.FLOAT16 not in kinds, node.op_type
        elif node.op_type in ATTENTION:
            assert node.outputs[0].dtype == ir.DataType.FLOAT16
            if not node.domain:
                assert node.attributes["softmax_precision"].as_int() == ir.DataType.FLOAT
    size = sum(value.nbytes for value in _values(half))
    assert size < 0.65 * sum(value.nbytes for value in _values(arranged))


def test_the_residual_stream_stays_float32(export: Export) -> None:
    half = to_half(arrange(export("llama", "ds-lora").graph, "llama", "k-concat", "fp16"))
    norms = [node for node in half.graph if "Normalization" in node.op_type]
    assert norms
    for norm in norms:
        # What a norm reads is the stream itself and no float16 that was widened again.
        cast = producer(norm.inputs[0], "Cast")
        assert cast is None or producer(cast.inputs[0], "Gather") is not None


def test_a_value_is_cast_once(export: Export) -> None:
    half = to_half(arrange(export("bert", "ds-lora").graph, "bert", "small-gemm", "fp16"))
    casts = [(node.inputs[0], node.attributes["to"].as_int()) for node in half.graph if node.op_type == "Cast"]
    assert len(casts) == len(set(casts))


def test_the_float32_graph_stays_as_it_is(export: Export) -> None:
    model = export("bert", "ds-lora").graph
    before = ir.to_proto(model).SerializeToString()
    to_half(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_a_weight_that_float16_cannot_hold_is_refused(export: Export) -> None:
    model = export("bert", "ds-lora").graph.clone()
    name = "encoder.layer.0.intermediate.dense.weight.T"
    weight = model.graph.initializers[name]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1e7), name=name)
    with pytest.raises(DsLoraError, match=rf"{name} holds values beyond 65504.*--graphs fp32"):
        to_half(model)


def _values(model: ir.Model) -> list[ir.TensorProtocol]:
    return [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
