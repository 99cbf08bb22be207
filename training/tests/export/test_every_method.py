"""The bundle of every method: its graph computes what PyTorch computes, its card is true, and the service serves it."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from dslora.export import LabelledTexts, Pruned, build_graph, bundle, prune, write_bundle
from dslora.export.session import GraphSession
from dslora.inference import predict, softmax
from dslora.methods import METHODS
from dslora.run import encoder_of

from .conftest import TEMPERATURE, Build, Given, describe, in_batches

PROJECT = Path(__file__).resolve().parents[3]
# npm run test:full has all methods. What is left out of an ordinary run is exported as another is that is in it.
_FULL = os.environ.get("DSLORA_TEST_FULL") == "1"
_OFTEN = ("full", "lora", "lora-equal", "dora", "qlora", "houlsby", "ds-dora", "zero-shot")
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
    for got, expected in in_batches(session, classifier, encoder, exported.given.texts, (1, 5, 48)):
        assert got.probabilities.shape == (len(expected.probabilities), 2)
        assert got.gates.shape == (len(expected.probabilities), 4 if METHODS[method].gated else 0)
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


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[str]:
    """The address of a service that serves the bundles, a real process."""
    node = PROJECT / "node_modules" / ".bin" / "node"
    own = {"HOST": "127.0.0.1", "PORT": "0", "WORKERS": "1", "THREADS": "1", "QUEUE_WAIT_MS": "60000"}
    process = subprocess.Popen(
        [str(node if node.exists() else "node"), "src/main.ts"],
        cwd=PROJECT,
        env={**os.environ, **own, "MODELS_DIR": str(models), "DEFAULT_MODEL": "full"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = ""
        # It says where it listens once every golden text of every bundle has had its answer.
        for line in process.stdout:
            printed += line
            if found := re.search(r"(http://\S+)/classify", printed):
                yield found[1]
                break
        else:
            pytest.fail(printed)
    finally:
        process.kill()
        process.communicate()


def _asked(address: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.skipif(
    not (PROJECT / "node_modules" / "onnxruntime-node").is_dir() or not shutil.which("node"),
    reason="needs node and npm ci",
)
def test_the_service_answers_as_pytorch_does(service: str, export: Export) -> None:
    served = _asked(f"{service}/models")
    assert sorted(model["name"] for model in served["models"]) == sorted(_METHODS)
    # The last takes several windows.
    texts = ["why, you fool", "the calm river", "the bright river, you fool! " * 6]
    for method in _METHODS:
        of = export(method).given
        expected = predict(of.classifier, of.encoder, texts)
        assert expected.windows[-1] > 1
        labels, columns = of.classifier.spec.labels, of.classifier.gate_columns()
        for view in ("layers", "mean", "percentiles"):
            answer = _asked(f"{service}/classify", {"model": method, "texts": texts, "gates": view, "windows": True})
            for row, result in enumerate(answer["results"]):
                assert result["windows"] == expected.windows[row] == len(result["windowResults"])
                found = [result["probabilities"][label] for label in labels]
                np.testing.assert_allclose(found, softmax(expected.logits, TEMPERATURE)[row], atol=2e-5)
                every = (result["gates"], *(window["gates"] for window in result["windowResults"]))
                if not METHODS[method].gated:
                    assert every == (None,) * len(every)
                    continue
                assert result["gates"]["mean"] == pytest.approx(expected.gates[row].mean(), abs=2e-5)
                if view != "mean":
                    by_layer = {each["layer"]: each for each in result["gates"]["layers"]}
                    found = [by_layer[layer][module] for layer, module in columns]
                    np.testing.assert_allclose(found, expected.gates[row], atol=2e-5)
