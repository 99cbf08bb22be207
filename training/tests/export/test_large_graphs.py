"""Models above 2 GiB, shaped like Llama 3.2 with fewer layers: exported, checked, and served by the Node service.

Too large for every day. Alone, since memory is measured, and with 8 GiB of memory and 10 GiB of disk free:

    DSLORA_TEST_LARGE=1 .venv/bin/python -m pytest -s tests/export/test_large_graphs.py

``-s`` shows the figures.
"""

import gc
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dslora.bench import peak_resident as peak
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.encoding import text_encoder
from dslora.export import LabelledTexts, write_bundle
from dslora.export.large_graphs import LARGEST_GRAPH
from dslora.methods import GatedSettings

from .conftest import STEPS, describe

ROOT = Path(__file__).parents[3]
# Written by a process of its own, whose memory is not that of the export.
MAKE_BASE = """
import sys, torch
from transformers import LlamaConfig, LlamaModel

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=128_256, hidden_size=2048, num_hidden_layers=int(sys.argv[3]), num_attention_heads=32,
    num_key_value_heads=8, intermediate_size=8192, max_position_embeddings=256, rope_theta=500_000.0, pad_token_id=0,
)
torch.set_default_dtype(getattr(torch, sys.argv[2]))
LlamaModel(config).save_pretrained(sys.argv[1], max_shard_size="1GB")
"""
# Of the weights, beside what the process takes before it loads them.
LARGEST_RATIO = 1.3
# Of the weights, in memory of the service's inference process that no file stands for. Products are there, packed; they
# are 0.6 of the weights. Embeddings are read where they are mapped. Weights that are not mapped would be another 1.
LARGEST_COPY = 0.8


def forget_peak() -> None:
    """Lets the peak begin again at what the process has now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def inference_process(service: int) -> int:
    """Process id of the service's only inference process."""
    children = Path(f"/proc/{service}/task/{service}/children").read_text().split()
    (found,) = [each for each in children if b"\0inference\0" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return int(found)


def memory(process: int) -> dict[str, int]:
    """Bytes by kind, of all that a process has mapped."""
    _, *lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return {kind: int(size.split()[0]) * 1024 for kind, size in (line.split(":") for line in lines)}


@contextmanager
def served(models: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of the service, with these models and one inference process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MODELS_DIR": str(models), "PORT": str(port), "HOST": "127.0.0.1", "WORKERS": "1"}
    path = f"{ROOT / 'node_modules/.bin'}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(["node", "src/main.ts"], cwd=ROOT, env={**environment, "PATH": path})
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(60)


def answer(url: str, body: dict[str, Any] | None = None, patience: float = 0) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + patience
    while True:
        try:
            request = urllib.request.Request(url, data, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def make_run(base: Path, dtype: str, layers: int, folder: Path) -> int:
    """Writes a random base and an adapter for it. Returns the bytes of the base's weights."""
    subprocess.run([sys.executable, "-c", MAKE_BASE, str(base), dtype, str(layers)], check=True)
    spec = ClassifierSpec(
        base=str(base),
        method="ds-lora",
        labels=("NOT", "OFF"),
        positive_labels=("OFF",),
        normalization=STEPS,
        max_tokens=16,
        window_overlap=4,
        pooling="last",
        adapter=GatedSettings(rank=4, alpha=8.0),
    )
    classifier = build_classifier(spec, dtype)
    for name, value in classifier.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    torch.nn.init.normal_(classifier.head.weight, std=0.1)
    classifier.save(folder)
    return sum(file.stat().st_size for file in base.glob("*.safetensors"))


@pytest.mark.parametrize(("dtype", "layers", "precision"), [("float32", 6, "fp32"), ("bfloat16", 16, "fp16")])
def test_a_model_above_2_gib_is_exported_and_served(
    tokenizer: Any, texts: LabelledTexts, tmp_path: Path, dtype: str, layers: int, precision: str
) -> None:
    weights = make_run(tmp_path / "base", dtype, layers, tmp_path / "run")
    assert weights > 2 * 2**30 > LARGEST_GRAPH
    forget_peak()
    before = peak()
    classifier = Classifier.load(tmp_path / "run").requires_grad_(False)
    # One or two words each: what is tried is memory, and a processor takes seconds for a thousand tokens.
    short = [" ".join(text.split()[:2]) for text in texts.texts[:200]]
    encoder = text_encoder(tokenizer, STEPS, max_tokens=16, overlap=4)
    given = describe(classifier, tokenizer, encoder, replace(texts, texts=short, labels=texts.labels[:200]))
    loaded = peak()
    # What describes a model of random weights here is no part of an export.
    forget_peak()
    bundle = tmp_path / "models" / "large"
    report = write_bundle(
        bundle,
        classifier,
        tokenizer,
        encoder,
        given.details,
        given.texts,
        precisions=(precision,),
        layout="auto",
        say=lambda message: print(message, f"peak {peak() / 2**30:.2f} GiB", flush=True),
    )
    after = peak()
    ratio = (after - before) / weights
    print(
        f"weights {weights / 2**30:.2f} GiB; peak before loading {before / 2**30:.2f}, while it is described "
        f"{loaded / 2**30:.2f}, at the end {after / 2**30:.2f} GiB; {ratio:.2f} of the weights, {after / weights:.2f} "
        f"with the libraries; {report.nodes[precision]} nodes; {report.parity[precision]}"
    )
    assert (bundle / "model.onnx.data").stat().st_size > LARGEST_GRAPH
    assert (bundle / "model.onnx").stat().st_size < 2**24
    size = sum((bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert f"| model.onnx | {precision} | {size / 2**20:.1f} MiB |" in (bundle / "README.md").read_text(
        encoding="utf-8"
    )
    assert ratio <= LARGEST_RATIO
    if precision == "fp16":
        # The service runs it under CUDA alone.
        return
    with served(bundle.parent) as (address, service):
        began = time.monotonic()
        answer(f"{address}/health/ready", patience=600)
        print(f"ready after {time.monotonic() - began:.0f} s")
        (result,) = answer(f"{address}/classify", {"text": short[0]})["results"]
        used = memory(inference_process(service))
    print(
        f"inference process: {used['Pss'] / 2**30:.2f} GiB (PSS), of it {used['Anonymous'] / 2**30:.2f} in no file, "
        f"{used['Anonymous'] / weights:.2f} of the weights"
    )
    # Not Private_Dirty: a mapped file that was just written counts to that.
    assert used["Anonymous"] <= LARGEST_COPY * weights
    with torch.no_grad():
        (window,) = encoder.windows(encoder.ids(short[0]))
        logits, gates = classifier(*(torch.tensor(rows) for rows in encoder.pad([window])))
    temperature = given.details.calibration.temperature
    expected = torch.softmax(logits / temperature, dim=-1)[0]
    assert abs(result["probabilities"]["OFF"] - expected[1].item()) <= 1e-4
    assert abs(result["gates"]["mean"] - gates.mean().item()) <= 1e-4
