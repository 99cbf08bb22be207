"""A graph as onnxruntime runs it. The only file that imports the runtime."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError

Floats = NDArray[np.float32]


class GraphSession:
    """Runs one ONNX file on the CPU.

    Args:
        file: The graph; external data lie beside it.
        threads: Threads inside an operator; 0 takes what the process may use.

    Raises:
        DsLoraError: The runtime cannot load it, such as for an operator that has no kernel.
    """

    def __init__(self, file: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _usable_processors()
        options.inter_op_num_threads = 1
        # Warnings of the runtime speak of its own optimisations; errors are raised.
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's classes have no common base of their own
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DsLoraError(
                f"onnxruntime {onnxruntime.__version__} cannot load {file.name} on the CPU: {first_line} "
                "Export with --layout reference and --graphs fp32; if that fails too, an operator of this architecture "
                "has no kernel there."
            ) from error

    def run(self, encoder: TextEncoder, windows: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        """One batch of windows, padded on the right: probabilities ``[n, labels]`` and gates ``[n, modules]``."""
        probabilities, gates, *_ = self.outputs(encoder, windows)
        return probabilities, gates

    def outputs(self, encoder: TextEncoder, windows: Sequence[Sequence[int]]) -> list[Floats]:
        """All outputs of the graph for one batch of windows, padded on the right."""
        ids, mask = encoder.pad(windows)
        feeds = {"input_ids": np.array(ids, dtype=np.int64), "attention_mask": np.array(mask, dtype=np.int64)}
        outputs: list[Floats] = self._session.run(None, feeds)
        return outputs

    def seconds(self, rows: int, tokens: int) -> float:
        """Processor time of this thread for one batch without padding: all the work, where ``threads`` is 1."""
        ids = np.ones((rows, tokens), dtype=np.int64)
        begun = time.thread_time()
        self._session.run(None, {"input_ids": ids, "attention_mask": ids})
        return time.thread_time() - begun

    def run_in_batches(
        self, encoder: TextEncoder, windows: Sequence[Sequence[int]], size: int
    ) -> tuple[Floats, Floats]:
        """All windows in the order given, ``size`` to a batch: lengths stay as mixed as they come."""
        parts = [self.run(encoder, windows[at : at + size]) for at in range(0, len(windows), size)]
        return np.concatenate([p for p, _ in parts]), np.concatenate([g for _, g in parts])


def _usable_processors() -> int:
    """What this process was given; onnxruntime by itself counts the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
