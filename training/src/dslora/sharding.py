"""Weights that FSDP has divided among processes: their own part, the whole of them, and back.

FSDP 2 keeps every parameter as a ``DTensor`` of its own with its own name, so gates, A and B stay apart from the
frozen weights. A tensor that is not divided passes through all of these functions as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part, sharing memory with the whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a divided tensor, on the CPU. Every process must ask for the same ones in the same order."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def is_sharded(tensors: Iterable[Tensor]) -> bool:
    return any(isinstance(tensor, DTensor) for tensor in tensors)


@torch.no_grad()
def copy_whole(target: Tensor, values: Tensor) -> None:
    """Sets ``target`` to ``values``, which every process has as a whole.

    Raises:
        ValueError: Their shapes differ.
    """
    if target.shape != values.shape:
        raise ValueError(f"weights of shape {tuple(values.shape)} do not fit {tuple(target.shape)}")
    target.copy_(_divided_as(target, values.to(target.device, target.dtype)))


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """``state_dict()`` with whole tensors."""
    state = optimizer.state_dict()
    per_parameter = {
        index: {name: whole(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": per_parameter}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Sets what :func:`whole_optimizer_state` returned, whatever the number of processes was then."""
    optimizer.load_state_dict(dict(state))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            values = optimizer.state.get(parameter, {})
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = _divided_as(parameter, value)


def _divided_as(like: Tensor, values: Tensor) -> Tensor:
    if not isinstance(like, DTensor) or isinstance(values, DTensor):
        return values
    return distribute_tensor(values, like.device_mesh, like.placements)
