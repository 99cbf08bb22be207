"""``golden.json``: texts with PyTorch's outcomes, by which the service proves a bundle. Contract: docs/bundle.md."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.golden_texts import golden_texts
from dslora.export.outcome import Scores, WindowedTexts
from dslora.normalization import NormalizationError, normalize

LEAST_ITEMS: Final = 40

# The tolerance of what is coarser than float32 is this many times the largest difference that was measured: another
# processor rounds the float32 part differently in the last bit, a few activations then fall on the neighbouring integer
# (or float16), and that moves an answer by as much as the coarser numbers did.
MARGIN: Final = 2.0
# float32 is held to the contract's figure, which is far above what is measured (about 1e-6).
FP32_TOLERANCE: Final = 1e-4
# No model is so well behaved that less would be honest on a processor that was not tried.
_LEAST_TOLERANCE: Final = 0.01
# Eight digits keep a float32 in [0, 1] to 1e-8, four orders below any tolerance.
_DECIMALS: Final = 8

Scorer = Callable[[Sequence[Sequence[int]]], Scores]


class GoldenVectors:
    """The golden texts with their windows and PyTorch's scores.

    Args:
        encoder: Normalises, tokenises, cuts.
        score: Windows to PyTorch's scores, one row each.
        positive: Indices of the labels that mean offensive.
        texts: Ours, unless a test wants others.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        score: Scorer,
        positive: Sequence[int],
        texts: Sequence[str] | None = None,
    ) -> None:
        self.positive = tuple(positive)
        self.refused: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.normalized: list[str] = []
        for text in golden_texts(encoder.max_tokens) if texts is None else texts:
            try:
                encoder.ids(text)
            except NormalizationError as error:
                self.refused.append((text, error.code))
            else:
                self.texts.append(text)
                self.normalized.append(normalize(text, encoder.steps))
        self.windowed = WindowedTexts.of(encoder, self.texts)
        self.windows = score(self.windowed.windows)

    def tolerance(self, precision: str, graph: Scores, measured: tuple[float, float]) -> dict[str, float]:
        """What the service may see for a graph of this precision.

        Args:
            precision: Name in ``PRECISIONS``.
            graph: The graph's scores of these windows.
            measured: Largest differences in probabilities and gates on real texts.

        Raises:
            DsLoraError: The graph is not within the tolerance of float32.
        """
        own = graph.difference(self.windows)
        if precision == "fp32":
            if not max(own) <= FP32_TOLERANCE:
                raise DsLoraError(
                    f"The fp32 graph differs from PyTorch on the golden texts by {own[0]:.3g} in probabilities and "
                    f"{own[1]:.3g} in gates, allowed {FP32_TOLERANCE:g}. Nothing was written."
                )
            return {"probabilities": FP32_TOLERANCE, "gates": FP32_TOLERANCE}
        found = [max(a, b) * MARGIN for a, b in zip(own, measured, strict=True)]
        probabilities, gates = (max(math.ceil(each * 1000) / 1000, _LEAST_TOLERANCE) for each in found)
        return {"probabilities": probabilities, "gates": gates}

    def document(self, tolerance: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """The content of ``golden.json``.

        Args:
            tolerance: By precision, as :meth:`tolerance` returns it.

        Raises:
            DsLoraError: Too few texts are left, or none of them has several windows.
        """
        combined = self.windowed.combine(self.windows, self.positive)
        widest = max(each["probabilities"] for each in tolerance.values())
        items: list[dict[str, Any]] = []
        several = False
        for i, (text, normalized) in enumerate(zip(self.texts, self.normalized, strict=True)):
            start, end = self.windowed.bounds[i], self.windowed.bounds[i + 1]
            if not self._decided(start, end, widest):
                continue
            several = several or end - start > 1
            items.append(
                {
                    "text": text,
                    "normalized": normalized,
                    "windows": [
                        {"ids": self.windowed.windows[w], **_rounded(self.windows, w)} for w in range(start, end)
                    ],
                    "combined": _rounded(combined, i),
                }
            )
        items.extend({"text": text, "error": code} for text, code in self.refused)
        if len(items) < LEAST_ITEMS or not several:
            raise DsLoraError(
                f"Only {len(items)} golden texts are left, {'some' if several else 'none'} of several windows; "
                f"expected {LEAST_ITEMS} and at least one. Raise the precision, or lower max_tokens."
            )
        return {"tolerance": {name: dict(each) for name, each in tolerance.items()}, "items": items}

    def _decided(self, start: int, end: int, tolerance: float) -> bool:
        """Whether every graph within the tolerance finds an answer within it.

        Two windows that are about equally offensive may be ranked either way. With two labels the answer is nearly
        the same then; with more, it may be split differently over them, which no tolerance covers.
        """
        probabilities = self.windows.probabilities[start:end]
        offensive = probabilities[:, list(self.positive)].sum(axis=1)
        rivals = offensive >= offensive.max() - 2 * tolerance * len(self.positive)
        spread = probabilities[rivals].max(axis=0) - probabilities[rivals].min(axis=0)
        return bool(rivals.sum() == 1 or spread.max() <= tolerance / 2)


def _rounded(scores: Scores, row: int) -> dict[str, list[float]]:
    return {
        "probabilities": [round(float(value), _DECIMALS) for value in scores.probabilities[row]],
        "gates": [round(float(value), _DECIMALS) for value in scores.gates[row]],
    }
