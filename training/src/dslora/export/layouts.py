"""The layouts of a graph by name, and which of them is fastest on this machine."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.fused import fuse
from dslora.export.projections import groups_of_projections
from dslora.export.session import GraphSession

REFERENCE: Final = "reference"
AUTO: Final = "auto"
LAYOUTS: Final[dict[str, str]] = {
    REFERENCE: "what PyTorch's exporter makes of the model",
    "k-concat": "fused; branches inside the product of query, key and value, as more rows of its weight",
    "one-gemm": "fused; A as more columns of that product, B beside it",
    "small-gemm": "fused; A and B beside that product",
    "naive": "fused attention only; every projection and branch by itself, as in the paper",
}
# Precisions whose products become integers, which they cannot inside fused attention.
INTEGERS: Final = frozenset({"int8", "int4"})
# Rows and tokens, as the target names them (docs/performance.md): one short post on an idle service, and a batch larger
# than the service's own, of 192 tokens unless set otherwise.
SHAPES: Final = ((1, 32), (8, 64))
_ROUNDS: Final = 10
# Of one graph's turn: short batches are run often enough for their least time to settle.
_TURN_SECONDS: Final = 0.1
# Of a time: by so much two layouts of one model differ in one export more than in the next.
_CHANCE: Final = 0.02


@dataclass(frozen=True)
class LayoutFigure:
    """One layout as it was timed.

    Attributes:
        layout: Name in ``LAYOUTS``.
        nodes: Of the graph.
        milliseconds: Processor time of one run on one thread, by shape (``1x32``); the least of several runs.
    """

    layout: str
    nodes: int
    milliseconds: Mapping[str, float]

    @property
    def product(self) -> float:
        """Of its times: by it each shape counts alike, whatever it takes."""
        return math.prod(self.milliseconds.values())


def arrange(reference: ir.Model, model_type: str, layout: str, precision: str) -> ir.Model:
    """The float32 graph in a layout, ready to become the given precision.

    Args:
        reference: As :func:`dslora.export.graph.build_graph` makes it; stays as it is.
        model_type: Of the base model, as transformers names it.
        layout: Name in ``LAYOUTS``.
        precision: Name in ``PRECISIONS``.

    Raises:
        DsLoraError: The layout is not known, or nothing can be fused in this graph.
    """
    if layout == REFERENCE:
        return reference
    return fuse(reference, model_type, layout, "outside" if precision in INTEGERS else "inside")


def candidates(reference: ir.Model, layout: str) -> list[str]:
    """Which layouts to try for what the user asked for, the reference last.

    Raises:
        DsLoraError: The layout is not known.
    """
    if layout == AUTO:
        groups = groups_of_projections(reference.graph)
        if not any(each.branch for group in groups for each in group):
            # Without branches the fused layouts are one and the same.
            return ["k-concat", REFERENCE] if groups else [REFERENCE]
        return [*(name for name in LAYOUTS if name != REFERENCE), REFERENCE]
    if layout not in LAYOUTS:
        raise DsLoraError(f"Graph layout {layout!r} is not known. Expected one of: {', '.join((AUTO, *LAYOUTS))}.")
    return [layout] if layout == REFERENCE else [layout, REFERENCE]


def time_layouts(models: Mapping[str, ir.Model], shapes: Sequence[tuple[int, int]] = SHAPES) -> list[LayoutFigure]:
    """Times graphs against each other, alternating, on one thread, in processor time: load beside it hardly shows.

    Args:
        models: By layout.
        shapes: Rows and tokens of the batches.
    """
    least: dict[tuple[str, tuple[int, int]], float] = {}
    with TemporaryDirectory() as folder:
        sessions = {}
        for name, model in models.items():
            file = Path(folder) / f"{name}.onnx"
            ir.save(model, file, external_data=f"{name}.onnx.data")
            sessions[name] = GraphSession(file, threads=1)
        for shape in shapes:
            for session in sessions.values():
                session.seconds(*shape)
            for _ in range(_ROUNDS):
                for name, session in sessions.items():
                    spent = 0.0
                    while spent < _TURN_SECONDS:
                        seconds = session.seconds(*shape)
                        least[name, shape] = min(least.get((name, shape), seconds), seconds)
                        spent += seconds
    return [
        LayoutFigure(
            name,
            len(model.graph),
            {f"{rows}x{tokens}": round(least[name, (rows, tokens)] * 1000, 3) for rows, tokens in shapes},
        )
        for name, model in models.items()
    ]


def fastest(figures: Sequence[LayoutFigure]) -> str:
    """The layout with the least product of its times; of those that differ by chance alone, the one of fewest nodes.

    Each node is one more thing to hand to threads, which times on one thread do not show.
    """
    least = min(figure.product for figure in figures)
    alike = [each for each in figures if each.product <= least * (1 + _CHANCE) ** len(each.milliseconds)]
    return min(alike, key=lambda figure: (figure.nodes, figure.product)).layout


def table(figures: Sequence[LayoutFigure]) -> str:
    """Figures as lines of text."""
    shapes = list(figures[0].milliseconds) if figures else []
    lines = [f"{'layout':<16}{'nodes':>7}" + "".join(f"{shape + ' ms':>12}" for shape in shapes)]
    for figure in figures:
        times = "".join(f"{figure.milliseconds[shape]:>12.2f}" for shape in shapes)
        lines.append(f"{figure.layout:<16}{figure.nodes:>7}{times}")
    return "\n".join(lines)
