"""From a float32 graph to the graphs of one precision that are worth trying, the fastest first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.quantize import quantizable, quantize
from dslora.export.surgery import Floats, producer

# Order of preference in a manifest: the service takes the first that its provider runs.
PRECISIONS: Final = ("int8", "fp32")


@dataclass(frozen=True, eq=False)
class Variant:
    """One graph to try.

    Attributes:
        model: The graph.
        scales: How activations become integers: ``fixed``, ``fixed-but-wide`` (one a row where the feed-forward
            part is widest) or ``row``; None for float32.
    """

    model: ir.Model
    scales: str | None


def variants(precision: str, graph: ir.Model, bounds: Mapping[str, Floats]) -> Iterator[Variant]:
    """Graphs of a precision, made one by one as they are asked for.

    Args:
        precision: Name in ``PRECISIONS``.
        graph: float32, arranged; stays as it is.
        bounds: Of activations, by :func:`dslora.export.calibrate.activation_bounds`; without any, scales are by row.

    Raises:
        DsLoraError: The precision is not known.
    """
    if precision == "fp32":
        yield Variant(graph, None)
    elif precision == "int8":
        if bounds:
            yield Variant(quantize(graph, bounds), "fixed")
            wide = {str(x.name) for x in quantizable(graph.graph) if producer(x, "Gelu", "Mul") is not None}
            if wide:
                yield Variant(quantize(graph, {k: v for k, v in bounds.items() if k not in wide}), "fixed-but-wide")
        yield Variant(quantize(graph), "row")
    else:
        raise DsLoraError(f"Precision {precision!r} is not known. Expected one of: {', '.join(PRECISIONS)}.")
