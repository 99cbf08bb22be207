"""A tiny random model of each family's own configuration: its graphs against PyTorch, at many shapes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from dslora.architectures import architecture, default_target_modules
from dslora.classifier import Classifier, ClassifierSpec
from dslora.export.fused import KEY_PADDING
from dslora.export.graph import build_graph
from dslora.export.layouts import arrange
from dslora.export.outcome import Scores
from dslora.export.ranks import prune
from dslora.export.session import GraphSession
from dslora.export.surgery import node_counts
from dslora.methods import GatedSettings, find_method
from tiny_models import DECODERS, ENCODERS, MORE, randomize, tiny

_ALWAYS = ("bert", "llama")
# npm run test:full has all families.
_FULL = os.environ.get("DSLORA_TEST_FULL") == "1"
_LONGEST = 78
_LENGTHS = (1, 2, 7, 64, _LONGEST)


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
    spec = ClassifierSpec(
        base=family,
        method="ds-lora",
        labels=("NOT", "OFF"),
        positive_labels=("OFF",),
        normalization=(),
        adapter=settings,
        pooling=architecture(model_type).pooling,
    )
    targets = default_target_modules(model_type)
    linear = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
    chosen = tuple(name for name in linear if name.endswith(targets))
    classifier = Classifier(method.attach(base, settings, chosen, family), spec).eval()
    randomize(classifier.encoder)
    nn.init.normal_(classifier.head.weight, std=0.5)
    return classifier.requires_grad_(False)


def windows(seed: int = 3) -> list[list[list[int]]]:
    """Batches of 1 and 7 rows, each length alone and all of them mixed."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(5, 50, size=length).tolist() for length in _LENGTHS]
    return [*([row] for row in rows), [*rows, rows[2], rows[1]]]


@pytest.mark.parametrize("family", (*ENCODERS, *DECODERS, *MORE) if _FULL else _ALWAYS)
def test_every_graph_of_a_family_computes_what_pytorch_computes(family: str, tmp_path: Path) -> None:
    classifier = classifier_on(family)
    model_type = classifier.encoder.config.model_type
    pruned = prune(classifier).classifier
    reference = build_graph(pruned, 1.0)
    graphs: dict[str, ir.Model] = {
        "reference": reference,
        "k-concat": arrange(reference, model_type, "k-concat", "fp32"),
        "small-gemm": arrange(reference, model_type, "small-gemm", "int8"),
    }
    if model_type in KEY_PADDING:
        # What onnxruntime has fused kernels for is in the graph, not fallen back from.
        assert node_counts(graphs["k-concat"])["com.microsoft.Attention"] == 3
    for name, graph in graphs.items():
        ir.save(graph, tmp_path / f"{name}.onnx")
    sessions = {name: GraphSession(tmp_path / f"{name}.onnx", threads=1) for name in graphs}
    for left in (False, True):
        padding: Any = Padding(left)
        for batch in windows():
            ids, mask = padding.pad(batch)
            logits, gates = classifier(torch.tensor(ids), torch.tensor(mask))
            expected = Scores(torch.softmax(logits, dim=1).numpy(), gates.numpy())
            for name, session in sessions.items():
                got = Scores(*session.run(padding, batch))
                difference = max(got.difference(expected))
                assert difference <= 1e-5, f"{name}, {'left' if left else 'right'}, {[len(row) for row in batch]}"
