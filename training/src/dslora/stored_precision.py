"""Weights that stay in memory as they are stored, and are float32 whenever they are used.

A float32 copy of a bfloat16 base takes twice its memory, and none of it can be given back to the file that it came
from. The numbers are the same: every bfloat16 and float16 value is a float32 value too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _Float32(nn.Module):
    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


def name_of(stored: str) -> str:
    """Name of the weight that is computed from a stored one, for which PyTorch has a longer one."""
    return stored.replace(".parametrizations.", ".").removesuffix(".original")


def read_in_float32(model: nn.Module) -> None:
    """Makes each weight of fewer bits a float32 tensor for whoever reads it, computed anew each time.

    Of an embedding the rows are that are read: a table is the largest weight of all.
    """
    for module in list(model.modules()):
        # Not of its subclasses: Gemma's multiplies what it has read, which has to be done in float32.
        if type(module) is nn.Embedding:
            if module.weight.dtype != torch.float32:
                module.weight.requires_grad_(False)
                module.register_forward_hook(_rows_in_float32)
            continue
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_floating_point() and weight.dtype != torch.float32:
                weight.requires_grad_(False)
                # unsafe: its check would read every weight, and forbids another type of number.
                parametrize.register_parametrization(module, name, _Float32(), unsafe=True)


def _rows_in_float32(module: nn.Module, inputs: Any, rows: Tensor) -> Tensor:
    return rows.float()


@contextmanager
def whole_tables(model: nn.Module) -> Iterator[None]:
    """Inside, a table is read as a whole, as other weights are: PyTorch's exporter knows the layers behind it then."""
    tables = [each for each in model.modules() if type(each) is nn.Embedding and each.weight.dtype != torch.float32]
    for table in tables:
        parametrize.register_parametrization(table, "weight", _Float32(), unsafe=True)
    try:
        yield
    finally:
        for table in tables:
            parametrize.remove_parametrizations(table, "weight", leave_parametrized=False)


def become_float32(module: nn.Module) -> None:
    """The opposite for layers: float32 weights in the place of such, which can be written to."""
    for each in list(module.modules()):
        if parametrize.is_parametrized(each):
            computed = cast(nn.ModuleDict, each.parametrizations)
            for name in list(computed):
                weight = getattr(each, name).detach()
                parametrize.remove_parametrizations(each, name, leave_parametrized=False)
                setattr(each, name, nn.Parameter(weight, requires_grad=False))
