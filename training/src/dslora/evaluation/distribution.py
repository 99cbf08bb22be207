"""The manifest's `distribution`: how a split looks to the model, so that drift can be seen later.

Contract: `distribution` in src/bundle/manifest.schema.json. A bin holds the values from its lower edge up to,
but not including, its upper edge; the last bin includes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dslora.evaluation.gates import gate_quantiles
from dslora.evaluation.metrics import Floats, Integers

_PROBABILITY_EDGES: Final = np.linspace(0, 1, 21).round(2)
# Posts are short: bins of 8 tokens where most of them are, then doubling.
_FINE_TOKEN_EDGES: Final = tuple(range(0, 129, 8))
# Well below the distance between neighbouring percentiles of the flattest gates seen (spread 0.004).
_GATE_DECIMALS: Final = 6


def distribution(
    split: str,
    probabilities: Floats,
    labels: Integers,
    names: Sequence[str],
    gates: Floats,
    columns: Sequence[tuple[int, str]],
    tokens: Integers,
    kept: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Build the object from predictions on a split.

    Args:
        split: name of the split, as a rule development.
        probabilities: [n, L], temperature applied.
        labels: true classes, [n].
        names: the L class names.
        gates: [n, modules].
        columns: (layer, module) of each column of the gates.
        tokens: length of each post in tokens, special ones included, [n].
        kept: columns that a bundle keeps, over which it takes the mean gate; all if absent.
    """
    served = gates if kept is None else gates[:, list(kept)]
    mean_gate = served.mean(axis=1, keepdims=True, dtype=np.float64) if served.shape[1] else served
    quantiles = gate_quantiles(gates, labels, len(names)).round(_GATE_DECIMALS)
    return {
        "split": split,
        "n": len(labels),
        "probabilities": {
            name: _histogram(np.clip(probabilities[:, index], 0, 1), _PROBABILITY_EDGES)
            for index, name in enumerate(names)
        },
        "gates": [
            {
                "layer": layer,
                "module": module,
                "quantiles": dict(zip(names, quantiles[index].tolist(), strict=True)),
            }
            for index, (layer, module) in enumerate(columns)
        ],
        "tokens": _histogram(tokens, _token_edges(int(tokens.max()))),
        "classes": {name: int((labels == index).sum()) for index, name in enumerate(names)},
        "meanGate": _of_one(mean_gate, labels, names),
    }


def _of_one(column: Floats, labels: Integers, names: Sequence[str]) -> dict[str, list[float]] | None:
    """Percentiles by class of a single column, [n, 1]; None where there is none."""
    if column.shape[1] == 0:
        return None
    quantiles = gate_quantiles(column, labels, len(names)).round(_GATE_DECIMALS)
    return dict(zip(names, quantiles[0].tolist(), strict=True))


def _token_edges(longest: int) -> NDArray[np.int64]:
    edges = list(_FINE_TOKEN_EDGES)
    while edges[-1] <= longest:
        edges.append(edges[-1] * 2)
    return np.array(edges)


def _histogram(values: NDArray[Any], edges: NDArray[Any]) -> dict[str, Any]:
    counts, _ = np.histogram(values, bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
