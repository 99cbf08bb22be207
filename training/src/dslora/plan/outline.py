"""A classifier without weights (on torch's meta device), from which everything can be counted and nothing computed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from dslora.bases import values_unread
from dslora.classifier import ClassifierSpec, outline_classifier


@dataclass(frozen=True)
class Counts:
    """What can be counted in an outline.

    Attributes:
        total: Parameters, adapters and head included.
        trainable: Those that are trained.
        linear: Parameters in frozen linear layers, which a base in training can hold in 4 bits.
        embeddings: Parameters of the embedding tables, which cost memory and no arithmetic.
        layers: Transformer layers.
    """

    total: int
    trainable: int
    linear: int
    embeddings: int
    layers: int


def count(outline: nn.Module, config: Any) -> Counts:
    linear = sum(
        parameter.numel()
        for module in outline.modules()
        if isinstance(module, nn.Linear)
        for parameter in module.parameters(recurse=False)
        if not parameter.requires_grad
    )
    embeddings = sum(m.weight.numel() for m in outline.modules() if isinstance(m, nn.Embedding))
    return Counts(
        total=sum(p.numel() for p in outline.parameters()),
        trainable=sum(p.numel() for p in outline.parameters() if p.requires_grad),
        linear=linear,
        embeddings=embeddings,
        layers=config.get_text_config().num_hidden_layers,
    )


@dataclass(frozen=True)
class Saved:
    """What one forward pass keeps for the backward pass.

    Attributes:
        bytes: All of it.
        largest: The largest tensor: backward needs gradients of about its size beside it.
    """

    bytes: int
    largest: int


def saved_by_forward(outline: Any, batch: int, tokens: int) -> Saved:
    """Runs a forward pass over shapes alone and adds up what autograd keeps, each tensor's memory once.

    Args:
        outline: The classifier on the meta device.
        batch: Texts.
        tokens: Padded length of each.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*outline.parameters(), *outline.buffers())}
    # The storages themselves are kept, or an address could be given twice.
    seen: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return tensor

    ids = torch.zeros((batch, tokens), dtype=torch.long, device="meta")
    outline.train()
    # Without a mask: of its memory nothing depends on it.
    with (
        values_unread(outline.method.base_of(outline.encoder).config),
        saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        outline.encoder(input_ids=ids)
    sizes = [storage.nbytes() for storage in seen.values()]
    return Saved(sum(sizes), max(sizes, default=0))


def make_outline(spec: ClassifierSpec, config: Any, dtype: str) -> Any:
    """The classifier with frozen weights of ``dtype`` and trained ones in float32."""
    outline = outline_classifier(spec, config)
    for parameter in outline.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))
    return outline
