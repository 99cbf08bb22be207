"""What is done otherwise for a graph whose weights lie in a file beside it, so that they are in memory once.

Weights that PyTorch reads from a safetensors file are that file, mapped into memory, in the precision that they are
stored in. The graph's are the same memory, or are computed from it one by one while the graph is written.
onnxruntime maps the file with the graph's weights, and would copy each matrix besides, packed for its products.
"""

import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import onnx_ir as ir
from torch import Tensor

# protobuf holds at most 2 GiB; weights above this go to a file beside the graph.
LARGEST_GRAPH: Final = 1_900_000_000
# Linux: give these pages up now. What is in a file is read from it again; what is not stays where it is.
_PAGE_OUT: Final = 21


def is_large(model: ir.Model) -> bool:
    """Whether a graph's weights are too large for its own file."""
    weights = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.nbytes for weight in weights if weight is not None) > LARGEST_GRAPH


def has_large_data(file: Path) -> bool:
    """Whether such weights lie beside a graph that was written."""
    data = file.with_name(f"{file.name}.data")
    return data.is_file() and data.stat().st_size > LARGEST_GRAPH


def page_out(weights: Iterable[Tensor]) -> None:
    """Gives up the memory of weights. Their values stay: a page that is read again comes from its file.

    Elsewhere than on Linux it does nothing.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for weight in weights:
        if weight.device.type != "cpu" or weight.nbytes < mmap.PAGESIZE:
            continue
        first = -(-weight.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (weight.data_ptr() + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > first:
            # Advice: where the kernel does not take it, memory is as it was.
            advise(first, end - first, _PAGE_OUT)
