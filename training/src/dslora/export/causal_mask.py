"""What an attention mask lets tokens see, found out by running the part of the graph that computes it.

Exporters write the same mask in many forms, so the form is not looked at: the mask is computed for two short texts, one
of them padded, and compared with what a decoder's mask is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from dslora.export.surgery import remove_unused, scalar_of

# A window that is larger than the texts it is tried on would not be seen, so this one is put in its place.
_TRIED_WINDOW: Final = 3
_TRIED_TOKENS: Final = 8
_TRIED_PADDING: Final = 2


@dataclass(frozen=True)
class Causal:
    """A token sees itself and what is before it, padding left out.

    Attributes:
        window: How many tokens at most, itself included; None for all of them.
    """

    window: int | None


def causal_mask(model: ir.Model, mask: ir.Value) -> Causal | None:
    """What a mask of attention ``[batch, 1, sequence, sequence]`` stands for, if it is a decoder's.

    Args:
        model: The graph with the contract's inputs; stays as it is.
        mask: Booleans, true for what is seen, or numbers that are added to scores, 0 for what is seen.
    """
    part = model.clone()
    graph = part.graph
    found = next((out for node in graph for out in node.outputs if out.name == mask.name), None)
    if found is None:
        return None
    graph.outputs[:] = [found]
    remove_unused(part)
    distances = [
        value for node in graph if node.op_type == "Sub" for value in node.inputs[1:] if _is_whole(value, least=1)
    ]
    if len(set(distances)) > 1:
        return None
    window = None
    for value in distances[:1]:
        assert value is not None
        assert value.const_value is not None
        number = value.const_value.numpy()
        window = int(number.reshape(-1)[0])
        value.const_value = ir.tensor(np.full_like(number, _TRIED_WINDOW), name=value.name)
    seen = _seen(part)
    if seen is None or not np.array_equal(seen, _expected(None if window is None else _TRIED_WINDOW)):
        return None
    return Causal(window)


def _is_whole(value: ir.Value | None, least: int) -> bool:
    number = scalar_of(value)
    return number is not None and number >= least and number == int(number)


def _tried() -> NDArray[np.int64]:
    """Attention mask of two texts, the second padded on the right."""
    mask = np.ones((2, _TRIED_TOKENS), dtype=np.int64)
    mask[1, -_TRIED_PADDING:] = 0
    return mask


def _seen(part: ir.Model) -> NDArray[np.bool_] | None:
    given = _tried()
    (output,) = part.graph.outputs
    try:
        (values,) = ReferenceEvaluator(ir.to_proto(part)).run(
            None, {str(each.name): given for each in part.graph.inputs}
        )
    except Exception:  # whatever the evaluator cannot run is no mask that is known here
        return None
    shape = (len(given), 1, given.shape[1], given.shape[1])
    seen = values if output.dtype == ir.DataType.BOOL else values == 0
    return np.broadcast_to(seen, shape) if np.ndim(seen) == 4 else None


def _expected(window: int | None) -> NDArray[np.bool_]:
    given = _tried().astype(bool)
    at = np.arange(given.shape[1])
    past = at[:, None] - at[None, :]
    seen = (past >= 0) & (past < (given.shape[1] if window is None else window))
    return np.asarray(seen[None, None] & given[:, None, None, :])
