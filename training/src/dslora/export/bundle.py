"""Writes a bundle: one folder with everything needed to serve one model. Contract: docs/bundle.md."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.evaluation import measure
from dslora.export.card import model_card
from dslora.export.details import BundleDetails, LabelledTexts
from dslora.export.golden import GoldenVectors
from dslora.export.graph import LAYOUTS, build_graph
from dslora.export.manifest import MANIFEST_FILE, EvaluationEntry, GraphEntry, build_manifest
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.parity import Parity, check_parity, measure_parity, pytorch_scores, reference
from dslora.export.quantize import quantize
from dslora.export.ranks import Pruned, prune
from dslora.export.session import GraphSession
from dslora.export.tokenizer import write_tokenizer
from dslora.files import write_json, write_text
from dslora.folder import check_target, whole_folder

# Order of preference in a manifest: the service takes the first that its provider runs.
PRECISIONS: Final[dict[str, Callable[[ir.Model], ir.Model]]] = {"int8": quantize, "fp32": lambda model: model}
PYTORCH: Final = "pytorch-fp32"
# Windows a batch while figures are computed; what the answer is does not depend on it.
_BATCH: Final = 16
# protobuf holds at most 2 GiB; weights above this go to a file beside the graph.
_LARGEST_GRAPH: Final = 1_900_000_000


@dataclass(frozen=True)
class BundleReport:
    """What was written.

    Attributes:
        folder: The bundle.
        bytes: Size of all its files.
        parity: Against PyTorch, by precision.
        nodes: Number of nodes of each graph, by precision.
        tolerance: Of the golden vectors, by precision.
        evaluation: Every figure, of PyTorch and of each graph.
        pruned: Which ranks and gates are left.
    """

    folder: Path
    bytes: int
    parity: dict[str, Parity]
    nodes: dict[str, int]
    tolerance: dict[str, dict[str, float]]
    evaluation: tuple[EvaluationEntry, ...]
    pruned: Pruned


def write_bundle(
    target: Path,
    classifier: Classifier,
    tokenizer: Any,
    encoder: TextEncoder,
    details: BundleDetails,
    parity_texts: LabelledTexts,
    evaluation: Sequence[LabelledTexts] = (),
    *,
    precisions: Sequence[str] = ("int8",),
    layout: str = "reference",
    replace: bool = False,
    threads: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> BundleReport:
    """Exports a classifier, proves the graphs against PyTorch, and writes the bundle whole or not at all.

    Args:
        target: The bundle's folder.
        classifier: As trained; stays as it is.
        tokenizer: The transformers tokenizer that ``encoder`` was made from.
        encoder: From text to windows, as in training.
        details: What the bundle states about the model.
        parity_texts: At least 200 real, labelled texts, as a rule the development split. Each graph must agree
            with PyTorch on them.
        evaluation: Splits to measure PyTorch and every graph on, for manifest and card.
        precisions: Keys of ``PRECISIONS``: which graphs to write.
        layout: Name in ``dslora.export.graph.LAYOUTS``.
        replace: Whether an existing bundle may be replaced.
        threads: Of onnxruntime; 0 takes all.
        say: Is told what is being done.

    Raises:
        DsLoraError: The target exists, a weight is not finite, a graph is outside its limits, the manifest does
            not fit its schema, or the disk refuses. Nothing is written then.
    """
    check_target(target, replace=replace)
    _check_options(precisions, layout)
    temperature = details.calibration.temperature
    pruned = prune(classifier)
    say("building the graph")
    graph = build_graph(pruned.classifier, temperature, layout)
    say(f"PyTorch's answers for {len(parity_texts.texts)} texts")
    expected = reference(classifier, temperature, encoder, parity_texts.texts, parity_texts.labels, pruned.kept_columns)

    def score(windows: Sequence[Sequence[int]]) -> Scores:
        return pytorch_scores(classifier, temperature, encoder, windows, pruned.kept_columns)

    golden = GoldenVectors(encoder, score, expected.positive)
    splits = [(each, WindowedTexts.of(encoder, each.texts)) for each in evaluation]
    figures = [f for each, texts in splits for f in _evaluate(PYTORCH, classifier, each, texts, score(texts.windows))]

    with whole_folder(target, replace=replace) as folder:
        entries: list[GraphEntry] = []
        nodes: dict[str, int] = {}
        tolerance: dict[str, dict[str, float]] = {}
        for precision in sorted(precisions, key=list(PRECISIONS).index):
            say(f"{precision}: graph, comparison with PyTorch")
            model = PRECISIONS[precision](graph)
            nodes[precision] = len(list(model.graph))
            name = "model.onnx" if len(precisions) == 1 else f"model.{precision}.onnx"
            data = _save(model, folder, name)
            session = GraphSession(folder / name, threads)
            parity = measure_parity(session, encoder, expected)
            check_parity(details.name, precision, parity)
            entries.append(GraphEntry(name, data, precision, layout, parity))
            own = Scores(*session.run_in_batches(encoder, golden.windowed.windows, 1))
            tolerance[precision] = golden.tolerance(precision, own, (parity.probabilities, parity.gates))
            for each, texts in splits:
                scores = Scores(*session.run_in_batches(encoder, texts.windows, _BATCH))
                figures += _evaluate(precision, classifier, each, texts, scores)
        say("writing the bundle")
        write_tokenizer(folder, tokenizer, encoder)
        # ASCII with escapes: a lone surrogate has no UTF-8.
        write_text(folder / "golden.json", json.dumps(golden.document(tolerance), separators=(",", ":")) + "\n")
        # The card is listed in the manifest and reads from it, so the manifest is built twice.
        write_text(folder / "README.md", "\n")
        manifest = build_manifest(folder, classifier, pruned, encoder, details, entries, figures)
        write_text(folder / "README.md", model_card(manifest, details.terms))
        manifest = build_manifest(folder, classifier, pruned, encoder, details, entries, figures)
        write_json(folder / MANIFEST_FILE, manifest)
    size = sum(path.stat().st_size for path in target.iterdir())
    parities = {entry.precision: entry.parity for entry in entries}
    return BundleReport(target, size, parities, nodes, tolerance, tuple(figures), pruned)


def _check_options(precisions: Sequence[str], layout: str) -> None:
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or not precisions or len(set(precisions)) != len(precisions):
        raise DsLoraError(
            f"Precisions: {', '.join(precisions) or 'none'}. "
            f"Expected one or more of: {', '.join(PRECISIONS)}, each once."
        )
    if layout not in LAYOUTS:
        raise DsLoraError(f"Graph layout {layout!r} is not known. Expected one of: {', '.join(LAYOUTS)}.")


def _save(model: ir.Model, folder: Path, name: str) -> str | None:
    """Writes a graph. Returns the name of the file with its weights, where they are too large for the graph's."""
    weights = (value.const_value for value in model.graph.initializers.values())
    large = sum(weight.nbytes for weight in weights if weight is not None) > _LARGEST_GRAPH
    data = f"{name}.data" if large else None
    ir.save(model, folder / name, external_data=data)
    return data


def _evaluate(
    precision: str, classifier: Classifier, split: LabelledTexts, texts: WindowedTexts, windows: Scores
) -> list[EvaluationEntry]:
    spec = classifier.spec
    positive = [spec.labels.index(label) for label in spec.positive_labels]
    metrics = measure(
        texts.combine(windows, positive).probabilities,
        np.asarray(split.labels, dtype=np.int64),
        spec.labels,
        spec.positive_labels,
    )
    return [
        EvaluationEntry(split.dataset, split.split, precision, metrics.n, metric, each.value, each.interval95)
        for metric, each in metrics.named()
    ]
