"""The bundle of every method: its graph computes what PyTorch computes, its card is true, and the service serves it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from dslora.export import LabelledTexts, Pruned, build_graph, bundle, prune, write_bundle
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.session import GraphSession
from dslora.inference import predict, softmax
from dslora.methods import METHODS
from dslora.run import encoder_of

from .conftest import TEMPERATURE, Build, Given, describe

PROJECT = Path(__file__).resolve().parents[3]
# npm run test:full has all methods. What is left out here differs from one that is not in its training alone, or
# stands in test_graph.py.
_FULL = os.environ.get("DSLORA_TEST_FULL") == "1"
_OFTEN = ("full", "lora", "lora-equal", "dora", "qlora", "adalora", "houlsby", "ds-dora", "zero-shot")
_METHODS = tuple(METHODS) if _FULL else _OFTEN


@dataclass(frozen=True)
class Exported:
    """A classifier with what its bundle states, what was exported of it, and its float32 graph."""

    given: Given
    pruned: Pruned
    graph: ir.Model


Export = Callable[[str], Exported]


@pytest.fixture(scope="module")
def export(build: Build, tokenizer: Any, texts: LabelledTexts) -> Export:
    """Exports a method on the base that it can have; each once."""
    made: dict[str, Exported] = {}

    def make(method: str) -> Exported:
        if method not in made:
            # An encoder cannot be asked.
            classifier = build("bert" if METHODS[method].trains else "language-model", method)
            given = describe(classifier, tokenizer, encoder_of(classifier.spec, tokenizer), texts)
            pruned = prune(classifier)
            made[method] = Exported(given, pruned, build_graph(pruned.classifier, TEMPERATURE))
        return made[method]

    return make


@pytest.mark.parametrize("method", _METHODS)
def test_the_graph_computes_what_pytorch_computes(method: str, export: Export, tmp_path: Path) -> None:
    exported = export(method)
    classifier, encoder = exported.given.classifier, exported.given.encoder
    ir.save(exported.graph, tmp_path / "model.onnx")
    session = GraphSession(tmp_path / "model.onnx", threads=1)
    windows = WindowedTexts.of(encoder, exported.given.texts.texts[:48]).windows
    for size in (1, 5, 48):
        for start in range(0, len(windows), size):
            part = windows[start : start + size]
            ids, mask = encoder.pad(part)
            logits, gates = classifier(torch.tensor(ids), torch.tensor(mask))
            expected = Scores(torch.softmax(logits / TEMPERATURE, dim=1).numpy(), gates.numpy())
            got = Scores(*session.run(encoder, part))
            assert got.probabilities.shape == (len(part), 2)
            assert got.gates.shape == (len(part), 4 if METHODS[method].gated else 0)
            assert max(got.difference(expected)) <= 1e-5


@pytest.fixture(scope="module")
def models(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles, one a method and named after it."""
    folder = tmp_path_factory.mktemp("models")
    for method in _METHODS:
        exported = export(method)
        given = exported.given
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundle, "build_graph", lambda *args, made=exported.graph: made)
            details = replace(given.details, name=method)
            few = replace(given.texts, split="test", texts=given.texts.texts[:60], labels=given.texts.labels[:60])
            write_bundle(
                folder / method,
                given.classifier,
                given.tokenizer,
                given.encoder,
                details,
                given.texts,
                [few],
                precisions=("fp32",),
                threads=1,
            )
    return folder


_TRAINED: dict[str, tuple[str, ...]] = {
    "full": ("BertModel, 0.1 M parameters). Method full: its own weights were trained.",),
    "zero-shot": (
        "LlamaModel, 0.1 M parameters), as it is. Method zero-shot: nothing was trained, "
        "the prompt of `manifest.json` asks for the class.",
    ),
    # Four modules from 64 to 64: DS-LoRA has 4 (4 * 128) in A and B and 4 (16 * 66 + 1) in gates, 6,276 in all. That
    # is rank 12 everywhere and, of the 132 left, one more in the last module.
    "lora-equal": (
        "frozen. Method lora-equal, ranks 12 to 13 with α / rank 2 (as many parameters as DS-LoRA of rank 4), "
        "on query and value of every layer.",
        "; 49 rank components are left.",
    ),
    "adalora": ("frozen. Method adalora, rank 2 on average, α 8, on query and value of every layer.",),
    "houlsby": ("frozen. Method houlsby, on output and down of every layer.",),
}


@pytest.mark.parametrize("method", _METHODS)
def test_the_card_says_what_was_trained(method: str, models: Path) -> None:
    card = (models / method / "README.md").read_text(encoding="utf-8")
    usual = f"frozen. Method {method}, rank 4, α 8, on query and value of every layer."
    for said in _TRAINED.get(method, (usual,)):
        assert said in card
    row = METHODS[method]
    assert ("frozen. " in card) == (row.trains and row.adds_weights)
    assert ("It learnt from made-up" in card) == row.trains
    assert ("has no gates" in card) != row.gated


_SERVE = """
const { createEngine } = await import(process.argv[1]);
const [modelsDir, text] = process.argv.slice(2);
const engine = await createEngine({ modelsDir, workers: 1, threads: 1, queueWaitMs: 60000, answerTimeoutMs: 60000 });
const answers = {};
for (const { name } of engine.models()) {
  const { results: [{ probabilities, gates }] } = await engine.classify({ model: name, texts: [text] });
  answers[name] = { probabilities, gates };
}
console.log(JSON.stringify({ refused: engine.refused(), answers }));
await engine.close();
"""


@pytest.mark.skipif(
    not (PROJECT / "node_modules" / "onnxruntime-node").is_dir() or not shutil.which("node"),
    reason="needs node and npm ci",
)
def test_the_service_answers_with_it_as_pytorch_does(models: Path, export: Export) -> None:
    node = PROJECT / "node_modules" / ".bin" / "node"
    engine = (PROJECT / "src" / "engine" / "engine.ts").as_uri()
    text = "why, you fool"
    # An engine tries every golden text of a bundle before it serves it.
    command = [str(node if node.exists() else "node"), "--input-type=module", "-e", _SERVE, "--", engine]
    answer = subprocess.run([*command, str(models), text], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr[-2000:]
    found = json.loads(answer.stdout)
    assert found["refused"] == []
    assert sorted(found["answers"]) == sorted(_METHODS)
    for method, given in found["answers"].items():
        of = export(method).given
        expected = predict(of.classifier, of.encoder, [text])
        np.testing.assert_allclose(given["probabilities"], softmax(expected.logits, TEMPERATURE)[0], atol=1e-5)
        np.testing.assert_allclose(given["gates"], expected.gates[0], atol=1e-5)
        assert len(given["gates"]) == (4 if METHODS[method].gated else 0)
