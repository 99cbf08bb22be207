"""A tiny random model of each family's own configuration: its graphs against PyTorch, at many shapes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.onnx import OnnxExporterError

from dslora.architectures import FUSED, architecture, default_target_modules
from dslora.classifier import Classifier, ClassifierSpec
from dslora.errors import DsLoraError
from dslora.export.fused import KEY_PADDING
from dslora.export.graph import build_graph
from dslora.export.half import to_half
from dslora.export.layouts import arrange
from dslora.export.outcome import Scores
from dslora.export.ranks import prune
from dslora.export.session import GraphSession
from dslora.export.surgery import node_counts
from dslora.methods import GatedSettings, find_method
from tiny_models import DECODERS, ENCODERS, MORE_DECODERS, MORE_ENCODERS, randomize, tiny

_ALWAYS = ("bert", "llama")
# npm run test:full has all families.
_FULL = os.environ.get("DSLORA_TEST_FULL") == "1"
_FAMILIES = (*ENCODERS, *MORE_ENCODERS, *DECODERS, *MORE_DECODERS)
# Positions of the tiny models. Some families count them from the padding id, 1, upwards.
_LONGEST = 80
_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
# Largest difference of a logit or gate.
_FP32, _FP16 = 5e-5, 2e-2
# onnxruntime's operator in the place of attention, by family; the others keep what they have.
_FUSED_ATTENTION = {
    **dict.fromkeys(KEY_PADDING, "com.microsoft.Attention"),
    "modernbert": "com.microsoft.MultiHeadAttention",
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text"), "Attention"),
    "gemma2": "com.microsoft.GroupQueryAttention",
}


class Padding:
    """Pads on one side; all that a session asks of an encoder."""

    def __init__(self, left: bool) -> None:
        self.left = left

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        longest = max(map(len, rows))
        ids, mask = [], []
        for row in rows:
            fill = longest - len(row)
            ids.append([1] * fill + list(row) if self.left else list(row) + [1] * fill)
            mask.append([0] * fill + [1] * len(row) if self.left else [1] * len(row) + [0] * fill)
        return ids, mask


def classifier_on(family: str) -> Classifier:
    base = tiny(family)
    method = find_method("ds-lora")
    settings = GatedSettings(rank=3, alpha=6.0)
    model_type = base.config.model_type
    one_matrix = FUSED.get(model_type)
    spec = ClassifierSpec(
        base=family,
        method="ds-lora",
        labels=("NOT", "OFF"),
        positive_labels=("OFF",),
        normalization=(),
        adapter=settings,
        pooling="mean" if one_matrix else architecture(model_type).pooling,
    )
    targets = (one_matrix,) if one_matrix else default_target_modules(model_type)
    linear = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
    chosen = tuple(name for name in linear if f".{name}".endswith(tuple(f".{target}" for target in targets)))
    classifier = Classifier(method.attach(base, settings, chosen, family), spec).eval()
    randomize(classifier.encoder)
    for name, weight in classifier.encoder.named_parameters():
        if "norm" in name.lower():
            # A new model's are all ones, or all zeros: mixed up, they would do no harm.
            nn.init.normal_(weight, mean=1.0, std=0.2)
    nn.init.normal_(classifier.head.weight, std=0.5)
    return classifier.requires_grad_(False)


def windows(longest: int, seed: int = 3) -> list[list[list[int]]]:
    """Batches of 1 and 7 rows: each length alone, and all of them mixed."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(5, 50, size=length).tolist() for length in (1, 2, 7, 64, longest)]
    same = [[rng.integers(5, 50, size=len(row)).tolist() for _ in range(7)] for row in rows]
    return [*([row] for row in rows), *same, [*rows, rows[2], rows[1]]]


def logits_of(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Logits up to what is the same for all labels of a text."""
    logs = np.log(probabilities.astype(np.float64))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def test_a_family_that_cannot_be_traced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def untraced(*arguments: Any, **options: Any) -> Any:
        raise OnnxExporterError

    monkeypatch.setattr("torch.onnx.export", untraced)
    with pytest.raises(DsLoraError, match=r"cannot trace model type 'bert'.*another family"):
        build_graph(prune(classifier_on("bert")).classifier, 1.0)


@pytest.mark.parametrize("family", _FAMILIES if _FULL else _ALWAYS)
def test_every_graph_of_a_family_computes_what_pytorch_computes(
    family: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    classifier = classifier_on(family)
    model_type = classifier.encoder.config.model_type
    pruned = prune(classifier).classifier
    reference = build_graph(pruned, 1.0)
    graphs: dict[str, ir.Model] = {
        "reference": reference,
        "k-concat": arrange(reference, model_type, "k-concat", "fp32"),
        "small-gemm": arrange(reference, model_type, "small-gemm", "int8"),
        "fp16": to_half(arrange(reference, model_type, "k-concat", "fp16")),
    }
    operator = _FUSED_ATTENTION.get(model_type)
    if operator is not None:
        # What onnxruntime has fused kernels for is in the graph, not fallen back from.
        layers = classifier.encoder.config.num_hidden_layers
        counts = node_counts(graphs["k-concat"])
        assert counts[operator] == layers
        # Decoders' heads stay where they lie.
        assert operator != "Attention" or "Transpose" not in counts
    for name, graph in graphs.items():
        ir.save(graph, tmp_path / f"{name}.onnx")
        record_property(f"{name} nodes", sum(node_counts(graph).values()))
    sessions = {name: GraphSession(tmp_path / f"{name}.onnx", threads=1) for name in graphs}
    largest = dict.fromkeys(graphs, (0.0, 0.0))
    for left in (False, True):
        padding: Any = Padding(left)
        for batch in windows(_LONGEST - (2 if model_type in _FROM_PADDING else 0)):
            ids, mask = padding.pad(batch)
            logits, gates = classifier(torch.tensor(ids), torch.tensor(mask))
            expected = Scores(logits_of(torch.softmax(logits.double(), dim=1).numpy()), gates.numpy())
            for name, session in sessions.items():
                probabilities, got = session.run(padding, batch)
                difference = Scores(logits_of(probabilities), got).difference(expected)
                allowed = _FP16 if name == "fp16" else _FP32
                assert max(difference) <= allowed, (
                    f"{name}, {'left' if left else 'right'}, {[len(row) for row in batch]}"
                )
                largest[name] = tuple(np.maximum(largest[name], difference))
    for name, (of_logits, of_gates) in largest.items():
        record_property(f"{name} logits", float(f"{of_logits:.1e}"))
        record_property(f"{name} gates", float(f"{of_gates:.1e}"))
