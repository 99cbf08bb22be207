"""Answers for whole texts, put together from their windows: ``docs/bundle.md``, "From text to tokens", step 6."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dslora.encoding import TextEncoder
from dslora.inference import combine_windows

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Scores:
    """One row a window or a text.

    Attributes:
        probabilities: ``[n, labels]``.
        gates: ``[n, modules]``.
    """

    probabilities: Floats
    gates: Floats

    def difference(self, other: "Scores") -> tuple[float, float]:
        """Largest absolute difference in probabilities and in gates; NaN where either holds one."""
        return (
            float(np.abs(self.probabilities - other.probabilities).max(initial=0.0)),
            float(np.abs(self.gates - other.gates).max(initial=0.0)),
        )


@dataclass(frozen=True, eq=False)
class WindowedTexts:
    """Texts as the windows that a model reads.

    Attributes:
        windows: Of all texts, one after another; token ids with special tokens.
        bounds: ``[texts + 1]``: windows ``bounds[i]`` up to ``bounds[i + 1]`` are text i's.
    """

    windows: tuple[list[int], ...]
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, encoder: TextEncoder, texts: Sequence[str]) -> "WindowedTexts":
        """Normalises, tokenises and cuts texts.

        Raises:
            NormalizationError: A lone surrogate, or nothing left after normalisation.
        """
        windows: list[list[int]] = []
        bounds = [0]
        for text in texts:
            windows.extend(encoder.windows(encoder.ids(text)))
            bounds.append(len(windows))
        return cls(tuple(windows), tuple(bounds))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def combine(self, scores: Scores, positive: Sequence[int]) -> Scores:
        """Scores of the texts from those of their windows.

        Args:
            scores: One row a window.
            positive: Indices of the labels that mean offensive.
        """
        offensive = scores.probabilities[:, list(positive)].sum(axis=1)
        return Scores(*combine_windows(self.windows, self.bounds, offensive, scores.probabilities, scores.gates))
