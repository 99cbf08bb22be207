from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.details import LabelledTexts
from dslora.export.parity import LEAST_TEXTS, Parity, check_parity, measure_parity, reference
from dslora.export.session import GraphSession

from .conftest import TEMPERATURE, Export

GOOD = Parity(
    texts=400,
    probabilities=1e-6,
    gates=1e-6,
    label_flips=0,
    macro_f1_change=0.0,
    macro_f1_interval=(0.0, 0.0),
    batch_probabilities=1e-7,
    batch_gates=1e-7,
)


def test_a_graph_is_measured_against_the_classifier(
    export: Export, encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path
) -> None:
    exported = export("bert", "ds-lora")
    columns = exported.pruned.kept_columns
    expected = reference(exported.classifier, TEMPERATURE, encoder, texts.texts, texts.labels, columns)
    ir.save(exported.graph, tmp_path / "model.onnx")

    parity = measure_parity(GraphSession(tmp_path / "model.onnx", threads=1), encoder, expected)

    assert parity.texts == len(texts.texts) >= LEAST_TEXTS
    assert 0 < parity.probabilities <= 1e-5
    assert 0 < parity.gates <= 1e-5
    assert parity.label_flips == 0
    assert parity.macro_f1_change == 0
    check_parity("made-up", "fp32", parity)


def test_another_temperature_is_found(
    export: Export, encoder: TextEncoder, texts: LabelledTexts, tmp_path: Path
) -> None:
    exported = export("bert", "ds-lora")
    expected = reference(exported.classifier, 1.0, encoder, texts.texts, texts.labels, exported.pruned.kept_columns)
    ir.save(exported.graph, tmp_path / "model.onnx")
    parity = measure_parity(GraphSession(tmp_path / "model.onnx", threads=1), encoder, expected)
    with pytest.raises(DsLoraError, match=r"fp32 graph does not agree.*probabilities"):
        check_parity("made-up", "fp32", parity)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probabilities": 0.3}, "difference in probabilities 0.3"),
        ({"probabilities": float("nan")}, "difference in probabilities nan"),
        ({"gates": 0.3}, "difference in gates 0.3"),
        ({"macro_f1_interval": (-0.09, -0.03)}, "fall of macro-F1, at least 0.03"),
        ({"batch_probabilities": 2e-3}, "probabilities with the batch 0.002"),
        ({"batch_gates": 2e-3}, "gates with the batch 0.002"),
    ],
)
def test_what_is_outside_is_refused_with_its_figure(precision: str, change: dict[str, object], said: str) -> None:
    check_parity("made-up", precision, GOOD)
    with pytest.raises(DsLoraError, match=said):
        check_parity("made-up", precision, replace(GOOD, **change))  # type: ignore[arg-type]


def test_int8_may_differ_more_than_fp32() -> None:
    parity = replace(GOOD, probabilities=0.05, gates=0.05, label_flips=4, macro_f1_interval=(-0.02, -0.001))
    check_parity("made-up", "int8", parity)
    with pytest.raises(DsLoraError):
        check_parity("made-up", "fp32", parity)


def test_too_few_texts_are_refused(export: Export, encoder: TextEncoder, texts: LabelledTexts) -> None:
    classifier = export("bert", "ds-lora").classifier
    with pytest.raises(DsLoraError, match="199 texts; expected at least 200"):
        reference(classifier, 1.0, encoder, texts.texts[:199], texts.labels[:199], (0,))
    with pytest.raises(DsLoraError, match="one label for each"):
        reference(classifier, 1.0, encoder, texts.texts, texts.labels[:-1], (0,))
