"""What a bundle is, read from its files alone: nothing of the training is needed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.manifest import MANIFEST_FILE, MANIFEST_SUM_FILE, sha256_of, validate_manifest
from dslora.export.surgery import node_counts

# Kinds of nodes that are named; the rest is summed up.
_NAMED_KINDS = 12
_BAR = "█"


def inspect(folder: Path) -> str:
    """Model, graphs, ranks and checks of a bundle, as lines of text.

    Args:
        folder: The bundle.

    Raises:
        DsLoraError: It is not a bundle, its manifest is not the one of its checksum, a file is missing or is not the
            one that the manifest names, or a graph cannot be read.
    """
    manifest = _manifest(folder)
    checked = _check_files(folder, manifest)
    lines = [*_model(manifest), ""]
    for graph in manifest["graphs"]:
        lines += [*_graph(folder, graph), ""]
    known = " and its SHA-256" if (folder / MANIFEST_SUM_FILE).exists() else f", which has no {MANIFEST_SUM_FILE}"
    stated = f"Checked: manifest against its schema{known}; {checked} files by size and SHA-256."
    lines += [*_ranks(manifest), "", stated]
    return "\n".join(lines)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise DsLoraError(f"{folder}: no {MANIFEST_FILE}. Expected the folder of a bundle that dslora export wrote.")
    try:
        content = file.read_bytes()
        _check_sum(folder, content)
        manifest = json.loads(content.decode())
    except (OSError, ValueError) as error:
        raise DsLoraError(f"{file}: cannot be read as JSON: {error}. Export the bundle again.") from error
    if not isinstance(manifest, dict):
        raise DsLoraError(f"{file}: expected an object. Export the bundle again.")
    validate_manifest(manifest)
    return manifest


def _check_sum(folder: Path, manifest: bytes) -> None:
    """As the service does (src/bundle/manifest-file.ts): a bundle may be without the file, but not disagree with it."""
    file = folder / MANIFEST_SUM_FILE
    expected = f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_FILE}".encode()
    if file.exists() and file.read_bytes().rstrip() != expected:
        raise DsLoraError(
            f"{folder}: {MANIFEST_FILE} is not the one of {MANIFEST_SUM_FILE}. Copy or export the bundle again; who "
            f"changed it on purpose runs `sha256sum {MANIFEST_FILE} > {MANIFEST_SUM_FILE}` in the folder."
        )


def _check_files(folder: Path, manifest: dict[str, Any]) -> int:
    stated = [*manifest["files"], *manifest["graphs"], *(d for g in manifest["graphs"] for d in g["externalData"])]
    problems = []
    for entry in stated:
        file = folder / entry["file"]
        if not file.is_file():
            problems.append(f"{entry['file']} is missing")
        elif file.stat().st_size != entry["bytes"]:
            problems.append(f"{entry['file']} has {file.stat().st_size} bytes, expected {entry['bytes']}")
        elif sha256_of(file) != entry["sha256"]:
            problems.append(f"{entry['file']} has another SHA-256 than stated")
    if problems:
        raise DsLoraError(f"{folder}: {'; '.join(problems)}. Copy or export the bundle again.")
    return len(stated)


def _model(manifest: dict[str, Any]) -> Iterator[str]:
    base, method = manifest["base"], manifest["method"]
    yield f"{manifest['name']} {manifest['version']}: {', '.join(manifest['labels'])}"
    yield f"base      {base['id']} ({base['architecture']}, {base['parameters'] / 1e6:.1f} M parameters)"
    rank = f", rank {method['rank']}" if "rank" in method else ""
    sparsity = method["sparsity"]
    zeros = f", {sparsity:.1%} zeros in A and B" if sparsity is not None else ""
    yield f"method    {method['name']}{rank} on {', '.join(method['targets']) or 'all weights'}{zeros}"
    settings = manifest["input"]
    yield f"input     windows of {settings['maxTokens']} tokens, {settings['pooling']} pooling"


def _graph(folder: Path, graph: dict[str, Any]) -> Iterator[str]:
    try:
        counts = node_counts(ir.load(folder / graph["file"]))
    except Exception as error:  # protobuf and onnx-ir raise many kinds
        raise DsLoraError(f"{folder / graph['file']}: not an ONNX graph ({type(error).__name__}).") from error
    scales = f", {graph['scales']} scales" if "scales" in graph else ""
    size = (graph["bytes"] + sum(each["bytes"] for each in graph["externalData"])) / 2**20
    yield f"{graph['file']}: {graph['precision']}, layout {graph['layout']}{scales}, {size:.1f} MiB"
    yield f"  runs on {', '.join(graph['executionProviders'])}"
    shown = list(counts.items())[:_NAMED_KINDS]
    rest = sum(counts.values()) - sum(count for _, count in shown)
    kinds = ", ".join(f"{count} {name}" for name, count in shown) + (f", {rest} others" if rest else "")
    yield f"  {sum(counts.values())} nodes: {kinds}"
    if "keptFloat32" in graph:
        yield f"  products that stay float32, by weight: {', '.join(graph['keptFloat32'])}"
    parity = graph["parity"]
    alone = "the same" if graph["batchInvariant"] else "not the same"
    yield (
        f"  against PyTorch on {parity['texts']} texts: probabilities within {parity['probabilities']:.2g}, "
        f"gates within {parity['gates']:.2g}, {parity['labelFlips']} labels flipped, "
        f"macro-F1 {parity['macroF1Change']:+.4f}"
    )
    yield f"  an answer is {alone} in every batch"
    for each in graph.get("layoutsTimed", []):
        times = ", ".join(f"{shape} {milliseconds:.2f} ms" for shape, milliseconds in each["milliseconds"].items())
        yield f"  timed at export: {each['layout']}, {each['nodes']} nodes: {times}"


def _ranks(manifest: dict[str, Any]) -> Iterator[str]:
    kept = manifest["method"]["ranksKept"]
    if not kept:
        yield "ranks     no low-rank modules"
        return
    yield f"ranks kept by module ({sum(each['rank'] for each in kept)} components)"
    width = max(len(f"{each['layer']}.{each['module']}") for each in kept)
    for each in kept:
        bar = _BAR * each["rank"] if each["rank"] else "dropped, no gate"
        name = f"{each['layer']}.{each['module']}"
        yield f"  {name:<{width}} {each['rank']:>3} {bar}"
