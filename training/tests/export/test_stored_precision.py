"""A base in bfloat16 is exported from its own weights: the same numbers as from a float32 copy, without the copy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from dslora.classifier import Classifier
from dslora.errors import DsLoraError
from dslora.export.graph import build_graph
from dslora.export.half import to_half
from dslora.export.layouts import arrange
from dslora.export.ranks import prune
from dslora.export.surgery import Widened, node_counts, widened

from .conftest import TEMPERATURE, Build

# So large that PyTorch's exporter leaves the casts of its weights to us.
SIDE = 576


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=90,
        hidden_size=SIDE,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=SIDE + 64,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("stored")
    LlamaModel(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def pair(build: Build, method: str, folder: Path) -> tuple[Classifier, Classifier]:
    """A classifier on a float32 copy of the stored weights, and the same as it is loaded again."""
    copied = build("stored", method)
    copied.save(folder)
    return copied, Classifier.load(folder)


@pytest.mark.parametrize("method", ["ds-lora", "lora", "dora", "ds-dora"])
def test_a_graph_of_stored_weights_is_that_of_a_float32_copy(
    build: Build, bases: dict[str, Path], stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setitem(bases, "stored", stored)
    copied, loaded = pair(build, method, tmp_path / "model")
    of_base = [p for name, p in loaded.named_parameters() if "lora_" not in name and not name.startswith("head")]
    assert {p.dtype for p in of_base} == {torch.bfloat16}
    assert {p.dtype for p in copied.parameters()} == {torch.float32}
    for name, value in copied.trained_state().items():
        torch.testing.assert_close(loaded.trained_state()[name], value, rtol=0, atol=0)
    ids = torch.randint(1, 90, (3, 9))
    for ours, theirs in zip(loaded(ids, torch.ones_like(ids)), copied(ids, torch.ones_like(ids)), strict=True):
        assert torch.equal(ours, theirs)

    graphs = [build_graph(prune(each).classifier, TEMPERATURE) for each in (loaded, copied)]
    assert node_counts(graphs[0]) == node_counts(graphs[1])
    compare(*graphs)
    for precision in ("fp32", "fp16"):
        arranged = [arrange(graph, "llama", "k-concat", precision) for graph in graphs]
        compare(*(to_half(each) if precision == "fp16" else each for each in arranged))


def compare(ours: ir.Model, theirs: ir.Model) -> None:
    """Every matrix has the same name and values, and none of a base's is in memory before it is read."""
    matrices = [
        {name: value.const_value for name, value in model.graph.initializers.items() if len(value.shape or ()) == 2}
        for model in (ours, theirs)
    ]
    assert matrices[0].keys() == matrices[1].keys()
    for name, weight in matrices[0].items():
        other = matrices[1][name]
        assert weight is not None
        assert other is not None
        assert weight.dtype == other.dtype
        assert np.array_equal(weight.numpy(), other.numpy()), name
        if "mlp" in str(name) or "o_proj" in str(name):
            assert isinstance(weight, ir.LazyTensor), name


def test_a_stored_table_becomes_half_without_a_float32_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # More than is written at once, and not a multiple of it.
    stored = ir.tensor(torch.randn(2**13 + 3, 2**9).to(torch.bfloat16), name="table.stored")
    ids = ir.Value(name="ids", shape=ir.Shape([3]), type=ir.TensorType(ir.DataType.INT64))
    graph = ir.Graph([ids], [], nodes=[], opset_imports={"": 23}, name="rows")
    gather = ir.node("Gather", [widened(graph, "table", stored), ids])
    graph.append(gather)
    graph.outputs.append(gather.outputs[0])

    def read(table: Widened) -> Any:
        raise AssertionError(f"{table.name} was read in float32")

    monkeypatch.setattr(Widened, "numpy", read)
    half = to_half(ir.Model(graph, ir_version=10)).graph.initializers["table.float16"].const_value
    assert isinstance(half, ir.LazyTensor)
    expected = stored.numpy().astype(np.float16)
    assert half.dtype == ir.DataType.FLOAT16
    assert np.array_equal(half.numpy(), expected)
    with (tmp_path / "weights").open("wb") as file:
        half.tofile(file)
    assert (tmp_path / "weights").read_bytes() == expected.tobytes()


def test_a_stored_weight_that_float16_cannot_hold_is_refused(
    build: Build, bases: dict[str, Path], stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = LlamaModel.from_pretrained(stored)
    model.layers[0].mlp.up_proj.weight.data[0, 0] = 1e6
    model.save_pretrained(tmp_path / "base")
    monkeypatch.setitem(bases, "stored", tmp_path / "base")
    _, loaded = pair(build, "ds-lora", tmp_path / "model")
    graph = arrange(build_graph(prune(loaded).classifier, TEMPERATURE), "llama", "k-concat", "fp16")
    with pytest.raises(DsLoraError, match=r"up_proj.*65504"):
        to_half(graph)
