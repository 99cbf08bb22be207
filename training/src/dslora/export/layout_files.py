"""Graphs of one model in every layout, to be timed against each other under onnxruntime-node: bench/layouts.ts.

``base.int8.onnx`` is the same model without adapters, which costs exactly what merged LoRA costs: merging changes
values of weights and nothing else.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from dslora.classifier import Classifier, ClassifierSpec, build_classifier, default_pooling
from dslora.errors import DsLoraError
from dslora.export.fused import FusionError
from dslora.export.graph import build_graph
from dslora.export.layouts import AUTO, REFERENCE, arrange, candidates
from dslora.export.precisions import variants
from dslora.export.ranks import prune
from dslora.methods import GatedSettings

BASE = "base"


def random_adapters(base: str) -> Classifier:
    """A classifier on a base whose adapters are random, as large as trained ones of rank 8.

    Raises:
        DsLoraError: The base cannot be loaded, or has no default targets.
    """
    torch.manual_seed(0)
    spec = ClassifierSpec(
        base=base,
        method="ds-lora",
        labels=("NOT", "OFF"),
        positive_labels=("OFF",),
        normalization=(),
        adapter=GatedSettings(rank=8, alpha=16.0),
        pooling=default_pooling(base),
    )
    classifier = build_classifier(spec).eval()
    for name, parameter in classifier.named_parameters():
        # B starts at zero, and a component of zeros would be dropped.
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return classifier


def write_layouts(classifier: Classifier, folder: Path, precisions: Sequence[str]) -> Iterator[Path]:
    """Writes ``LAYOUT.PRECISION.onnx`` for every layout, and ``base.PRECISION.onnx`` in the fused layout.

    Yields:
        Each file, when it is there.

    Raises:
        DsLoraError: The disk refuses, or a weight is not finite.
    """
    slim = prune(classifier).classifier
    model_type = slim.encoder.config.get_text_config().model_type
    graph = build_graph(slim, 1.0)
    plain = build_graph(_without_adapters(slim), 1.0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for precision in precisions:
            for layout in candidates(graph, AUTO):
                try:
                    yield _write(arrange(graph, model_type, layout, precision), folder, layout, precision)
                except FusionError:
                    continue
            layout = candidates(plain, AUTO)[0]
            arranged = plain if layout == REFERENCE else arrange(plain, model_type, layout, precision)
            yield _write(arranged, folder, BASE, precision)
    except OSError as error:
        raise DsLoraError(f"{folder}: the graphs could not be written: {error.strerror or error}.") from error


def _write(model: ir.Model, folder: Path, name: str, precision: str) -> Path:
    file = folder / f"{name}.{precision}.onnx"
    ir.save(next(variants(precision, model, {})).model, file, external_data=f"{file.name}.data")
    return file


def _without_adapters(classifier: Classifier) -> Classifier:
    plain = copy.deepcopy(classifier)
    for layer in plain.gated_layers():
        path = next(name for name, module in plain.encoder.named_modules() if module is layer)
        plain.encoder.set_submodule(path, layer.base_layer)
    plain.encoder = plain.method.base_of(plain.encoder)
    return plain
