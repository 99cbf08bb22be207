"""Weights in blocks against NumPy's product, and whole graphs against float32."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from dslora.encoding import TextEncoder
from dslora.export.blocks import BLOCK, Bits, pack, quantize_blocks
from dslora.export.details import LabelledTexts
from dslora.export.layouts import arrange
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.quantize import quantizable
from dslora.export.session import GraphSession
from dslora.export.surgery import CONTRIB, node_counts

from .conftest import Export


def product(weight: np.ndarray, bits: Bits) -> np.ndarray:
    """What onnxruntime multiplies with, ``[K, N]``: its product with the unit matrix."""
    k, n = weight.shape
    packed, scales, zeros = pack(weight, bits)
    x = ir.Value(name="x", shape=ir.Shape(["rows", k]), type=ir.TensorType(ir.DataType.FLOAT))
    constants = [
        ir.Value(name=name, const_value=tensor, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))  # type: ignore[arg-type]
        for name, part in (("packed", packed), ("scales", scales), ("zeros", zeros))
        if part is not None
        for tensor in (ir.tensor(part, name=name),)
    ]
    attributes = {"K": k, "N": n, "bits": bits, "block_size": BLOCK}
    node = ir.node("MatMulNBits", [x, *constants], attributes=attributes, domain=CONTRIB)
    y = node.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [y], nodes=[node], initializers=constants, opset_imports={"": 23, CONTRIB: 1}, name="one")
    content = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": np.eye(k, dtype=np.float32)})[0]
    return result


# 80 is no multiple of a block, 160 has an odd number of them.
@pytest.mark.parametrize("k", [64, 80, 160])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_weight_is_within_half_a_step_of_itself(bits: Bits, k: int) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(k, 48)).astype(np.float32)
    weight[:, 3] = 0
    weight[:, 4] += 3
    weight[:BLOCK, 5] = np.abs(weight[:BLOCK, 5])
    got = product(weight, bits)
    _, scales, _ = pack(weight, bits)
    step = np.repeat(scales.T, BLOCK, axis=0)[:k]
    # The zero of 4 bits is rounded too, so the ends of a block may be off by one more half.
    assert (np.abs(got - weight) <= step * (1.01 if bits == 4 else 0.501) + 1e-6).all()
    assert np.abs(got - weight).mean() < 0.3 * step.mean()
    np.testing.assert_array_equal(got[:, 3], 0)


@pytest.mark.parametrize(("bits", "integers", "far"), [(8, False, 0.02), (8, True, 0.03), (4, True, 0.25)])
@pytest.mark.parametrize("base", ["bert", "llama"])
def test_a_graph_is_near_float32_and_its_answers_do_not_depend_on_the_batch(
    export: Export,
    encoder: TextEncoder,
    texts: LabelledTexts,
    tmp_path: Path,
    base: str,
    bits: Bits,
    integers: bool,
    far: float,
) -> None:
    graph = arrange(export(base, "ds-lora").graph, base, "small-gemm", "int8")
    windows = WindowedTexts.of(encoder, texts.texts).windows
    ir.save(graph, tmp_path / "exact.onnx")
    ir.save(quantize_blocks(graph, bits, integers=integers), tmp_path / "coarse.onnx")
    exact = Scores(*GraphSession(tmp_path / "exact.onnx", threads=1).run_in_batches(encoder, windows, 16))
    session = GraphSession(tmp_path / "coarse.onnx", threads=1)
    alone = Scores(*session.run_in_batches(encoder, windows, 1))
    # On average: a random model of this size magnifies whatever happens in its first layer.
    assert 0 < np.abs(alone.probabilities - exact.probabilities).mean() < far
    for size in (2, 8, 32):
        assert max(Scores(*session.run_in_batches(encoder, windows, size)).difference(alone)) <= 1e-5


def test_what_becomes_blocks(export: Export) -> None:
    graph = arrange(export("llama", "ds-lora").graph, "llama", "k-concat", "int4")
    products = sum(len(nodes) for nodes in quantizable(graph.graph).values())
    blocks = quantize_blocks(graph, 4, integers=True)
    assert node_counts(blocks)["com.microsoft.MatMulNBits"] == products > 0
    assert not quantizable(blocks.graph)
    names = {str(name): value.dtype for name, value in blocks.graph.initializers.items()}
    assert any(name.endswith("embed_tokens.weight.int8") for name in names)
    assert all(kind == ir.DataType.FLOAT for name, kind in names.items() if "lora_" in name or "head" in name)


def test_products_that_are_kept_stay_float32(export: Export) -> None:
    graph = arrange(export("bert", "ds-lora").graph, "bert", "k-concat", "int8")
    names = [str(x.name) for x in quantizable(graph.graph)]
    kept = quantize_blocks(graph, 8, integers=False, keep=names[:1])
    assert [str(x.name) for x in quantizable(kept.graph)] == names[:1]
