"""Every precision and every way to int8 beside float32: what it changes and what it costs. ``dslora precisions``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import onnx_ir as ir

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder
from dslora.export.details import LabelledTexts
from dslora.export.dynamic import quantize_dynamic
from dslora.export.graph import build_graph
from dslora.export.layouts import SHAPES, LayoutFigure, time_layouts
from dslora.export.outcome import WindowedTexts
from dslora.export.parity import LIMITS, SEEN_FALL, Parity, holds, measure_parity, reference
from dslora.export.precisions import INT8_KINDS, variants
from dslora.export.prove import Prover, save
from dslora.export.ranks import prune
from dslora.export.session import GraphSession

DYNAMIC: Final = "dynamic"
_FP32: Final = "fp32"
_HEADER: Final = (
    *("graph", "MiB", *(f"{rows} x {tokens} ms" for rows, tokens in SHAPES)),
    *("batch: change", "labels", "PyTorch: probabilities", "gates", "labels", "macro-F1", "holds"),
)


@dataclass(frozen=True)
class Compared:
    """One graph.

    Attributes:
        kind: A precision, or a way to int8.
        precision: Whose limits it is held to.
        parity: Against PyTorch.
        bytes: Of the graph with its weights.
        figure: Times on the CPU, where the precision is made for one.
    """

    kind: str
    precision: str
    parity: Parity
    bytes: int
    figure: LayoutFigure | None

    @property
    def holds(self) -> bool:
        return holds(self.precision, self.parity)


def compare(
    classifier: Classifier,
    temperature: float,
    encoder: TextEncoder,
    texts: LabelledTexts,
    calibration_texts: Sequence[str],
    *,
    layout: str,
    threads: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> list[Compared]:
    """Makes every graph, compares each with PyTorch and times those that are made for a CPU, on one thread.

    Args:
        classifier: As trained; stays as it is.
        temperature: Divides the logits.
        encoder: From text to windows.
        texts: At least 200 labelled texts.
        calibration_texts: Of the training split, for fixed scales.
        layout: Of the graphs: a name in ``LAYOUTS``, or ``auto``.
        threads: Of onnxruntime while answers are compared.
        say: Is told what is being done.

    Raises:
        DsLoraError: Too few texts, a weight is not finite, or a graph does not load.
    """
    pruned = prune(classifier)
    prover = Prover(
        name="comparison",
        reference=build_graph(pruned.classifier, temperature),
        model_type=pruned.classifier.encoder.config.get_text_config().model_type,
        layout=layout,
        encoder=encoder,
        expected=reference(classifier, temperature, encoder, texts.texts, texts.labels, pruned.kept_columns),
        weights=[*classifier.parameters()],
        calibration=WindowedTexts.of(encoder, calibration_texts).windows,
        threads=threads,
        provider="cpu",
        say=say,
    )
    models = dict(_graphs(prover))
    timed = {kind: model for kind, (precision, model) in models.items() if precision != "fp16"}
    figures = {figure.layout: figure for figure in time_layouts(timed)}
    compared = []
    with TemporaryDirectory() as folder:
        for kind, (precision, model) in models.items():
            file = Path(folder) / f"{kind}.onnx"
            save(model, file)
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            parity = measure_parity(GraphSession(file, threads), encoder, prover.expected)
            compared.append(Compared(kind, precision, parity, size, figures.get(kind)))
            # As they come: all of them together take minutes.
            say(_line(_row(compared[-1])))
            for path in Path(folder).iterdir():
                path.unlink()
    return compared


def _graphs(prover: Prover) -> Iterator[tuple[str, tuple[str, ir.Model]]]:
    """Every graph by its kind, with the precision whose limits it is held to."""
    inside, outside = prover.arranged(_FP32).model, prover.arranged("int8").model
    yield _FP32, (_FP32, inside)
    bounds = prover.bounds(outside)
    for kind, make in INT8_KINDS.items():
        model = make(outside, bounds)
        if model is not None:
            yield kind, ("int8", model)
    yield DYNAMIC, ("int8", quantize_dynamic(outside))
    yield "int4", ("int4", next(variants("int4", outside, {})).model)
    yield "fp16", ("fp16", next(variants("fp16", inside, {})).model)


def shipped(compared: Sequence[Compared]) -> str:
    """The fastest way to int8 that holds and is faster than float32; else float32."""
    times = {each.kind: each.figure.product for each in compared if each.figure is not None}
    rivals = [each.kind for each in compared if each.precision == "int8" and each.holds]
    fastest = min(rivals, key=lambda kind: times[kind], default=_FP32)
    return fastest if times[fastest] < times[_FP32] else _FP32


def table(compared: Sequence[Compared]) -> str:
    """Markdown: a row for each graph, and what would be shipped for a CPU."""
    return "\n".join(
        [
            _line(_HEADER),
            _line(("---",) * len(_HEADER)),
            *(_line(_row(each)) for each in compared),
            "",
            f"{compared[0].parity.texts} texts. An int8 graph holds if no batch changes an answer by more than "
            f"{LIMITS['int8'].batch:g} or any label, it is within its limits, and macro-F1 falls by at most "
            f"{SEEN_FALL:g}.",
            f"Shipped for a CPU: {shipped(compared)}.",
        ]
    )


def _row(each: Compared) -> tuple[str, ...]:
    parity = each.parity
    times = [f"{value:.2f}" for value in each.figure.milliseconds.values()] if each.figure else ["–"] * len(SHAPES)
    return (
        *(each.kind, f"{each.bytes / 2**20:.1f}", *times),
        f"{max(parity.batch_probabilities, parity.batch_gates):.1e}",
        str(parity.batch_flips),
        *(f"{parity.probabilities:.1e}", f"{parity.gates:.1e}", str(parity.label_flips)),
        *(f"{parity.macro_f1_change:+.4f}", "yes" if each.holds else "no"),
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
