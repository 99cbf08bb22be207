"""Which products suffer most from int8, so that a graph which is too far off can keep those in float32."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir

from dslora.encoding import TextEncoder
from dslora.export.quantize import quantizable, quantize
from dslora.export.session import GraphSession
from dslora.export.surgery import Floats


def most_sensitive_first(
    graph: ir.Model, encoder: TextEncoder, windows: Sequence[Sequence[int]], threads: int = 0
) -> list[str]:
    """Names of the values that products read, by what int8 in their products alone changes in the probabilities.

    Args:
        graph: float32, arranged; stays as it is.
        encoder: Pads.
        windows: Some tens of real texts are enough for an order.
        threads: Of onnxruntime.
    """
    names = [str(x.name) for x in quantizable(graph.graph)]
    # With nothing but embeddings in int8, so that their share is in none of the differences.
    none = _probabilities(quantize(graph, keep=names), encoder, windows, threads)

    def change(name: str) -> float:
        only = quantize(graph, keep=[other for other in names if other != name])
        return float(np.abs(_probabilities(only, encoder, windows, threads) - none).mean())

    changes = {name: change(name) for name in names}
    return sorted(names, key=lambda name: -changes[name])


def _probabilities(model: ir.Model, encoder: TextEncoder, windows: Sequence[Sequence[int]], threads: int) -> Floats:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        ir.save(model, file, external_data="model.onnx.data")
        return GraphSession(file, threads).run_in_batches(encoder, windows, 1)[0]
