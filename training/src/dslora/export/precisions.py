"""From a float32 graph to the graphs of one precision that are worth trying, the fastest first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.blocks import quantize_blocks
from dslora.export.half import to_half
from dslora.export.quantize import quantizable, quantize
from dslora.export.surgery import Floats, producer

# Order of preference in a manifest: the service takes the first that its provider runs, so that a CPU runs int8 and
# CUDA fp16 where they are there.
PRECISIONS: Final = ("fp16", "int8", "int4", "fp32")
# Which providers run a graph of each precision. int8 products have kernels of onnxruntime for the CPU only, and a CPU
# runs float16 slower than float32.
PROVIDERS: Final[dict[str, tuple[str, ...]]] = {
    "fp16": ("cuda",),
    "int8": ("cpu",),
    "int4": ("cpu", "cuda"),
    "fp32": ("cpu", "cuda"),
}
# How many of the most sensitive products stay float32 where int8 is too far off, one try after another.
_KEPT: Final = (1, 2, 4, 8)


@dataclass(frozen=True, eq=False)
class Variant:
    """One graph to try.

    Attributes:
        model: The graph.
        scales: How activations or weights become integers, a name in ``INT8_KINDS`` or ``blocks``; None where they
            do not.
        kept: Names of the weights whose products stay float32 in an int8 graph.
    """

    model: ir.Model
    scales: str | None
    kept: tuple[str, ...] = ()


def _fixed(graph: ir.Model, bounds: Mapping[str, Floats]) -> ir.Model | None:
    return quantize(graph, bounds) if bounds else None


def _fixed_but_wide(graph: ir.Model, bounds: Mapping[str, Floats]) -> ir.Model | None:
    wide = {str(x.name) for x in quantizable(graph.graph) if producer(x, "Gelu", "Mul") is not None}
    if not bounds or not wide:
        return None
    return quantize(graph, {name: bound for name, bound in bounds.items() if name not in wide})


# Ways to int8, none of which depends on the batch: name -> graph, or None where it does not apply. Fastest first, as
# they were measured (docs/models.md).
INT8_KINDS: Final[dict[str, Callable[[ir.Model, Mapping[str, Floats]], ir.Model | None]]] = {
    "fixed": _fixed,
    "fixed-but-wide": _fixed_but_wide,
    "row": lambda graph, bounds: quantize(graph),
    "blocks-int8": lambda graph, bounds: quantize_blocks(graph, 8, integers=True),
    "blocks": lambda graph, bounds: quantize_blocks(graph, 8, integers=False),
}


def variants(
    precision: str,
    graph: ir.Model,
    bounds: Mapping[str, Floats],
    sensitive_first: Callable[[ir.Model], Sequence[str]] | None = None,
    kinds: Sequence[str] = tuple(INT8_KINDS),
) -> Iterator[Variant]:
    """Graphs of a precision, made one by one as they are asked for.

    Args:
        precision: Name in ``PRECISIONS``.
        graph: float32, arranged; stays as it is.
        bounds: Of activations, by :func:`dslora.export.calibrate.activation_bounds`; without any, scales are by row.
        sensitive_first: By :func:`dslora.export.sensitivity.most_sensitive_first`; asked when nothing else held.
            Without it there is nothing beyond the kinds.
        kinds: Names in ``INT8_KINDS``, in the order to try. Products stay float32 in ``row`` graphs only, so without
            ``row`` none does.

    Raises:
        DsLoraError: The precision is not known, or a weight does not fit it.
    """
    if precision == "fp32":
        yield Variant(graph, None)
    elif precision == "fp16":
        yield Variant(to_half(graph), None)
    elif precision == "int4":
        yield Variant(quantize_blocks(graph, 4, integers=True), "blocks")
    elif precision == "int8":
        for kind in kinds:
            model = INT8_KINDS[kind](graph, bounds)
            if model is not None:
                yield Variant(model, kind)
        if sensitive_first is not None and "row" in kinds:
            yield from _partly_float32(graph, sensitive_first(graph))
    else:
        raise DsLoraError(f"Precision {precision!r} is not known. Expected one of: {', '.join(PRECISIONS)}.")


def _partly_float32(graph: ir.Model, order: Sequence[str]) -> Iterator[Variant]:
    products = {str(x.name): nodes for x, nodes in quantizable(graph.graph).items()}
    # More than half in float32 would be neither small nor fast.
    for count in (n for n in _KEPT if n <= len(order) / 2):
        weights = [str(node.inputs[1].name) for x in order[:count] for node in products[x] if node.inputs[1]]
        yield Variant(quantize(graph, keep=order[:count]), "row", tuple(weights))
