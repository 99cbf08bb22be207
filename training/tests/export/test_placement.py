"""Which provider ran what: read from a real profile of the CPU, and from made-up ones of a GPU that is not here."""

import json
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime
import pytest

from dslora.errors import DsLoraError
from dslora.export.placement import Placement, check_placements, elsewhere, read_placements
from dslora.export.session import GraphSession, check_provider, placements
from dslora.export.surgery import node_counts

from .conftest import Export

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_placements_of_a_session(export: Export, tmp_path: Path) -> None:
    model = export("bert", "ds-lora").graph
    ir.save(model, tmp_path / "model.onnx")
    ran = placements(tmp_path / "model.onnx", "cpu")
    kinds = [each.op for each in ran]
    assert {each.provider for each in ran} == {CPU}
    # The runtime fuses some kinds of nodes, and keeps these as they are.
    for kind in ("Attention", "Softmax"):
        assert kinds.count(kind) == node_counts(model)[kind]
    assert next(each for each in ran if each.op == "Softmax").floats
    check_placements("model.onnx", ran, "cpu")
    with pytest.raises(DsLoraError, match=r"model\.onnx: \d+ of \d+ nodes do not run on cuda.*Attention"):
        check_placements("model.onnx", ran, "cuda")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_an_operator_without_kernel_is_named(tmp_path: Path) -> None:
    x = ir.Value(name="input_ids", shape=ir.Shape([1, 1]), type=ir.TensorType(ir.DataType.INT64))
    cast = ir.node("Cast", [x], attributes={"to": int(ir.DataType.BFLOAT16)})
    # A standard operator, for a type that onnxruntime has no kernel of it for.
    erf = ir.node("Erf", [cast.outputs[0]])
    for node, name in ((cast, "narrow"), (erf, "y")):
        node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(ir.DataType.BFLOAT16)
    graph = ir.Graph([x], erf.outputs, nodes=[cast, erf], opset_imports={"": 23}, name="one")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(DsLoraError, match=r"cannot load model\.onnx on the CPU: .*Erf.*--layout reference"):
        GraphSession(tmp_path / "model.onnx")


def test_only_floats_elsewhere_are_a_fall_back() -> None:
    ran = [
        Placement("MatMul", CUDA, floats=True),
        Placement("Shape", CPU, floats=False),
        Placement("MemcpyToHost", CUDA, floats=False),
    ]
    assert not elsewhere(ran, "cuda")
    check_placements("model.onnx", ran, "cuda")
    ran += [Placement("Gelu", CPU, floats=True), Placement("MemcpyFromHost", CUDA, floats=True)]
    assert elsewhere(ran, "cuda") == {"Gelu": 1, "MemcpyFromHost": 1}
    with pytest.raises(DsLoraError, match=r"2 of 5 nodes.*1 Gelu, 1 MemcpyFromHost.*--layout"):
        check_placements("model.onnx", ran, "cuda")


def event(index: int, name: str, provider: str, output: dict[str, list[int]], **more: Any) -> dict[str, Any]:
    arguments = {"node_index": str(index), "op_name": name, "provider": provider, "output_type_shape": [output]}
    return {"cat": "Node", "name": f"node{index}_kernel_time", "args": arguments, **more}


def test_a_node_counts_once_however_often_it_ran(tmp_path: Path) -> None:
    profile = tmp_path / "run.json"
    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        event(1, "MatMul", CUDA, {"float16": [2, 7, 64]}),
        event(1, "MatMul", CUDA, {"float16": [2, 9, 64]}),
        event(2, "Shape", CPU, {"int64": [2]}),
    ]
    profile.write_text(json.dumps(events))
    assert read_placements(profile) == [Placement("MatMul", CUDA, True), Placement("Shape", CPU, False)]


@pytest.mark.parametrize("content", ["", "{}", '{"a": 1}', '[{"cat": "Node", "name": "x_kernel_time"}]', "[1]"])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    profile = tmp_path / "run.json"
    profile.write_text(content)
    with pytest.raises(DsLoraError, match=r"not a profile|no node was seen"):
        check_placements("model.onnx", read_placements(profile), "cuda")


def test_a_provider_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_provider("cpu")
    with pytest.raises(DsLoraError, match="Expected one of: cpu, cuda"):
        check_provider("npu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DsLoraError, match=r"no CUDA provider.*onnxruntime-gpu.*leave --provider out"):
        check_provider("cuda")


def test_a_provider_that_does_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a machine with onnxruntime-gpu and without a GPU: the runtime drops the provider and goes on.
    start = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda graph, sess_options, providers: start(graph, providers=[CPU])
    )
    with pytest.raises(DsLoraError, match=r"cannot start it.*nvidia-smi"):
        check_provider("cuda")
