"""How large activations get: run over texts before the int8 graph is made, for its fixed scales."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir

from dslora.encoding import TextEncoder
from dslora.export.quantize import quantizable
from dslora.export.session import GraphSession
from dslora.export.surgery import Builder, Floats, constant


def activation_bounds(
    model: ir.Model, encoder: TextEncoder, windows: Sequence[Sequence[int]], threads: int = 0
) -> dict[str, Floats]:
    """Largest absolute value of each feature of every value that large products read.

    Args:
        model: A float32 graph; stays as it is.
        encoder: Pads; windows run one by one, so that padding is never looked at.
        windows: Of texts that the model is used for, but not of those it is measured on.
        threads: Of onnxruntime.

    Returns:
        ``[K]``, by the name of the value.
    """
    watched = model.clone()
    graph = watched.graph
    axes = constant(graph, "bound.axes", np.array([0, 1], dtype=np.int64))
    names = []
    for x, products in quantizable(graph).items():
        build = Builder(f"{x.name}.bound")
        bound = build("ReduceMax", build("Abs", x), axes, keepdims=0)
        graph.insert_before(products[0], build.take())
        bound.shape, bound.type = ir.Shape([sides_of(products[0])]), ir.TensorType(ir.DataType.FLOAT)
        graph.outputs.append(bound)
        names.append(str(x.name))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "watched.onnx"
        ir.save(watched, file, external_data="watched.onnx.data")
        session = GraphSession(file, threads)
        bounds: dict[str, Floats] = {}
        for window in windows:
            for name, value in zip(names, session.outputs(encoder, [window])[2:], strict=True):
                bounds[name] = np.maximum(bounds[name], value) if name in bounds else value
    return bounds


def sides_of(product: ir.Node) -> int:
    """K of a product with a constant matrix ``[K, N]``."""
    weight = product.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    return int(weight.const_value.shape.numpy()[0])
