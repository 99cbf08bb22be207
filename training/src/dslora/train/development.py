"""Predictions for the development split, shared among the processes of a training."""

from collections.abc import Sequence

import torch
from torch import nn

from dslora.encoding import TextEncoder
from dslora.inference import Floats, length_batches, predict_batch, rows_of
from dslora.train.processes import Processes


# Not inference mode: what FSDP gathers in it could not be used for training afterwards.
@torch.no_grad()
def predict_development(
    model: nn.Module, encoder: TextEncoder, windows: Sequence[Sequence[int]], processes: Processes
) -> tuple[Floats, Floats]:
    """Logits ``[n, labels]`` and gates ``[n, modules]`` of all windows, the same in every process."""
    model.eval()
    batches = length_batches(windows)
    # Every process computes as many, since each is a collective under FSDP: the last one may be computed twice.
    missing = -len(batches) % processes.count
    padded = batches + batches[-1:] * missing
    own = [
        (batch, *predict_batch(model, encoder, [windows[i] for i in batch], processes.device))
        for batch in padded[processes.rank :: processes.count]
    ]
    gathered = [part for parts in processes.gather(own) for part in parts]
    return rows_of(gathered, len(windows))
