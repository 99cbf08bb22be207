"""From a float32 graph to the graphs of one precision that are worth trying, the fastest first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.quantize import quantizable, quantize
from dslora.export.surgery import Floats, producer

# Order of preference in a manifest: the service takes the first that its provider runs.
PRECISIONS: Final = ("int8", "fp32")
# How many of the most sensitive products stay float32 where int8 is too far off, one try after another.
_KEPT: Final = (1, 2, 4, 8)


@dataclass(frozen=True, eq=False)
class Variant:
    """One graph to try.

    Attributes:
        model: The graph.
        scales: How activations become integers: ``fixed``, ``fixed-but-wide`` (one a row where the feed-forward
            part is widest) or ``row``; None for float32.
        kept: Names of the weights whose products stay float32 in an int8 graph.
    """

    model: ir.Model
    scales: str | None
    kept: tuple[str, ...] = ()


def variants(
    precision: str,
    graph: ir.Model,
    bounds: Mapping[str, Floats],
    sensitive_first: Callable[[ir.Model], Sequence[str]] | None = None,
) -> Iterator[Variant]:
    """Graphs of a precision, made one by one as they are asked for.

    Args:
        precision: Name in ``PRECISIONS``.
        graph: float32, arranged; stays as it is.
        bounds: Of activations, by :func:`dslora.export.calibrate.activation_bounds`; without any, scales are by row.
        sensitive_first: By :func:`dslora.export.sensitivity.most_sensitive_first`; asked when nothing else held.
            Without it there is nothing beyond a scale for each row.

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
        if sensitive_first is not None:
            order = sensitive_first(graph)
            products = {str(x.name): nodes for x, nodes in quantizable(graph.graph).items()}
            # More than half in float32 would be neither small nor fast.
            for count in (n for n in _KEPT if n <= len(order) / 2):
                weights = [str(node.inputs[1].name) for x in order[:count] for node in products[x] if node.inputs[1]]
                yield Variant(quantize(graph, keep=order[:count]), "row", tuple(weights))
    else:
        raise DsLoraError(f"Precision {precision!r} is not known. Expected one of: {', '.join(PRECISIONS)}.")
