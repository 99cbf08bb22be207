"""The ONNX graph of a classifier: contract in docs/bundle.md, "Graphs".

This is what PyTorch's exporter makes of the model, for any architecture. ``dslora.export.layouts`` has faster
arrangements of the same computation.
"""

import ast
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.onnx import OnnxExporterError

from dslora.classifier import Classifier
from dslora.errors import DsLoraError
from dslora.export.surgery import later, remove_unused, sides, widened
from dslora.stored_precision import name_of, whole_tables

OPSET: Final = 23
INPUTS: Final = ("input_ids", "attention_mask")
OUTPUTS: Final = ("probabilities", "gates")
# Types of weights that float32 holds exactly.
_STORED: Final = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16)
_SCOPES = "pkg.torch.onnx.name_scopes"


class _Probabilities(nn.Module):
    """``input_ids, attention_mask -> softmax(logits / temperature), gates``."""

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        logits, gates = self.classifier(input_ids, attention_mask)
        return torch.softmax(logits / self.temperature, dim=-1), gates


def _reference(classifier: Classifier, temperature: float) -> ir.Model:
    module = _Probabilities(classifier, temperature).eval()
    # Two rows of different length and a few columns: dimensions of 0 and 1 would be taken for constants.
    input_ids = torch.ones((2, 7), dtype=torch.int64)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 4:] = 0
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", min=1)}
    try:
        with _quiet(), torch.no_grad(), whole_tables(module):
            program = torch.onnx.export(
                module,
                (input_ids, attention_mask),
                dynamo=True,
                opset_version=OPSET,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                verbose=False,
            )
    except OnnxExporterError as error:
        model_type = classifier.encoder.config.get_text_config().model_type
        raise DsLoraError(
            f"PyTorch {torch.__version__} cannot trace model type {model_type!r} to a graph, so there is no layout for "
            "it, not even the reference. Use a base model of another family; docs/bundle.md lists what was tried."
        ) from error
    assert program is not None  # it is only None where the exporter writes a file itself
    model = program.model
    _read_stored_weights(model)
    _name_weights(model)
    _give_rotary_caches_a_batch(model)
    return model


def build_graph(classifier: Classifier, temperature: float) -> ir.Model:
    """The float32 graph of a classifier in the layout ``reference``, which every architecture has.

    It holds nothing that names the machine it was made on.

    Args:
        classifier: As :func:`dslora.export.ranks.prune` returns it.
        temperature: Divides the logits, above 0.

    Raises:
        DsLoraError: The temperature is not above 0.
    """
    if not 0 < temperature < float("inf"):
        raise DsLoraError(f"The temperature is {temperature}; expected a number above 0. Calibrate again.")
    model = _reference(classifier, temperature)
    _strip(model)
    return model


def _read_stored_weights(model: ir.Model) -> None:
    """Makes float32 constants of weights that are stored with fewer bits and cast wherever they are used.

    The exporter itself computes such constants where they are small. These are computed when they are written.
    """
    graph = model.graph
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        stored = None if source is None else source.const_value
        if source is None or stored is None or not source.is_initializer():
            continue
        if node.op_type == "Cast" and stored.dtype in _STORED:
            node.outputs[0].replace_all_uses_with(widened(graph, name_of(str(source.name)), stored))
            graph.remove(node, safe=True)
        elif node.op_type == "Transpose" and isinstance(stored, ir.LazyTensor) and len(stored.shape) == 2:
            columns = later(graph, f"{source.name}.T", sides(source)[::-1], ir.DataType.FLOAT, _transposed(stored))
            node.outputs[0].replace_all_uses_with(columns)
            graph.remove(node, safe=True)
    remove_unused(model)


def _transposed(stored: ir.TensorProtocol) -> Callable[[], NDArray[np.float32]]:
    return lambda: stored.numpy().T


def _name_weights(model: ir.Model) -> None:
    """Gives weights the names of the modules they belong to.

    The exporter transposes weights ahead of time and calls the results ``val_58``. Who reads a published graph,
    and the quantiser, want to know what they are: ``encoder.layer.0.attention.self.query.weight.T``.
    """
    names = model.graph.initializers
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        if node.op_type == "MatMul" and len(scopes) > 1 and node.inputs[1] is not None:
            weight = node.inputs[1]
            if weight.is_initializer() and str(weight.name).startswith("val_"):
                weight.name = f"{scopes[-2]}.weight.T"
    for value in list(names.values()):
        # peft's wrappers and ours, outermost first: nothing in them tells one weight from another.
        name = str(value.name).removeprefix("classifier.").removeprefix("encoder.").removeprefix("base_model.model.")
        name = name.replace(".base_layer.", ".")
        if name != value.name and name not in names:
            value.name = name


def _give_rotary_caches_a_batch(model: ir.Model) -> None:
    """Repeats the angles of ``RotaryEmbedding`` for every text of the batch.

    Positions are the same for all texts, so models compute sine and cosine once, ``[1, sequence, half]``. The
    exporter passes them on as they are, but the operator asks for ``[batch, sequence, half]``.
    """
    nodes = [node for node in model.graph if node.op_type == "RotaryEmbedding" and len(node.inputs) == 3]
    if not nodes:
        return
    ones = ir.tensor(np.array([1, 1], dtype=np.int64), name="rotary.ones")
    ones_value = ir.Value(name=ones.name, const_value=ones, shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.INT64))
    model.graph.register_initializer(ones_value)
    batch = ir.node("Shape", [model.graph.inputs[0]], attributes={"start": 0, "end": 1}, name="rotary.batch")
    shape = ir.node("Concat", [batch.outputs[0], ones_value], attributes={"axis": 0}, name="rotary.shape")
    batch.outputs[0].name, shape.outputs[0].name = "rotary.batch", "rotary.shape"
    model.graph.insert_before(next(iter(model.graph)), [batch, shape])
    repeated: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        for index in (1, 2):
            angles = node.inputs[index]
            assert angles is not None
            if angles not in repeated:
                name = f"{angles.name}.repeated"
                expand = ir.node("Expand", [angles, shape.outputs[0]], name=name)
                expand.outputs[0].name = name
                model.graph.insert_before(node, expand)
                repeated[angles] = expand.outputs[0]
            node.replace_input_with(index, repeated[angles])


def _strip(model: ir.Model) -> None:
    """Takes out stack traces, module paths and notes of the exporter: bundles are published."""
    model.doc_string = None
    model.metadata_props.clear()
    graph = model.graph
    graph.doc_string = None
    graph.metadata_props.clear()
    for node in graph:
        node.doc_string = None
        node.metadata_props.clear()
        for output in node.outputs:
            output.doc_string = None
            output.metadata_props.clear()
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.doc_string = None
        value.metadata_props.clear()
        if value.const_value is not None:
            value.const_value.doc_string = None
            value.const_value.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes about optional packages and axis names off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
