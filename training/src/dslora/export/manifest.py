"""``manifest.json``: what a bundle says of itself, in the shape of ``src/bundle/manifest.schema.json``."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
from peft.tuners.tuners_utils import BaseTunerLayer

from dslora.architectures import canonical_module
from dslora.bases import resolve_base
from dslora.classifier import Classifier, ClassifierSpec
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.details import BundleDetails
from dslora.export.layouts import LayoutFigure
from dslora.export.parity import LIMITS, Parity
from dslora.export.precisions import PROVIDERS
from dslora.export.ranks import Pruned
from dslora.four_bit import element_count
from dslora.methods import GatedSettings, LowRankSettings, ZeroShotSettings, find_method
from dslora.methods.houlsby import Bottleneck
from dslora.methods.zero_shot import prompt_of

SCHEMA_VERSION: Final = 1
MANIFEST_FILE: Final = "manifest.json"
# What `sha256sum manifest.json` prints; the manifest has the checksum of every other file.
MANIFEST_SUM_FILE: Final = "manifest.sha256"

_SCHEMA_FILE: Final = "manifest.schema.json"


@dataclass(frozen=True)
class GraphEntry:
    """One graph of the bundle, as it was measured.

    Attributes:
        file: Its name in the folder.
        data: Name of its external data, if any.
        precision: Name in ``PRECISIONS``.
        layout: Name in ``dslora.export.layouts.LAYOUTS``.
        parity: Against PyTorch.
        nodes: How many the graph has.
        scales: How activations or weights become integers; None where they do not.
        kept: Names of weights that stay float32 in an int8 graph.
        timed: Figures that the layout was chosen by; empty where it was named.
    """

    file: str
    data: str | None
    precision: str
    layout: str
    parity: Parity
    nodes: int
    scales: str | None = None
    kept: tuple[str, ...] = ()
    timed: tuple[LayoutFigure, ...] = ()


@dataclass(frozen=True)
class EvaluationEntry:
    """One figure: ``precision`` is that of the graph, or ``pytorch-fp32``."""

    dataset: str
    split: str
    precision: str
    n: int
    metric: str
    value: float
    interval95: tuple[float, float]


def build_manifest(
    folder: Path,
    classifier: Classifier,
    pruned: Pruned,
    encoder: TextEncoder,
    details: BundleDetails,
    graphs: Sequence[GraphEntry],
    evaluation: Sequence[EvaluationEntry],
) -> dict[str, Any]:
    """The manifest of a folder that holds every other file already.

    Args:
        folder: With graphs, tokenizer, golden vectors and card.
        classifier: As trained.
        pruned: What was exported of it.
        encoder: From text to windows.
        details: What the bundle states.
        graphs: In the order of preference.
        evaluation: Figures.

    Raises:
        DsLoraError: It does not satisfy the schema.
    """
    spec = classifier.spec
    graph_files = {name for graph in graphs for name in (graph.file, graph.data) if name}
    others = sorted(
        path.name for path in folder.iterdir() if path.name not in graph_files | {MANIFEST_FILE, MANIFEST_SUM_FILE}
    )
    columns = {(column.layer, column.module) for column in pruned.gates}
    manifest: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
        "name": details.name,
        "version": details.version,
        "createdAt": details.created(),
        "license": details.license,
        "description": details.description,
        "base": _base(classifier, details),
        "method": _method(classifier, pruned),
        "labels": list(spec.labels),
        "positiveLabels": list(spec.positive_labels),
        "attributes": {
            label: {protocol: list(names) for protocol, names in each.items()}
            for label, each in details.attributes.items()
        },
        "languages": list(details.languages),
        "thresholds": {
            use: {"value": each.value, "precision": each.precision, "recall": each.recall}
            for use, each in details.thresholds.items()
        },
        "input": {
            "normalization": list(encoder.steps),
            "maxTokens": encoder.max_tokens,
            "windowOverlap": encoder.overlap,
            "prefixIds": list(encoder.prefix_ids),
            "suffixIds": list(encoder.suffix_ids),
            "padId": encoder.pad_id,
            "pooling": spec.pooling,
            **_prompt(spec),
        },
        "gates": [{"layer": layer, "module": module} for layer, module in pruned.gates],
        "dropped": [{"layer": layer, "module": module} for layer, module in pruned.dropped],
        "distribution": {
            **details.distribution,
            # A gate whose module lost its rank is not in the graph, so nothing could be compared with it.
            "gates": [g for g in details.distribution["gates"] if (g["layer"], g["module"]) in columns],
        },
        "graphs": [_graph(folder, graph) for graph in graphs],
        "files": [_file(folder, name) for name in others],
        "calibration": {
            "split": details.calibration.split,
            "temperature": details.calibration.temperature,
            "eceBefore": details.calibration.ece_before,
            "eceAfter": details.calibration.ece_after,
        },
        "evaluation": [{**vars(entry), "interval95": list(entry.interval95)} for entry in evaluation],
        "training": {
            "data": [vars(each) for each in details.training.data],
            "seed": details.training.seed,
            "settings": dict(details.training.settings),
            "libraries": dict(details.training.libraries),
            "commit": details.training.commit,
        },
    }
    validate_manifest(manifest)
    return manifest


def validate_manifest(manifest: Mapping[str, Any]) -> None:
    """Holds a manifest against the schema that the service reads it with.

    Raises:
        DsLoraError: Naming each place that does not fit.
    """
    # What is validated is what a reader of the file sees: NaN and tuples do not survive JSON.
    try:
        plain = json.loads(json.dumps(manifest, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DsLoraError(f"The manifest cannot be written as JSON: {error}. Correct what was measured.") from error
    problems = [
        f"{'.'.join(map(str, problem.absolute_path)) or 'manifest'}: {_said(problem)}"
        for problem in jsonschema.Draft202012Validator(_schema()).iter_errors(plain)
    ]
    if problems:
        raise DsLoraError(f"The manifest does not fit its schema, so nothing was written: {'; '.join(problems)}.")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _said(problem: jsonschema.ValidationError) -> str:
    return problem.message if len(problem.message) <= 200 else f"does not satisfy {problem.validator!r}"


@cache
def _schema() -> dict[str, Any]:
    """The schema's one source is the service's; a wheel carries a copy beside this file."""
    here = Path(__file__).resolve()
    candidates = [here.with_name(_SCHEMA_FILE), *(up / "src" / "bundle" / _SCHEMA_FILE for up in here.parents)]
    for path in candidates:
        if path.is_file():
            schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return schema
    raise DsLoraError(
        f"{_SCHEMA_FILE} was found neither in the package nor in src/bundle of a checkout. Install dslora again."
    )


def _base(classifier: Classifier, details: BundleDetails) -> dict[str, Any]:
    source = resolve_base(classifier.spec.base)
    method = classifier.method
    model = method.base_of(classifier.encoder)
    added = method.trained_names(classifier.encoder) if method.adds_weights else set()
    parameters = sum(element_count(p) for name, p in classifier.encoder.named_parameters() if name not in added)
    return {
        "id": source.id,
        "architecture": type(model).__name__,
        "parameters": parameters,
        "license": details.base_license or source.license,
    }


def _method(classifier: Classifier, pruned: Pruned) -> dict[str, Any]:
    spec = classifier.spec
    adapter = spec.adapter
    method = find_method(spec.method)
    modules = [
        name for name, module in classifier.encoder.named_modules() if isinstance(module, BaseTunerLayer | Bottleneck)
    ]
    return {
        "name": method.name,
        **({"rank": adapter.rank, "alpha": adapter.alpha} if isinstance(adapter, LowRankSettings) else {}),
        "targets": list(dict.fromkeys(canonical_module(name)[1] for name in modules)),
        "gate": _gate(adapter) if isinstance(adapter, GatedSettings) else None,
        "l1": {"kind": spec.l1.kind, "lambda": spec.l1.strength} if spec.l1 and method.sparse else None,
        "sparsity": pruned.sparsity,
        "ranksKept": [rank._asdict() for rank in pruned.ranks],
    }


def _prompt(spec: ClassifierSpec) -> dict[str, Any]:
    if not isinstance(spec.adapter, ZeroShotSettings):
        return {}
    prompt = prompt_of(spec.adapter, spec.labels, spec.positive_labels)
    words = dict(zip(spec.labels, prompt.words, strict=True))
    return {"prompt": {"template": prompt.template, "words": words}}


def _gate(settings: GatedSettings) -> dict[str, Any]:
    learned = settings.gate_kind == "learned"
    return {
        "kind": ("mlp" if settings.gate_hidden else "linear") if learned else settings.gate_kind,
        "hidden": settings.gate_hidden if learned else 0,
        "pooling": settings.gate_pooling,
        "scale": settings.gate_scale,
    }


def _graph(folder: Path, graph: GraphEntry) -> dict[str, Any]:
    parity = graph.parity
    return {
        **_file(folder, graph.file),
        "precision": graph.precision,
        "executionProviders": list(PROVIDERS[graph.precision]),
        "layout": graph.layout,
        "nodes": graph.nodes,
        **({"scales": graph.scales} if graph.scales else {}),
        **({"keptFloat32": list(graph.kept)} if graph.kept else {}),
        **(
            {"layoutsTimed": [{**vars(each), "milliseconds": dict(each.milliseconds)} for each in graph.timed]}
            if graph.timed
            else {}
        ),
        "batchInvariant": max(parity.batch_probabilities, parity.batch_gates) <= LIMITS["int8"].batch,
        "externalData": [_file(folder, graph.data)] if graph.data else [],
        "parity": {
            "texts": parity.texts,
            "probabilities": parity.probabilities,
            "gates": parity.gates,
            "labelFlips": parity.label_flips,
            "macroF1Change": parity.macro_f1_change,
        },
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return {"file": name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
