"""One graph of a bundle: arranged, brought to its precision, written, and proved against PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx_ir as ir
from torch import Tensor

from dslora.encoding import TextEncoder
from dslora.export.calibrate import activation_bounds
from dslora.export.fused import FusionError
from dslora.export.large_graphs import is_large, page_out
from dslora.export.layouts import AUTO, LayoutFigure, arrange, candidates, fastest, table, time_layouts
from dslora.export.manifest import GraphEntry
from dslora.export.parity import Reference, check_parity, holds, measure_parity
from dslora.export.placement import check_placements
from dslora.export.precisions import INT8_KINDS, PROVIDERS, Variant, variants
from dslora.export.sensitivity import most_sensitive_first
from dslora.export.session import GraphSession, placements
from dslora.export.surgery import Floats

# Windows that the order of products by sensitivity is measured on.
_SENSITIVITY_WINDOWS: Final = 64
_FLOAT32: Final = "float32"


@dataclass(frozen=True, eq=False)
class Proved:
    """A graph that was written, and the session that it was proved with."""

    entry: GraphEntry
    session: GraphSession


@dataclass(frozen=True, eq=False)
class Arranged:
    """A float32 graph in the layout that was chosen, and the figures that it was chosen by."""

    layout: str
    model: ir.Model
    figures: tuple[LayoutFigure, ...]


@dataclass(frozen=True, eq=False)
class Prover:
    """Makes the graphs of one model.

    Attributes:
        name: Of the bundle, for messages.
        reference: float32, as :func:`dslora.export.graph.build_graph` makes it.
        model_type: Of the base model.
        layout: As asked for: a name in ``LAYOUTS``, or ``auto``.
        encoder: Pads.
        expected: PyTorch's answers.
        weights: PyTorch's: their memory is given up once they are in a file.
        calibration: Windows of training texts, for the fixed scales of int8.
        threads: Of onnxruntime.
        provider: That graphs are run on where their precision is made for it; others run on the CPU.
        say: Is told what is being done.
    """

    name: str
    reference: ir.Model
    model_type: str
    layout: str
    encoder: TextEncoder
    expected: Reference
    weights: Sequence[Tensor]
    calibration: Sequence[Sequence[int]]
    threads: int
    provider: str
    say: Callable[[str], None]

    def prove(self, precision: str, file: Path) -> Proved | None:
        """Writes the fastest graph of a precision that agrees with PyTorch.

        Returns:
            None where no int8 graph is as close as int8 must be and, of those that were timed, faster than float32:
            float32 has to take its place.

        Raises:
            DsLoraError: It is outside its limits, does not load, or does not run on the provider as a whole.
        """
        self.say(f"{precision}: graph, comparison with PyTorch")
        arranged = self.arranged(precision)
        proved: Proved | None = None
        for variant in self._variants(precision, arranged):
            proved = self._proved(precision, arranged, variant, file)
            if precision != "int8" or holds(precision, proved.entry.parity):
                break
            self.say(f"int8, {variant.scales} scales: not close enough to PyTorch")
            proved = None
        if proved is None:
            file.unlink(missing_ok=True)
            file.with_name(f"{file.name}.data").unlink(missing_ok=True)
            return None
        check_parity(self.name, precision, proved.entry.parity)
        return proved

    def arranged(self, precision: str) -> Arranged:
        """The reference in the layout that was asked for, or that is fastest."""
        made: dict[str, ir.Model] = {}
        layouts = candidates(self.reference, self.layout)
        timed = self.layout == AUTO
        if timed and is_large(self.reference):
            self.say(f"{precision}: {layouts[0]}, since several layouts of so large a graph would not fit in memory")
            layouts, timed = candidates(self.reference, layouts[0]), False
        for layout in layouts:
            try:
                made[layout] = arrange(self.reference, self.model_type, layout, precision)
            except FusionError as error:
                self.say(f"{precision}: layout {layout} is left out. {error}")
        first = next(iter(made))
        if not timed or len(made) == 1:
            return Arranged(first, made[first], ())
        if "cpu" not in PROVIDERS[precision]:
            self.say(f"{precision}: {first}, since layouts are timed on the CPU only")
            return Arranged(first, made[first], ())
        self.say(f"{precision}: timing {len(made)} layouts")
        # As the graph will run: integers change what a product costs beside everything else.
        graphs = {name: next(variants(precision, model, {}, kinds=("row",))).model for name, model in made.items()}
        figures = time_layouts(graphs)
        layout = fastest(figures)
        self.say(f"{precision}: processor time on one thread\n{table(figures)}\n{precision}: {layout} is taken")
        return Arranged(layout, made[layout], tuple(figures))

    def bounds(self, model: ir.Model) -> dict[str, Floats]:
        """Bounds of activations for fixed scales; none where there are no texts for them."""
        if not self.calibration:
            return {}
        return activation_bounds(model, self.encoder, self.calibration, self.threads)

    def _variants(self, precision: str, arranged: Arranged) -> Iterator[Variant]:
        if precision != "int8":
            return variants(precision, arranged.model, {})
        bounds = self.bounds(arranged.model)
        timed = self.layout == AUTO and not is_large(self.reference)
        kinds = self._fastest_kinds(arranged.model, bounds) if timed else tuple(INT8_KINDS)
        return variants(precision, arranged.model, bounds, self._sensitive_first, kinds)

    def _fastest_kinds(self, model: ir.Model, bounds: Mapping[str, Floats]) -> tuple[str, ...]:
        """Kinds of int8 that are faster than float32 on this machine, the fastest first."""
        made = {kind: make(model, bounds) for kind, make in INT8_KINDS.items()}
        figures = time_layouts({_FLOAT32: model, **{kind: each for kind, each in made.items() if each is not None}})
        self.say(f"int8: processor time on one thread\n{table(figures)}")
        order = [figure.layout for figure in sorted(figures, key=lambda figure: figure.product)]
        faster = tuple(order[: order.index(_FLOAT32)])
        if not faster:
            self.say("int8: nothing is faster than float32")
        return faster

    def _sensitive_first(self, model: ir.Model) -> list[str]:
        self.say("int8: looking for the products that suffer most")
        windows = self.expected.texts.windows[:_SENSITIVITY_WINDOWS]
        return most_sensitive_first(model, self.encoder, windows, self.threads)

    def _proved(self, precision: str, arranged: Arranged, variant: Variant, file: Path) -> Proved:
        data = save(variant.model, file)
        if data is not None:
            page_out(self.weights)
        provider = self.provider if self.provider in PROVIDERS[precision] else "cpu"
        session = GraphSession(file, self.threads, provider)
        if provider != "cpu":
            check_placements(file.name, placements(file, provider), provider)
        parity = measure_parity(session, self.encoder, self.expected)
        nodes = len(variant.model.graph)
        entry = GraphEntry(
            file.name,
            data,
            precision,
            arranged.layout,
            parity,
            nodes,
            variant.scales,
            variant.kept,
            arranged.figures,
        )
        return Proved(entry, session)


def save(model: ir.Model, file: Path) -> str | None:
    """Writes a graph. Returns the name of the file with its weights, where they are too large for the graph's."""
    data = f"{file.name}.data" if is_large(model) else None
    ir.save(model, file, external_data=data)
    return data
