"""Graphs are compared and timed as the service runs them."""

import re
from pathlib import Path

import onnx_ir as ir
import onnxruntime
import pytest

from dslora.export.session import GraphSession

SERVICE = Path(__file__).parents[3] / "src" / "engine" / "session.ts"
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def test_onnxruntime_optimises_as_much_as_in_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = re.search(r"OPTIMIZATION = \{ cpu: '(\w+)', cuda: '(\w+)' \}", SERVICE.read_text(encoding="utf-8"))
    assert stated is not None
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Neg", [x])
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 23}, name="smallest")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "model.onnx")
    levels = []

    def start(file: str, *, sess_options: onnxruntime.SessionOptions, providers: list[str]) -> None:
        levels.append(sess_options.graph_optimization_level)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    for provider in ("cpu", "cuda"):
        GraphSession(tmp_path / "model.onnx", threads=1, provider=provider)
    assert levels == [LEVELS[level] for level in stated.groups()]
