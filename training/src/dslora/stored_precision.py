"""Weights that stay in memory as they are stored, and are float32 whenever they are used.

A float32 copy of a bfloat16 base takes twice its memory, and none of it can be given back to the file that it came
from. The numbers are the same: every bfloat16 and float16 value is a float32 value too.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# What PyTorch adds to the name of a weight that is computed from another.
SUFFIX = ".parametrizations.{name}.original"


class _Float32(nn.Module):
    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


def read_in_float32(model: nn.Module) -> None:
    """Makes each weight of fewer bits a float32 tensor for whoever reads it, computed anew each time."""
    for module in list(model.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_floating_point() and weight.dtype != torch.float32:
                weight.requires_grad_(False)
                # unsafe: its check would read every weight, and forbids another type of number.
                parametrize.register_parametrization(module, name, _Float32(), unsafe=True)


def become_float32(module: nn.Module) -> None:
    """The opposite: float32 weights in the place of such, which can be written to."""
    for each in list(module.modules()):
        if parametrize.is_parametrized(each):
            computed = cast(nn.ModuleDict, each.parametrizations)
            for name in list(computed):
                weight = getattr(each, name).detach()
                parametrize.remove_parametrizations(each, name, leave_parametrized=False)
                setattr(each, name, nn.Parameter(weight, requires_grad=False))
