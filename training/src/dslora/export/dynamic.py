"""int8 with one scale for all activations of a batch: what is compared with, and never exported.

It is onnxruntime's own way (``DynamicQuantizeLinear``), and the reason for the others: the largest value of any text
sets the scale of all, so that an answer depends on which texts share its batch.
"""

import onnx_ir as ir

from dslora.export.quantize import quantizable, quantize_columns, quantize_tables
from dslora.export.surgery import CONTRIB, Builder, constant, remove_unused, substitute, weights_of


def quantize_dynamic(model: ir.Model) -> ir.Model:
    """A copy of a float32 graph with int8 products and embeddings.

    Args:
        model: With products outside of attention; stays as it is.
    """
    model = model.clone()
    graph = model.graph
    for x, products in quantizable(graph).items():
        build = Builder(f"{x.name}.quantized")
        q, scale, zero = build.several("DynamicQuantizeLinear", 3, x)
        graph.insert_before(products[0], build.take())
        for product in products:
            weight = product.inputs[1]
            values = weights_of(weight)
            assert values is not None
            assert weight is not None
            integers, scales = quantize_columns(values)
            build = Builder(f"{weight.name}.product")
            constants = (
                constant(graph, f"{weight.name}.int8", integers),
                scale,
                constant(graph, f"{weight.name}.scales", scales),
            )
            y = build("MatMulIntegerToFloat", q, *constants, zero, domain=CONTRIB)
            substitute(graph, product, build, y)
    quantize_tables(graph)
    remove_unused(model)
    model.opset_imports[CONTRIB] = 1
    return model
