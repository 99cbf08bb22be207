"""Predictions of a classifier for texts, with the same windows and combination as the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder

# Padded tokens a batch: large enough for the matrix products, small enough for any machine's cache.
_BATCH_TOKENS = 4096

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """One row a text, in the order given.

    Attributes:
        logits: ``[n, labels]``, of the window that decided.
        gates: ``[n, modules]``, averaged over windows by tokens.
        tokens: ``[n]``, of the whole text, special tokens included once.
        windows: ``[n]``, how many were needed.
    """

    logits: Floats
    gates: Floats
    tokens: NDArray[np.int64]
    windows: NDArray[np.int64]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities ``[n, labels]`` of logits ``[n, labels]`` divided by a temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


@torch.inference_mode()
def predict_windows(
    classifier: Classifier,
    encoder: TextEncoder,
    windows: Sequence[Sequence[int]],
) -> tuple[Floats, Floats]:
    """Logits ``[n, labels]`` and gates ``[n, modules]`` of windows, batched by length."""
    classifier.eval()
    device = next(classifier.head.parameters()).device
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
    logits: dict[int, Floats] = {}
    gates: dict[int, Floats] = {}
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * len(windows[order[end]]) <= _BATCH_TOKENS:
            end += 1
        picked = order[start:end]
        ids, mask = encoder.pad([windows[i] for i in picked])
        out, gate = classifier(torch.tensor(ids, device=device), torch.tensor(mask, device=device))
        for row, index in enumerate(picked):
            logits[index] = out[row].cpu().numpy()
            gates[index] = gate[row].cpu().numpy()
        start = end
    return np.stack([logits[i] for i in range(len(windows))]), np.stack([gates[i] for i in range(len(windows))])


def combine_windows(
    windows: Sequence[Sequence[int]],
    bounds: Sequence[int],
    offensive: NDArray[np.floating[Any]],
    answers: NDArray[Any],
    gates: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Answers of whole texts: ``docs/bundle.md``, "From text to tokens", step 6.

    Args:
        windows: Of all texts, one after another; token ids with special tokens.
        bounds: ``[texts + 1]``: windows ``bounds[i]`` up to ``bounds[i + 1]`` are text i's.
        offensive: ``[windows]``, by which the deciding window is found.
        answers: ``[windows, labels]``: logits or probabilities.
        gates: ``[windows, modules]``.

    Returns:
        The deciding windows' answers ``[texts, labels]``, and gates averaged by tokens ``[texts, modules]``.
    """
    deciding, averaged = [], []
    for start, end in pairwise(bounds):
        # argmax takes the first on a tie, as the contract asks.
        deciding.append(answers[start + int(offensive[start:end].argmax())])
        lengths = np.array([len(window) for window in windows[start:end]], dtype=np.float64)
        averaged.append((gates[start:end] * (lengths / lengths.sum())[:, None]).sum(axis=0))
    return np.stack(deciding), np.stack(averaged)


def predict(
    classifier: Classifier, encoder: TextEncoder, texts: Sequence[str], temperature: float = 1.0
) -> Predictions:
    """Predictions for texts; a long text is read in windows and the most offensive one decides.

    Args:
        classifier: The model.
        encoder: From text to windows.
        texts: Posts.
        temperature: Divides the logits before windows are compared; logits are returned without it.

    Raises:
        NormalizationError: A text has nothing left after normalisation.
    """
    ids = [encoder.ids(text) for text in texts]
    per_text = [encoder.windows(row) for row in ids]
    flat = [window for windows in per_text for window in windows]
    logits, gates = predict_windows(classifier, encoder, flat)
    positive = [classifier.spec.labels.index(label) for label in classifier.spec.positive_labels]
    offensive = softmax(logits, temperature)[:, positive].sum(axis=1)
    bounds = np.cumsum([0, *(len(windows) for windows in per_text)]).tolist()
    deciding, averaged = combine_windows(flat, bounds, offensive, logits, gates)
    return Predictions(
        deciding,
        averaged.astype(np.float32),
        np.array([len(row) + encoder.special for row in ids]),
        np.array([len(windows) for windows in per_text]),
    )
