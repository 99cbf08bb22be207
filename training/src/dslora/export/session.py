"""A graph as onnxruntime runs it. The only file that imports the runtime."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.large_graphs import has_large_data
from dslora.export.placement import RUNTIME_NAMES, Placement, read_placements
from dslora.machine import processors

Floats = NDArray[np.float32]

_SAID: Final = {"cpu": "the CPU", "cuda": "CUDA"}
#: As the service sets it (src/engine/session.ts): what is compared and measured here is what answers there.
_OPTIMIZATION: Final = {
    "cpu": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "cuda": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class GraphSession:
    """Runs one ONNX file.

    Args:
        file: The graph; external data lie beside it.
        threads: Threads inside an operator; 0 takes what the process may use.
        provider: ``cpu`` or ``cuda``, as manifests name them.

    Raises:
        DsLoraError: The runtime cannot load it, such as for an operator that has no kernel.
    """

    def __init__(self, file: Path, threads: int = 0, provider: str = "cpu") -> None:
        options = _options()
        # By itself it takes the machine's, of which a container may have a share.
        options.intra_op_num_threads = threads or processors()
        self._session: Any = _session(file, options, provider)

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


def placements(file: Path, provider: str) -> list[Placement]:
    """Which provider ran each node of a graph, for one batch of two texts.

    Args:
        file: The graph.
        provider: As :class:`GraphSession` takes it.

    Raises:
        DsLoraError: The runtime cannot load the graph, or does not tell.
    """
    with TemporaryDirectory() as folder:
        options = _options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        session = _session(file, options, provider)
        ids = np.ones((2, 7), dtype=np.int64)
        session.run(None, {"input_ids": ids, "attention_mask": ids})
        return read_placements(Path(session.end_profiling()))


def check_provider(provider: str) -> None:
    """Makes sure, before any work, that a graph can run on a provider here.

    Raises:
        DsLoraError: The runtime has no such provider, or it does not start.
    """
    name = RUNTIME_NAMES.get(provider)
    if name is None:
        raise DsLoraError(f"Provider {provider!r} is not known. Expected one of: {', '.join(RUNTIME_NAMES)}.")
    if provider == "cpu":
        return
    if name not in onnxruntime.get_available_providers():
        raise DsLoraError(
            f"The onnxruntime {onnxruntime.__version__} that is installed here has no CUDA provider, so no graph can "
            f"be checked on it. Install onnxruntime-gpu {onnxruntime.__version__} in its place on a machine with an "
            "NVIDIA GPU, or leave --provider out: graphs for CUDA are then compared with PyTorch on the CPU."
        )
    # The runtime drops a provider whose libraries or device it does not find, with a warning.
    started = onnxruntime.InferenceSession(_smallest_graph(), sess_options=_options(), providers=[name])
    if name not in started.get_providers():
        raise DsLoraError(
            "onnxruntime has its CUDA provider but cannot start it: a GPU, its driver, or the CUDA and cuDNN libraries "
            "are missing. Run nvidia-smi, put the libraries on LD_LIBRARY_PATH, or leave --provider out."
        )


def _smallest_graph() -> bytes:
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Neg", [x])
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    model = ir.Model(ir.Graph([x], [y], nodes=[node], opset_imports={"": 23}, name="smallest"), ir_version=10)
    content: bytes = ir.to_proto(model).SerializeToString()
    return content


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    # Warnings of the runtime speak of its own optimisations; errors are raised.
    options.log_severity_level = 3
    return options


def _session(file: Path, options: Any, provider: str) -> Any:
    options.graph_optimization_level = _OPTIMIZATION[provider]
    if has_large_data(file):
        # Else every matrix is in memory a second time, packed for its products.
        options.add_session_config_entry("session.disable_prepacking", "1")
        # The CPU computes fp16 from float32 copies of its matrices. By default all are made before the first product.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    try:
        return onnxruntime.InferenceSession(str(file), sess_options=options, providers=[RUNTIME_NAMES[provider]])
    except Exception as error:  # the runtime's classes have no common base of their own
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DsLoraError(
            f"onnxruntime {onnxruntime.__version__} cannot load {file.name} on {_SAID[provider]}: {first_line} "
            "Export with --layout reference and --graphs fp32; if that fails too, an operator of this architecture "
            "has no kernel there."
        ) from error
