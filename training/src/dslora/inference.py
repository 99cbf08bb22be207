"""Predictions of a classifier for texts, with the same windows and combination as the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder

# Padded tokens a batch: large enough for the matrix products, small enough for any machine's cache.
BATCH_TOKENS = 4096

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
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[Floats, Floats]:
    """Logits ``[n, labels]`` and gates ``[n, modules]`` of windows, batched by length.

    Args:
        classifier: Is set to evaluation mode.
        encoder: Pads.
        windows: Token ids with special tokens.
        batch_tokens: Padded tokens of a batch at most, as long as one window is not longer.
    """
    classifier.eval()
    device = next(classifier.head.parameters()).device
    parts = [
        (batch, *predict_batch(classifier, encoder, [windows[i] for i in batch], device))
        for batch in length_batches(windows, batch_tokens)
    ]
    return rows_of(parts, len(windows))


def length_batches(windows: Sequence[Sequence[int]], batch_tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Indices of windows of similar length, at most ``batch_tokens`` padded tokens together."""
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * len(windows[index]) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def predict_batch(
    model: nn.Module, encoder: TextEncoder, windows: Sequence[Sequence[int]], device: torch.device
) -> tuple[Floats, Floats]:
    """Logits and gates of windows that are computed at once."""
    ids, mask = encoder.pad(windows)
    logits, gates = model(torch.tensor(ids, device=device), torch.tensor(mask, device=device))
    return logits.cpu().numpy(), gates.cpu().numpy()


def rows_of(parts: Sequence[tuple[Sequence[int], Floats, Floats]], count: int) -> tuple[Floats, Floats]:
    """Results of batches, put in the order of the rows that they are of."""
    _, logits, gates = parts[0]
    all_logits = np.empty((count, logits.shape[1]), dtype=np.float32)
    all_gates = np.empty((count, gates.shape[1]), dtype=np.float32)
    for rows, logits, gates in parts:
        all_logits[rows], all_gates[rows] = logits, gates
    return all_logits, all_gates


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
