"""fp16 for CUDA: a float32 graph to one whose products are float16, while what decides stays float32.

float16 are products with weights, attention between heads, and what lies between two of these: bias, activation,
rotation, reshaping. float32 are inputs and outputs, sums of embeddings, the residual stream, norms, pooled means,
gates, head and every softmax.

- The residual stream outgrows float16's 65504 in some decoders (Gemma). A norm reads it in float32 anyway, so it
  costs no more casts than one in float16.
- The softmax inside attention: the standard operator is told by ``softmax_precision``; onnxruntime's own sum up in
  float32 by themselves.
- A gate is computed in float32 and rounded only where it scales the low-rank activations.
"""

from typing import Any, Final

import numpy as np
import onnx_ir as ir

from dslora.errors import DsLoraError
from dslora.export.surgery import (
    CONTRIB,
    Builder,
    Widened,
    constant,
    producer,
    registered,
    remove_unused,
    substitute,
)

LARGEST: Final = 65504.0
# What stands for minus infinity in a mask that becomes float16: far below any score, and a row of nothing else has
# a softmax still.
_MASKED: Final = -30_000.0
# Values that are converted before they are written.
_WRITTEN: Final = 2**22

# Inputs that are floats, where they are not all.
_FLOAT_INPUTS: Final[dict[tuple[str, str], tuple[int, ...]]] = {
    ("", "Attention"): (0, 1, 2, 3),
    (CONTRIB, "Attention"): (0, 1, 2, 5),
    (CONTRIB, "MultiHeadAttention"): (0, 1, 2, 3, 5),
    (CONTRIB, "GroupQueryAttention"): (0, 1, 2, 3, 4, 7, 8, 10),
    ("", "RotaryEmbedding"): (0, 1, 2),
    (CONTRIB, "RotaryEmbedding"): (0, 2, 3),
    **{("", op): (0,) for op in ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Split", "Slice", "Gather")},
    ("", "GatherND"): (0,),
}
# Of these, the one that is added to scores.
_MASK_INPUT: Final = {
    ("", "Attention"): 3,
    (CONTRIB, "Attention"): 5,
    (CONTRIB, "MultiHeadAttention"): 5,
    (CONTRIB, "GroupQueryAttention"): 10,
}
# Kinds that are float16 where what they read is.
_FOLLOWING: Final = frozenset(
    {
        *("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Split", "Slice", "Gather", "GatherND", "Identity"),
        *("Add", "Sub", "Mul", "Div", "Neg", "Sum", "Relu", "Sigmoid", "Tanh", "Gelu", "Swish"),
        *("FastGelu", "QuickGelu", "BiasGelu"),
    }
)

# Kinds whose results are true or false.
_COMPARISONS: Final = ("And", "Or", "Not", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def to_half(model: ir.Model) -> ir.Model:
    """A copy of a float32 graph with float16 products; see the module's text.

    Args:
        model: As ``dslora.export.layouts.arrange`` makes it; stays as it is.

    Raises:
        DsLoraError: A weight is larger than float16 can hold.
    """
    model = model.clone()
    _Halver(model.graph).run()
    remove_unused(model)
    return model


class _Halver:
    """Rewrites one graph in place, node by node in the order of the graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.halves: set[ir.Value] = set()
        self.casts: dict[tuple[ir.Value, ir.DataType, bool], ir.Value] = {}

    def run(self) -> None:
        for node in list(self.graph):
            if _is_embedding(node):
                self._halve_table(node)
            elif self._is_half(node):
                self._halve(node)
            else:
                self._widen_inputs(node)

    def _is_half(self, node: ir.Node) -> bool:
        key = (node.domain, node.op_type)
        if key in _MASK_INPUT:
            return True
        floats = [node.inputs[i] for i in _float_inputs(node)]
        computed = [value for value in floats if value is not None and not value.is_initializer()]
        some = any(value in self.halves for value in computed)
        if node.op_type == "MatMul":
            return some or _is_weight(node.inputs[1])
        if node.op_type == "Concat":
            # Branches beside what they read (k-concat): rounded either way, and narrower to copy so.
            return some
        if node.op_type == "RotaryEmbedding":
            return node.inputs[0] in self.halves
        if node.op_type == "Mul" and some:
            return all(value in self.halves or self._is_gate(value) for value in computed)
        return node.op_type in _FOLLOWING and some and all(value in self.halves for value in computed)

    def _is_gate(self, value: ir.Value | None) -> bool:
        """Whether a factor is a gate, perhaps times a constant and reshaped."""
        while (node := producer(value, "Mul", "Unsqueeze", "Squeeze", "Gather", "Split")) is not None:
            if node.op_type == "Mul" and all(v is None or not v.is_initializer() for v in node.inputs):
                return False
            value = next((v for v in node.inputs if v is not None and not v.is_initializer()), None)
        return producer(value, "Sigmoid") is not None

    def _halve(self, node: ir.Node) -> None:
        mask = _MASK_INPUT.get((node.domain, node.op_type))
        for index in _float_inputs(node):
            value = node.inputs[index]
            if value is None or value in self.halves or (index == mask and _is_bool(value)):
                continue
            if value.is_initializer():
                if value.dtype == ir.DataType.FLOAT:
                    node.replace_input_with(index, self._constant(value))
            elif value.dtype in (ir.DataType.FLOAT, None):
                node.replace_input_with(index, self._cast(value, ir.DataType.FLOAT16, masked=index == mask))
        if (node.domain, node.op_type) == ("", "Attention"):
            node.attributes["softmax_precision"] = ir.AttrInt64("softmax_precision", int(ir.DataType.FLOAT))
        for output in node.outputs:
            output.type = ir.TensorType(ir.DataType.FLOAT16)
            self.halves.add(output)

    def _widen_inputs(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.halves:
                node.replace_input_with(index, self._cast(value, ir.DataType.FLOAT))

    def _halve_table(self, node: ir.Node) -> None:
        """Embeddings are stored as float16; sums of them are float32."""
        table, ids = node.inputs
        assert table is not None
        build = Builder(f"{table.name}.rows")
        rows = build("Gather", self._constant(table), ids)
        rows.type = ir.TensorType(ir.DataType.FLOAT16)
        substitute(self.graph, node, build, build("Cast", rows, to=int(ir.DataType.FLOAT)))

    def _cast(self, value: ir.Value, to: ir.DataType, masked: bool = False) -> ir.Value:
        key = (value, to, masked)
        if key not in self.casts:
            build = Builder(f"{value.name}.{'float16' if to == ir.DataType.FLOAT16 else 'float32'}")
            source = value
            if masked:
                source = build("Max", value, constant(self.graph, "mask.least", np.float32(_MASKED)))
            self.casts[key] = build("Cast", source, to=int(to))
            self.casts[key].type = ir.TensorType(to)
            before = value.producer()
            if before is None:
                self.graph.insert_before(self.graph[0], build.take())
            else:
                self.graph.insert_after(before, build.take())
        return self.casts[key]

    def _constant(self, value: ir.Value) -> ir.Value:
        name = f"{value.name}.float16"
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        weight = value.const_value
        assert weight is not None
        # A table of embeddings is the largest weight by far: it is read as it is stored, and looked at without a copy.
        stored = weight.stored if isinstance(weight, Widened) else weight
        values = stored.numpy()
        if values.size and max(float(values.max()), -float(values.min())) > LARGEST:
            raise DsLoraError(
                f"Weight {value.name} holds values beyond {LARGEST:g}, the largest of float16. Export with "
                "--graphs fp32, or int8 for the CPU."
            )
        return registered(self.graph, _Half(stored, name))


class _Half(ir.LazyTensor):
    """float16 values of a constant, computed each time that somebody reads them."""

    def __init__(self, stored: ir.TensorProtocol, name: str) -> None:
        def halve() -> ir.TensorProtocol:
            return ir.tensor(stored.numpy().astype(np.float16, copy=False), name=name)

        super().__init__(halve, ir.DataType.FLOAT16, ir.Shape(stored.shape.numpy()), name=name)
        self._stored = stored

    def tofile(self, file: Any) -> None:
        """Writes some rows at a time: of a large vocabulary's table, half would be a gigabyte."""
        values = np.atleast_1d(self._stored.numpy())
        rows = max(1, _WRITTEN * len(values) // max(1, values.size))
        for at in range(0, len(values), rows):
            file.write(values[at : at + rows].astype("<f2").data)


def _float_inputs(node: ir.Node) -> tuple[int, ...]:
    indices = _FLOAT_INPUTS.get((node.domain, node.op_type), tuple(range(len(node.inputs))))
    return tuple(index for index in indices if index < len(node.inputs))


def _is_bool(value: ir.Value) -> bool:
    """Whether a mask says which scores count, instead of being added to them. New nodes' results have no type yet."""
    return value.dtype == ir.DataType.BOOL or producer(value, *_COMPARISONS) is not None


def _is_weight(value: ir.Value | None) -> bool:
    """A constant matrix that is not a gate's; gates of tokens are products too."""
    return value is not None and value.is_initializer() and "lora_gate" not in str(value.name)


def _is_embedding(node: ir.Node) -> bool:
    table = node.inputs[0] if node.inputs else None
    if node.op_type != "Gather" or table is None or not table.is_initializer():
        return False
    return table.dtype == ir.DataType.FLOAT and table.shape is not None and len(table.shape) == 2
