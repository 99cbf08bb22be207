"""Fused graphs against the reference graph, which test_graph.py holds against PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.calibrate import activation_bounds
from dslora.export.details import LabelledTexts
from dslora.export.fused import FusionError, fuse
from dslora.export.layouts import AUTO, LAYOUTS, LayoutFigure, arrange, candidates, fastest, table, time_layouts
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.precisions import variants
from dslora.export.quantize import quantizable, quantize, smooth
from dslora.export.sensitivity import most_sensitive_first
from dslora.export.session import GraphSession
from dslora.export.surgery import node_counts

from .conftest import Export

FUSED = [name for name in LAYOUTS if name != "reference"]


def session(model: ir.Model, folder: Path) -> GraphSession:
    ir.save(model, folder / "model.onnx")
    return GraphSession(folder / "model.onnx", threads=1)


@pytest.mark.parametrize("attention", ["inside", "outside"])
@pytest.mark.parametrize("layout", FUSED)
@pytest.mark.parametrize(
    ("base", "method", "adapter"),
    [
        ("bert", "ds-lora", {}),
        ("bert", "ds-lora", {"gate_hidden": 0}),
        ("bert", "ds-lora", {"gate_pooling": "token", "gate_hidden": 0}),
        ("bert", "ds-lora", {"gate_kind": "parameter-free"}),
        ("bert", "lora", {}),
        ("llama", "ds-lora", {}),
    ],
)
def test_a_fused_graph_computes_the_same(
    export: Export,
    encoder: TextEncoder,
    texts: LabelledTexts,
    tmp_path: Path,
    base: str,
    method: str,
    adapter: dict[str, Any],
    layout: str,
    attention: Any,
) -> None:
    reference = export(base, method, **adapter).graph
    fused = fuse(reference, base, layout, attention)
    windows = WindowedTexts.of(encoder, texts.texts[:24]).windows
    expected, got = session(reference, tmp_path), session(fused, tmp_path)
    for size in (1, 7):
        theirs = Scores(*expected.run_in_batches(encoder, windows, size))
        ours = Scores(*got.run_in_batches(encoder, windows, size))
        assert ours.gates.shape == theirs.gates.shape
        assert max(ours.difference(theirs)) <= 1e-5


def test_what_is_fused_for_an_encoder(export: Export) -> None:
    reference = export("bert", "ds-lora").graph
    inside = node_counts(fuse(reference, "bert", "k-concat", "inside"))
    outside = node_counts(fuse(reference, "bert", "k-concat", "outside"))
    assert inside["com.microsoft.Attention"] == outside["com.microsoft.MultiHeadAttention"] == 2
    assert "Attention" not in inside
    # Two products for the gates of each layer, and the head.
    assert inside["Gemm"] == 5
    assert not {"GatherND", "Range", "Transpose"} & set(inside)
    assert sum(inside.values()) < 0.6 * len(reference.graph)


def test_an_unknown_family_keeps_the_standard_attention(export: Export) -> None:
    counts = node_counts(fuse(export("bert", "ds-lora").graph, "somebert", "k-concat", "inside"))
    assert counts["Attention"] == 2


def test_an_unknown_layout_is_refused(export: Export) -> None:
    with pytest.raises(DsLoraError, match="Expected one of: k-concat"):
        fuse(export("bert", "ds-lora").graph, "bert", "fastest", "inside")


def test_a_graph_without_projections_is_not_fused() -> None:
    x = ir.Value(name="x", shape=ir.Shape([2, 2]), type=ir.TensorType(ir.DataType.FLOAT))
    relu = ir.node("Relu", [x])
    model = ir.Model(ir.Graph([x], relu.outputs, nodes=[relu], opset_imports={"": 23}), ir_version=10)
    with pytest.raises(FusionError, match="--layout reference"):
        fuse(model, "bert", "k-concat", "inside")


def test_the_reference_stays_as_it_is(export: Export) -> None:
    reference = export("bert", "ds-lora").graph
    before = ir.to_proto(reference).SerializeToString()
    fuse(reference, "bert", "k-concat", "inside")
    assert ir.to_proto(reference).SerializeToString() == before


@pytest.mark.parametrize("layout", ["k-concat", "small-gemm"])
@pytest.mark.parametrize("fixed", [True, False])
def test_int8_on_a_fused_graph(
    export: Export, encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path, layout: str, fixed: bool
) -> None:
    reference = export("bert", "ds-lora").graph
    fused = arrange(reference, "bert", layout, "int8")
    windows = WindowedTexts.of(encoder, texts.texts).windows
    bounds = activation_bounds(fused, encoder, windows[:60], threads=1) if fixed else {}
    run = session(quantize(fused, bounds), tmp_path)
    alone = Scores(*run.run_in_batches(encoder, windows, 1))
    for size in (2, 8, 32):
        assert max(Scores(*run.run_in_batches(encoder, windows, size)).difference(alone)) <= 1e-5
    exact = Scores(*session(fused, tmp_path).run_in_batches(encoder, windows, 16))
    assert 0 < max(alone.difference(exact)) < 0.1


def test_products_that_are_kept_stay_float32(export: Export, encoder: TextEncoder) -> None:
    fused = arrange(export("bert", "ds-lora").graph, "bert", "k-concat", "int8")
    bounds = activation_bounds(fused, encoder, [[2, 5, 3]], threads=1)
    all_of_them, some = (node_counts(quantize(fused, bounds, keep)) for keep in ((), list(bounds)[:2]))
    assert all_of_them["com.microsoft.MatMulIntegerToFloat"] == 12
    assert some["com.microsoft.MatMulIntegerToFloat"] == 8


def test_bounds_are_the_largest_values_of_features(export: Export, encoder: TextEncoder) -> None:
    graph = arrange(export("bert", "ds-lora").graph, "bert", "k-concat", "int8")
    one, other = [2, 5, 9, 3], [2, 30, 3]
    both = activation_bounds(graph, encoder, [one, other], threads=1)
    single = [activation_bounds(graph, encoder, [window], threads=1) for window in (one, other)]
    # Query, key, value; attention's output; two of the feed-forward part; in two layers.
    assert len(both) == 8
    for name, values in both.items():
        np.testing.assert_array_equal(values, np.maximum(single[0][name], single[1][name]))


def test_smoothing_evens_out() -> None:
    factors = smooth(np.array([100, 1], np.float32), [np.array([[1, 2], [1, -2]], np.float32)])
    np.testing.assert_allclose(factors, [10 / 2**0.5, 1 / 2**0.5], rtol=1e-6)


def test_layouts_are_timed_and_the_fastest_named(export: Export) -> None:
    reference = export("bert", "ds-lora").graph
    names = candidates(reference, AUTO)
    assert names == [*FUSED, "reference"]
    assert candidates(export("bert", "lora").graph, AUTO) == ["k-concat", "reference"]
    figures = time_layouts({name: arrange(reference, "bert", name, "fp32") for name in names}, [(1, 4), (2, 6)])
    assert [figure.layout for figure in figures] == names
    assert all(set(figure.milliseconds) == {"1x4", "2x6"} for figure in figures)
    assert all(milliseconds > 0 for figure in figures for milliseconds in figure.milliseconds.values())
    assert fastest(figures) in names
    assert table(figures).count("\n") == len(names)
    with pytest.raises(DsLoraError, match="Expected one of: auto, reference"):
        candidates(reference, "fastest")


@pytest.mark.parametrize(
    ("milliseconds", "named"),
    [
        ({"1x32": 10.0, "8x64": 102.0}, "fewest nodes"),
        ({"1x32": 10.2, "8x64": 105.0}, "least time"),
        ({"1x32": 9.9, "8x64": 99.0}, "fewest nodes"),
    ],
)
def test_of_layouts_as_fast_as_each_other_the_one_of_fewest_nodes_is_taken(
    milliseconds: dict[str, float], named: str
) -> None:
    figures = [
        LayoutFigure("least time", 415, {"1x32": 10.0, "8x64": 100.0}),
        LayoutFigure("fewest nodes", 326, milliseconds),
        LayoutFigure("slow", 100, {"1x32": 20.0, "8x64": 200.0}),
    ]
    assert fastest(figures) == named


def test_products_are_ordered_by_what_int8_does_to_them(
    export: Export, encoder: TextEncoder, texts: LabelledTexts
) -> None:
    fused = arrange(export("bert", "ds-lora").graph, "bert", "k-concat", "int8").clone()
    names = [str(x.name) for x in quantizable(fused.graph)]
    damaged = quantizable(fused.graph)[next(x for x in quantizable(fused.graph) if x.name == names[5])][0].inputs[1]
    assert damaged is not None
    assert damaged.const_value is not None
    values = damaged.const_value.numpy().copy()
    # One row that hardly any text uses makes the column scales so coarse that the others are lost.
    values[0] = 50
    damaged.const_value = ir.tensor(values, name=damaged.name)
    windows = WindowedTexts.of(encoder, texts.texts[:12]).windows
    order = most_sensitive_first(fused, encoder, windows, threads=1)
    assert sorted(order) == sorted(names)
    assert order[0] == names[5]
    tried = list(variants("int8", fused, {}, lambda model: order, kinds=["row"]))
    assert [(each.scales, len(each.kept)) for each in tried][:2] == [("row", 0), ("row", 1)]
    assert tried[1].kept == (damaged.name,)
    assert (
        node_counts(tried[1].model)["com.microsoft.MatMulIntegerToFloat"]
        < node_counts(tried[0].model)["com.microsoft.MatMulIntegerToFloat"]
    )
