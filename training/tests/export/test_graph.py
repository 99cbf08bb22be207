from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.details import LabelledTexts
from dslora.export.graph import build_graph
from dslora.export.session import GraphSession

from .conftest import Build, Export, in_batches


# Every method with its default settings stands in test_every_method.py.
@pytest.mark.parametrize(
    ("base", "method", "adapter"),
    [
        ("bert", "ds-lora", {}),
        ("bert", "ds-lora", {"gate_pooling": "token", "gate_hidden": 0}),
        ("bert", "ds-lora", {"gate_shared": True}),
        ("bert", "ds-lora", {"gate_kind": "parameter-free"}),
        ("llama", "ds-lora", {}),
        ("llama", "ds-qlora", {}),
    ],
)
def test_the_graph_computes_what_pytorch_computes(
    export: Export,
    encoder: TextEncoder,
    texts: LabelledTexts,
    tmp_path: Path,
    base: str,
    method: str,
    adapter: dict[str, object],
) -> None:
    exported = export(base, method, **adapter)
    classifier, pruned = exported.classifier, exported.pruned
    ir.save(exported.graph, tmp_path / "model.onnx")
    session = GraphSession(tmp_path / "model.onnx", threads=1)
    for got, expected in in_batches(session, classifier, encoder, texts, (1, 5, 48)):
        assert got.probabilities.shape == (len(expected.probabilities), 2)
        assert got.gates.shape == (len(expected.probabilities), len(pruned.gates))
        assert max(got.difference(expected)) <= 1e-5


def test_a_published_graph_tells_nothing_of_the_machine(export: Export, tmp_path: Path) -> None:
    model = export("bert", "ds-lora").graph
    ir.save(model, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    for trace in (b"site-packages", b"/home", b"/root", b".py", b"Traceback", str(Path.cwd()).encode()):
        assert trace not in content
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert not proto.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)


def test_dimensions_and_weights_have_names(export: Export) -> None:
    model = export("bert", "ds-lora").graph
    proto = ir.to_proto(model)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
        "probabilities": ["batch", 2],
        "gates": ["batch", 4],
    }
    names = {weight.name for weight in proto.graph.initializer}
    assert "encoder.layer.0.attention.self.query.weight.T" in names
    assert "encoder.layer.1.attention.self.value.lora_A.default.weight.T" in names
    assert proto.opset_import[0].version == 23


def test_nothing_of_training_is_left(export: Export) -> None:
    kinds = {node.op_type for node in export("bert", "ds-lora").graph.graph}
    assert not kinds & {"Dropout", "Identity", "Loop", "If"}
    assert "Attention" in kinds


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(build: Build, temperature: float) -> None:
    with pytest.raises(DsLoraError, match="temperature"):
        build_graph(build(), temperature)


def test_probabilities_sum_to_one(export: Export, encoder: TextEncoder, tmp_path: Path) -> None:
    ir.save(export("bert", "ds-lora").graph, tmp_path / "model.onnx")
    probabilities, gates = GraphSession(tmp_path / "model.onnx", threads=1).run(encoder, [[2, 4, 3], [2, 5, 6, 7, 3]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert ((gates >= 0) & (gates <= 1)).all()
