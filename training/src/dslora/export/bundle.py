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
from dslora.export.calibrate import activation_bounds
from dslora.export.card import model_card
from dslora.export.details import BundleDetails, LabelledTexts
from dslora.export.fused import FusionError
from dslora.export.golden import GoldenVectors
from dslora.export.graph import build_graph
from dslora.export.layouts import (
    AUTO,
    LAYOUTS,
    REFERENCE,
    LayoutFigure,
    arrange,
    candidates,
    fastest,
    table,
    time_layouts,
)
from dslora.export.manifest import (
    MANIFEST_FILE,
    MANIFEST_SUM_FILE,
    EvaluationEntry,
    GraphEntry,
    build_manifest,
    sha256_of,
)
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.parity import Parity, check_parity, holds, measure_parity, pytorch_scores, reference
from dslora.export.precisions import PRECISIONS, variants
from dslora.export.ranks import Pruned, prune
from dslora.export.sensitivity import most_sensitive_first
from dslora.export.session import GraphSession
from dslora.export.tokenizer import write_tokenizer
from dslora.files import write_json, write_text
from dslora.folder import check_target, whole_folder

PYTORCH: Final = "pytorch-fp32"
# Windows a batch while figures are computed; what the answer is does not depend on it.
_BATCH: Final = 16
# Windows that the order of products by sensitivity is measured on.
_SENSITIVITY_WINDOWS: Final = 64
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
    layout: str = REFERENCE,
    calibration_texts: Sequence[str] = (),
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
        precisions: Names in ``PRECISIONS``: which graphs to write.
        layout: Name in ``dslora.export.layouts.LAYOUTS``, or ``auto``: the fastest on this machine. An architecture
            that cannot be fused is exported in the reference layout, and ``say`` is told.
        calibration_texts: Texts of the training split, for the fixed scales of int8. Without any, int8 computes a
            scale for each row.
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
    graph = build_graph(pruned.classifier, temperature)
    layouts = candidates(graph, layout)
    calibration = WindowedTexts.of(encoder, calibration_texts).windows
    model_type = pruned.classifier.encoder.config.get_text_config().model_type
    say(f"PyTorch's answers for {len(parity_texts.texts)} texts")
    expected = reference(classifier, temperature, encoder, parity_texts.texts, parity_texts.labels, pruned.kept_columns)

    def score(windows: Sequence[Sequence[int]]) -> Scores:
        return pytorch_scores(classifier, temperature, encoder, windows, pruned.kept_columns)

    golden = GoldenVectors(encoder, score, expected.positive)
    splits = [(each, WindowedTexts.of(encoder, each.texts)) for each in evaluation]
    figures = [f for each, texts in splits for f in _evaluate(PYTORCH, classifier, each, texts, score(texts.windows))]

    def sensitive_first(model: ir.Model) -> list[str]:
        say("int8: looking for the products that suffer most")
        return most_sensitive_first(model, encoder, expected.texts.windows[:_SENSITIVITY_WINDOWS], threads)

    with whole_folder(target, replace=replace) as folder:
        entries: list[GraphEntry] = []
        nodes: dict[str, int] = {}
        tolerance: dict[str, dict[str, float]] = {}
        for precision in sorted(precisions, key=PRECISIONS.index):
            say(f"{precision}: graph, comparison with PyTorch")
            arranged = _arranged(graph, model_type, layouts, layout, precision, say)
            bounds = (
                activation_bounds(arranged.model, encoder, calibration, threads)
                if precision == "int8" and calibration
                else {}
            )
            name = "model.onnx" if len(precisions) == 1 else f"model.{precision}.onnx"
            for variant in variants(precision, arranged.model, bounds, sensitive_first):
                data = _save(variant.model, folder, name)
                session = GraphSession(folder / name, threads)
                parity = measure_parity(session, encoder, expected)
                if holds(precision, parity):
                    break
                say(f"{precision}, {variant.scales} scales: not close enough to PyTorch")
            check_parity(details.name, precision, parity)
            nodes[precision] = len(variant.model.graph)
            entries.append(
                GraphEntry(
                    name,
                    data,
                    precision,
                    arranged.layout,
                    parity,
                    nodes[precision],
                    variant.scales,
                    variant.kept,
                    arranged.figures,
                )
            )
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
        sum_line = f"{sha256_of(folder / MANIFEST_FILE)}  {MANIFEST_FILE}\n"
        (folder / MANIFEST_SUM_FILE).write_text(sum_line)
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
    if layout not in (AUTO, *LAYOUTS):
        raise DsLoraError(f"Graph layout {layout!r} is not known. Expected one of: {', '.join((AUTO, *LAYOUTS))}.")


@dataclass(frozen=True, eq=False)
class _Arranged:
    """The float32 graph in the layout that was chosen, and the figures that it was chosen by."""

    layout: str
    model: ir.Model
    figures: tuple[LayoutFigure, ...]


def _arranged(
    reference: ir.Model, model_type: str, layouts: Sequence[str], asked: str, precision: str, say: Callable[[str], None]
) -> _Arranged:
    made: dict[str, ir.Model] = {}
    for layout in layouts:
        try:
            made[layout] = arrange(reference, model_type, layout, precision)
        except FusionError as error:
            say(f"{precision}: layout {layout} is left out. {error}")
    if asked != AUTO or len(made) == 1:
        layout = next(iter(made))
        return _Arranged(layout, made[layout], ())
    say(f"{precision}: timing {len(made)} layouts")
    # As the graph will run: integers change what a product costs beside everything else.
    timed = {name: next(variants(precision, model, {})).model for name, model in made.items()}
    figures = time_layouts(timed)
    layout = fastest(figures)
    say(f"{precision}: processor time on one thread\n{table(figures)}\n{precision}: {layout} is the fastest")
    return _Arranged(layout, made[layout], tuple(figures))


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
