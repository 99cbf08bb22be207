"""What the gates say: their values by true class, and whether they tell posts apart.

The paper's table 5 gives mean and standard deviation of the gates by class and group of layers. A gate
that is the same for every post explains nothing, so the spread between posts stands beside them, and two
areas under the ROC curve: does the mean gate separate offensive posts from others, and wrong answers from
right ones?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dslora.errors import DsLoraError
from dslora.evaluation.metrics import Floats, Integers, auroc

_LAYER_GROUPS: Final = 3


@dataclass(frozen=True)
class GateRow:
    """Gate values averaged over some modules, then described over the posts of a split.

    Attributes:
        layers: the layers averaged over.
        module: canonical module name, None for all modules of these layers.
        mean: by true class, L.
        sd: standard deviation over the posts of each class, L.
        spread: standard deviation over all posts.
    """

    layers: tuple[int, ...]
    module: str | None
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    spread: float

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        where = f"layer {first}" if first == last else f"layers {first}–{last}"
        return f"{where} {self.module}" if self.module else where


@dataclass(frozen=True)
class GateSummary:
    """Gates of one split.

    Attributes:
        modules: one row a gate, in the order of the graph's output.
        groups: lower, middle and upper layers (as equal as the number of layers allows).
        overall: the mean over all gates of a post, which is what the service reports.
        auroc_offensive: chance that the mean gate of an offensive post is above that of another; None if the
            split has one kind only.
        auroc_error: chance that the mean gate is higher where the answer is wrong; None without errors.
    """

    modules: tuple[GateRow, ...]
    groups: tuple[GateRow, ...]
    overall: GateRow
    auroc_offensive: float | None
    auroc_error: float | None


def summarize_gates(
    gates: Floats,
    columns: Sequence[tuple[int, str]],
    labels: Integers,
    classes: int,
    positive: NDArray[np.bool_],
    correct: NDArray[np.bool_],
) -> GateSummary | None:
    """Describe the gates of a split; None for a method without gates.

    Args:
        gates: [n, modules], each in [0, 1].
        columns: (layer, module) of each column.
        labels: true classes, [n], in [0, L).
        classes: number of classes, L; each has a post.
        positive: whether the true class is a positive one, [n].
        correct: whether the answer was right, [n].

    Raises:
        DsLoraError: shapes do not fit.
    """
    if gates.shape != (len(labels), len(columns)):
        raise DsLoraError(
            f"Gates of shape {gates.shape} do not fit {len(labels)} posts and {len(columns)} modules. "
            "Expected [n, modules]. Evaluate with the model that the columns belong to."
        )
    if not columns:
        return None
    values = gates.astype(np.float64)
    layer_of = np.array([layer for layer, _ in columns])

    def row(layers: Sequence[int], module: str | None, each: NDArray[np.float64]) -> GateRow:
        by_class = [each[labels == label] for label in range(classes)]
        return GateRow(
            layers=tuple(layers),
            module=module,
            mean=tuple(float(part.mean()) for part in by_class),
            sd=tuple(float(part.std()) for part in by_class),
            spread=float(each.std()),
        )

    layers = sorted({layer for layer, _ in columns})
    groups = [group.tolist() for group in np.array_split(layers, min(_LAYER_GROUPS, len(layers)))]
    mean_gate = values.mean(axis=1)
    return GateSummary(
        modules=tuple(row([layer], module, values[:, index]) for index, (layer, module) in enumerate(columns)),
        groups=tuple(row(group, None, values[:, np.isin(layer_of, group)].mean(axis=1)) for group in groups),
        overall=row(layers, None, mean_gate),
        auroc_offensive=auroc(mean_gate, positive),
        auroc_error=auroc(mean_gate, ~correct),
    )


def gate_quantiles(gates: Floats, labels: Integers, classes: int) -> NDArray[np.float64]:
    """Percentiles 0 to 100 of each gate by true class, [modules, L, 101].

    Args:
        gates: [n, modules].
        labels: true classes, [n], in [0, L).
        classes: number of classes, L; each has a post.
    """
    percents = np.arange(101)
    by_class = [np.percentile(gates[labels == label].astype(np.float64), percents, axis=0) for label in range(classes)]
    return np.stack(by_class).transpose(2, 0, 1)
