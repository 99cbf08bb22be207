"""Ways to compute the adapted projections of one layer: the layouts between which an export chooses by measuring.

For projections ``y_i = x W_i + b_i + (f_i * (x A_i)) B_i`` that read the same x, with W = [W_1 | W_2 | …], A likewise,
B the B_i on a block diagonal, and f one factor for each rank component:

    k-concat     y = [x | f * (x A)] [W ; B]                      one large product, which fused attention can contain
    one-gemm     [y0 | u] = x [W | A],  y = y0 + (f * u) B        x is read once
    small-gemm   y = x W + (f * (x A)) B                          branch beside the product
    naive        each projection and branch by itself             the paper's way

In the first three the gates of a layer share one product for each of their layers: ``W1`` one below the other, ``W2``
on a block diagonal with a row for each rank component, so that the result is f without repeating anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from dslora.export.projections import Branch, LearnedGate, Projection, block_diagonal
from dslora.export.surgery import Builder, Floats, constant, later, sides


@dataclass(frozen=True, eq=False)
class Product:
    """``source`` times ``weight`` is all projections of a layer, one beside the other, still without bias."""

    source: ir.Value
    weight: ir.Value


@dataclass(frozen=True, eq=False)
class Packed:
    """A layer's projections together.

    Attributes:
        product: Where they are one product: its factors, which need not be computed outside fused attention.
        value: Else the result without bias.
    """

    product: Product | None
    value: ir.Value | None

    def computed(self, build: Builder) -> ir.Value:
        """The result without bias, as a value."""
        if self.value is not None:
            return self.value
        assert self.product is not None
        return build("MatMul", self.product.source, self.product.weight)


class Layer:
    """The projections of one group while their layout is built.

    Args:
        graph: Gets the constants.
        projections: As the graph has them; at least one.
        build: Gets the nodes.
        gates: Filled with ``gate value -> (values of the group's factors [batch, R], column)``.
    """

    def __init__(
        self,
        graph: ir.Graph,
        projections: list[Projection],
        build: Builder,
        gates: dict[ir.Value, tuple[ir.Value, int]],
    ) -> None:
        self.graph, self.projections, self.build, self.gates = graph, projections, build, gates
        self.x = projections[0].x
        # encoder.layer.0.attention.self.query.weight.T: what is above several projections, or the one itself, which
        # may have others beside it (self_attn.q_proj and self_attn.o_proj).
        path = projections[0].name.rpartition(".weight")[0]
        above = path.rpartition(".")[0] if len(projections) > 1 else path
        self.name = f"{above or projections[0].name}.packed"
        self.branches = [each.branch for each in projections if each.branch is not None]
        self.sizes = [each.sides[1] for each in projections]

    def weight(self) -> Floats:
        """W of all projections side by side, ``[K, N]``."""
        return np.hstack([each.weight() for each in self.projections])

    def packed_weight(self, *, below: Floats | None = None, beside: Floats | None = None) -> ir.Value:
        """The constant W, with more rows or columns; put together when it is written."""
        parts = [] if below is None else [below]
        columns = [] if beside is None else [beside]

        def make() -> Floats:
            return np.hstack([np.vstack([self.weight(), *parts]), *columns])

        rows = self.projections[0].sides[0] + sum(part.shape[0] for part in parts)
        width = sum(self.sizes) + sum(column.shape[1] for column in columns)
        return later(self.graph, f"{self.name}.weight.T", (rows, width), ir.DataType.FLOAT, make)

    def constant(self, name: str, values: Floats) -> ir.Value:
        return constant(self.graph, f"{self.name}.{name}", np.ascontiguousarray(values))

    def bias(self) -> ir.Value | None:
        """Biases of all projections side by side; None where none has one."""
        biases = [each.bias for each in self.projections]
        if all(bias is None for bias in biases):
            return None
        filled = [
            np.zeros(size, dtype=np.float32) if bias is None else bias
            for bias, size in zip(biases, self.sizes, strict=True)
        ]
        return self.constant("bias", np.concatenate(filled))

    def widths(self) -> ir.Value:
        """Columns of each projection, for ``Split``."""
        return self.constant("sizes", np.array(self.sizes, dtype=np.int64))

    def parts(self, packed: Packed, *, with_bias: bool = False) -> tuple[ir.Value, ...]:
        """The projections by themselves.

        Three products that read one value are at least as fast as one product whose result is split, which copies it
        (int8, MiniLM, 8 x 64 tokens: 54.0 against 55.8 ms).

        Args:
            packed: The projections together.
            with_bias: Add each projection's bias; else it is left out, for an operator that adds :meth:`bias`.
        """
        if packed.product is None:
            value, bias = packed.computed(self.build), self.bias() if with_bias else None
            if bias is not None:
                value = self.build("Add", value, bias)
            return self.build.several("Split", len(self.sizes), value, self.widths(), axis=-1)
        whole = packed.product.weight
        assert whole.const_value is not None
        rows, _ = sides(whole)
        ends = np.cumsum([0, *self.sizes])
        parts = []
        for each, start, end in zip(self.projections, ends[:-1], ends[1:], strict=True):
            # encoder.layer.0.attention.self.query.weight.T
            name = each.name.rpartition(".weight")[0].rpartition(".")[2] or each.name
            part = later(
                self.graph,
                f"{self.name}.{name}.weight.T",
                (rows, int(end - start)),
                ir.DataType.FLOAT,
                _columns(whole.const_value, start, end),
            )
            value = self.build("MatMul", packed.product.source, part)
            if with_bias and each.bias is not None:
                value = self.build("Add", value, self.constant(f"{name}.bias", each.bias))
            parts.append(value)
        if not whole.uses():
            del self.graph.initializers[str(whole.name)]
        return tuple(parts)

    def a(self) -> Floats:
        """``[K, R]``."""
        return np.hstack([branch.a for branch in self.branches])

    def b(self) -> Floats:
        """``[R, N]``, with the constant factor of the gates where :meth:`scaled` leaves it out."""
        blocks = []
        for size, each in zip(self.sizes, self.projections, strict=True):
            branch = each.branch
            if branch is None:
                blocks.append(np.zeros((0, size), dtype=np.float32))
            else:
                blocks.append(branch.b * np.float32(branch.scale if self._gates_are_packed() else 1))
        return block_diagonal(blocks)

    def low_rank(self) -> ir.Value:
        """``x A``, ``[batch, sequence, R]``."""
        return self.build("MatMul", self.x, self.constant("lora_A.T", self.a()))

    def scaled(self, low_rank: ir.Value) -> ir.Value:
        """``f * u``."""
        if self._gates_are_packed():
            axis = constant(self.graph, "axis.1", np.array([1], dtype=np.int64))
            return self.build("Mul", low_rank, self.build("Unsqueeze", self._factors(), axis))
        if len(self.branches) == 1:
            return self.build("Mul", low_rank, self.branches[0].factor)
        ranks = self.constant("ranks", np.array([b.rank for b in self.branches], dtype=np.int64))
        parts = self.build.several("Split", len(self.branches), low_rank, ranks, axis=-1)
        scaled = [self.build("Mul", part, each.factor) for part, each in zip(parts, self.branches, strict=True)]
        return self.build("Concat", *scaled, axis=-1)

    def _gates_are_packed(self) -> bool:
        gates = [branch.gate for branch in self.branches]
        first = gates[0]
        return first is not None and all(
            gate is not None and gate.pooled is first.pooled and (gate.hidden is None) == (first.hidden is None)
            for gate in gates
        )

    def _factors(self) -> ir.Value:
        """Gates of all branches, each as often as its branch has rank components: ``[batch, R]``."""
        gates = [branch.gate for branch in self.branches if branch.gate is not None]
        source = gates[0].pooled
        hidden = [gate.hidden for gate in gates if gate.hidden is not None]
        rows = [np.repeat(gate.output[0], branch.rank, axis=0) for gate, branch in _pairs(self.branches)]
        if hidden:
            source = self._gemm("gates.hidden", source, np.vstack([w for w, _ in hidden]), [b for _, b in hidden])
            source = self.build("Relu", source)
            weight = block_diagonal(rows)
        else:
            weight = np.vstack(rows)
        biases = [np.repeat(gate.output[1], branch.rank) for gate, branch in _pairs(self.branches)]
        values = self.build("Sigmoid", self._gemm("gates.output", source, weight, biases))
        column = 0
        for gate, branch in _pairs(self.branches):
            self.gates[gate.value] = (values, column)
            column += branch.rank
        return values

    def _gemm(self, name: str, x: ir.Value, weight: Floats, biases: list[Floats]) -> ir.Value:
        # "lora_" in the name: what the quantiser must leave alone.
        constants = (
            self.constant(f"lora_{name}.weight", weight),
            self.constant(f"lora_{name}.bias", np.concatenate(biases)),
        )
        return self.build("Gemm", x, *constants, transB=1)


def _columns(weight: ir.TensorProtocol, start: int, end: int) -> Callable[[], Floats]:
    return lambda: weight.numpy()[:, start:end]


def _pairs(branches: list[Branch]) -> list[tuple[LearnedGate, Branch]]:
    return [(branch.gate, branch) for branch in branches if branch.gate is not None]


def _k_concat(layer: Layer) -> Packed:
    source = layer.build("Concat", layer.x, layer.scaled(layer.low_rank()), axis=-1)
    return Packed(Product(source, layer.packed_weight(below=layer.b())), None)


def _one_gemm(layer: Layer) -> Packed:
    wide = layer.build("MatMul", layer.x, layer.packed_weight(beside=layer.a()))
    widths = layer.constant("widths", np.array([sum(layer.sizes), layer.a().shape[1]], dtype=np.int64))
    y, low_rank = layer.build.several("Split", 2, wide, widths, axis=-1)
    branch = layer.build("MatMul", layer.scaled(low_rank), layer.constant("lora_B.T", layer.b()))
    return Packed(None, layer.build("Add", y, branch))


def _small_gemm(layer: Layer) -> Packed:
    y = layer.build("MatMul", layer.x, layer.packed_weight())
    branch = layer.build("MatMul", layer.scaled(layer.low_rank()), layer.constant("lora_B.T", layer.b()))
    return Packed(None, layer.build("Add", y, branch))


def plain(layer: Layer) -> Packed:
    """A layer without branches."""
    return Packed(Product(layer.x, layer.packed_weight()), None)


# How the branches of a layer are computed; "naive" leaves them as they are.
ADAPTER_LAYOUTS: Final[dict[str, Callable[[Layer], Packed] | None]] = {
    "k-concat": _k_concat,
    "one-gemm": _one_gemm,
    "small-gemm": _small_gemm,
    "naive": None,
}
