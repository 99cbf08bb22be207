"""Writes a bundle: one folder with everything needed to serve one model. Contract: docs/bundle.md."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.evaluation import measure
from dslora.export.card import model_card
from dslora.export.details import BundleDetails, LabelledTexts
from dslora.export.golden import GoldenVectors
from dslora.export.graph import build_graph
from dslora.export.layouts import AUTO, LAYOUTS, REFERENCE
from dslora.export.manifest import (
    MANIFEST_FILE,
    MANIFEST_SUM_FILE,
    EvaluationEntry,
    GraphEntry,
    build_manifest,
    sha256_of,
)
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.parity import Parity, pytorch_scores, reference
from dslora.export.precisions import PRECISIONS, PROVIDERS
from dslora.export.prove import Proved, Prover
from dslora.export.ranks import Pruned, prune
from dslora.export.session import check_provider
from dslora.export.tokenizer import write_tokenizer
from dslora.files import write_json, write_text
from dslora.folder import check_target, whole_folder

PYTORCH: Final = "pytorch-fp32"
# Windows a batch while figures are computed; what the answer is does not depend on it.
_BATCH: Final = 16


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
    provider: str = "cpu",
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
        precisions: Names in ``PRECISIONS``: which graphs to write. Where no int8 graph holds, float32 takes its place,
            and ``say`` is told.
        layout: Name in ``dslora.export.layouts.LAYOUTS``, or ``auto``: the fastest on this machine. An architecture
            that cannot be fused is exported in the reference layout, and ``say`` is told.
        calibration_texts: Texts of the training split, for the fixed scales of int8. Without any, int8 computes a
            scale for each row.
        replace: Whether an existing bundle may be replaced.
        threads: Of onnxruntime; 0 takes all.
        provider: That graphs made for it are run and checked on: ``cpu`` or ``cuda``.
        say: Is told what is being done.

    Raises:
        DsLoraError: The target exists, the provider is not there, a weight is not finite, a graph is outside its
            limits, the manifest does not fit its schema, or the disk refuses. Nothing is written then.
    """
    check_target(target, replace=replace)
    _check_options(precisions, layout, provider)
    temperature = details.calibration.temperature
    pruned = prune(classifier)
    say("building the graph")
    graph = build_graph(pruned.classifier, temperature)
    say(f"PyTorch's answers for {len(parity_texts.texts)} texts")
    expected = reference(classifier, temperature, encoder, parity_texts.texts, parity_texts.labels, pruned.kept_columns)

    def score(windows: Sequence[Sequence[int]]) -> Scores:
        return pytorch_scores(classifier, temperature, encoder, windows, pruned.kept_columns)

    golden = GoldenVectors(encoder, score, expected.positive)
    splits = [(each, WindowedTexts.of(encoder, each.texts)) for each in evaluation]
    figures = [f for each, texts in splits for f in _evaluate(PYTORCH, classifier, each, texts, score(texts.windows))]
    prover = Prover(
        name=details.name,
        reference=graph,
        model_type=pruned.classifier.encoder.config.get_text_config().model_type,
        layout=layout,
        encoder=encoder,
        expected=expected,
        weights=[*classifier.parameters()],
        calibration=WindowedTexts.of(encoder, calibration_texts).windows,
        threads=threads,
        provider=provider,
        say=say,
    )
    with whole_folder(target, replace=replace) as folder:
        entries: list[GraphEntry] = []
        tolerance: dict[str, dict[str, float]] = {}
        for proved in _graphs(prover, folder, precisions):
            entries.append(proved.entry)
            precision, parity = proved.entry.precision, proved.entry.parity
            own = Scores(*proved.session.run_in_batches(encoder, golden.windowed.windows, 1))
            tolerance[precision] = golden.tolerance(precision, own, (parity.probabilities, parity.gates))
            for each, texts in splits:
                scores = Scores(*proved.session.run_in_batches(encoder, texts.windows, _BATCH))
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
    nodes = {entry.precision: entry.nodes for entry in entries}
    return BundleReport(target, size, parities, nodes, tolerance, tuple(figures), pruned)


def _check_options(precisions: Sequence[str], layout: str, provider: str) -> None:
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or not precisions or len(set(precisions)) != len(precisions):
        raise DsLoraError(
            f"Precisions: {', '.join(precisions) or 'none'}. "
            f"Expected one or more of: {', '.join(PRECISIONS)}, each once."
        )
    if layout not in (AUTO, *LAYOUTS):
        raise DsLoraError(f"Graph layout {layout!r} is not known. Expected one of: {', '.join((AUTO, *LAYOUTS))}.")
    check_provider(provider)
    if provider != "cpu" and not any(provider in PROVIDERS[precision] for precision in precisions):
        made = ", ".join(name for name, providers in PROVIDERS.items() if provider in providers)
        raise DsLoraError(
            f"No graph of {', '.join(precisions)} is made for {provider}, so nothing could be checked there. "
            f"Expected one of: {made}."
        )


def _graphs(prover: Prover, folder: Path, precisions: Sequence[str]) -> Iterator[Proved]:
    """The graphs that were asked for, in the order of preference; float32 in the place of int8 that does not hold."""
    wanted = sorted(precisions, key=PRECISIONS.index)
    for precision in wanted:
        made = prover.prove(precision, _file(folder, precision, precisions))
        if made is None:
            prover.say(
                f"{precision}: no graph is close enough to PyTorch and faster than fp32, so fp32 takes its place"
            )
            if "fp32" not in wanted:
                wanted.append("fp32")
        else:
            yield made


def _file(folder: Path, precision: str, precisions: Sequence[str]) -> Path:
    return folder / ("model.onnx" if len(precisions) == 1 else f"model.{precision}.onnx")


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
