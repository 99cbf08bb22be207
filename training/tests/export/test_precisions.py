"""Which precisions a bundle gets, in which order, and what takes the place of one that does not hold."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from dslora.errors import DsLoraError
from dslora.export import bundle, placement, prove, write_bundle
from dslora.export.bundle import BundleReport
from dslora.export.comparison import DYNAMIC, Compared, compare, shipped, table
from dslora.export.layouts import LayoutFigure
from dslora.export.parity import Parity, measure_parity
from dslora.export.precisions import INT8_KINDS, PRECISIONS, PROVIDERS, variants
from dslora.export.prove import save
from dslora.export.quantize import quantizable
from dslora.export.session import placements

from .conftest import Export, Given

pytestmark = pytest.mark.usefixtures("built_once")


def write(given: Given, target: Path, *precisions: str, **options: Any) -> BundleReport:
    arguments = (given.classifier, given.tokenizer, given.encoder, given.details, given.texts)
    return write_bundle(target, *arguments, precisions=precisions, threads=1, **options)


def graphs_of(report: BundleReport) -> list[dict[str, Any]]:
    content = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))["graphs"]
    assert isinstance(content, list)
    return content


def test_a_provider_gets_the_graph_that_suits_it(given: Given, tmp_path: Path) -> None:
    report = write(given, tmp_path / "all", "fp32", "int8", "fp16")
    graphs = graphs_of(report)
    assert [graph["precision"] for graph in graphs] == [each for each in PRECISIONS if each != "int4"]
    # A service takes the first that its provider runs.
    first = {name: next(g for g in graphs if name in g["executionProviders"])["precision"] for name in ("cpu", "cuda")}
    assert first == {"cpu": "int8", "cuda": "fp16"}
    for graph in graphs:
        assert graph["executionProviders"] == list(PROVIDERS[graph["precision"]])
        assert graph["parity"]["texts"] == 240
        assert {"labelFlips", "macroF1Change"} <= set(graph["parity"])
        assert graph["batchInvariant"]
    golden = json.loads((report.folder / "golden.json").read_text(encoding="ascii"))
    assert set(golden["tolerance"]) == {graph["precision"] for graph in graphs}
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    for graph in graphs:
        assert f"| {graph['file']} | {graph['precision']} |" in card


def test_four_bits_that_are_too_few_are_refused(given: Given, tmp_path: Path) -> None:
    # A model of 64 features, which four bits are nothing for.
    with pytest.raises(DsLoraError, match=r"the int4 graph does not agree with PyTorch.*probabilities"):
        write(given, tmp_path / "made-up", "int4", "fp32")
    assert list(tmp_path.iterdir()) == []


def test_float32_takes_the_place_of_int8_that_does_not_hold(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(*arguments: Any) -> Parity:
        parity = measure_parity(*arguments)
        # What float32 never has, and any int8 graph here does.
        return replace(parity, batch_flips=int(parity.probabilities > 1e-4))

    monkeypatch.setattr(prove, "measure_parity", far)
    said: list[str] = []
    alone = write(given, tmp_path / "alone", "int8", say=said.append)
    assert [(graph["file"], graph["precision"]) for graph in graphs_of(alone)] == [("model.onnx", "fp32")]
    assert "int8: no graph is close enough to PyTorch and faster than fp32, so fp32 takes its place" in said
    assert sum("not close enough" in line for line in said) > 1
    both = write(given, tmp_path / "both", "fp32", "int8")
    assert [(graph["file"], graph["precision"]) for graph in graphs_of(both)] == [("model.fp32.onnx", "fp32")]
    assert not (both.folder / "model.int8.onnx").exists()


def test_float32_takes_the_place_of_int8_that_is_slower(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(models: Mapping[str, Any]) -> list[LayoutFigure]:
        return [LayoutFigure(name, 1, {"1x32": 1.0 if name == "float32" else 2.0}) for name in models]

    monkeypatch.setattr(prove, "time_layouts", timed)
    said: list[str] = []
    # Any int8 graph of these texts would hold.
    report = write(given, tmp_path / "made-up", "int8", layout="auto", say=said.append)
    assert [(graph["file"], graph["precision"]) for graph in graphs_of(report)] == [("model.onnx", "fp32")]
    assert "int8: nothing is faster than float32" in said


def test_products_that_suffer_most_stay_float32(
    given: Given, graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(x.name) for x in quantizable(graph.graph)]
    chosen = [names[5], names[2]]
    saved: list[ir.Model] = []

    def recorded(model: ir.Model, file: Path) -> str | None:
        saved.append(model)
        return save(model, file)

    def far(*arguments: Any) -> Parity:
        # One value whose products are float32 is too few.
        return replace(measure_parity(*arguments), batch_flips=int(len(quantizable(saved[-1].graph)) < 2))

    monkeypatch.setattr(prove, "save", recorded)
    monkeypatch.setattr(prove, "measure_parity", far)
    monkeypatch.setattr(prove, "most_sensitive_first", lambda *arguments: [*chosen, *["another"] * 2])
    report = write(given, tmp_path / "made-up", "int8")
    (entry,) = graphs_of(report)
    assert (entry["file"], entry["precision"], entry["scales"]) == ("model.onnx", "int8", "row")
    written = quantizable(ir.load(report.folder / "model.onnx").graph)
    assert {str(x.name) for x in written} == set(chosen)
    weights = [str(node.inputs[1].name) for products in written.values() for node in products if node.inputs[1]]
    assert sorted(entry["keptFloat32"]) == sorted(weights)
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    assert f"| model.onnx | int8 | {entry['bytes'] / 2**20:.1f} MiB | {entry['parity']['probabilities']:.1e} |" in card


def test_a_precision_without_a_graph_for_the_provider_is_refused(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "prune", lambda classifier: pytest.fail("work was done"))
    with pytest.raises(DsLoraError, match="no CUDA provider"):
        write(given, tmp_path / "made-up", "fp16", provider="cuda")
    monkeypatch.setattr(bundle, "check_provider", lambda provider: None)
    with pytest.raises(DsLoraError, match=r"No graph of int8 is made for cuda.*fp16, int4, fp32"):
        write(given, tmp_path / "made-up", "int8", provider="cuda")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_falls_back_is_not_written(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A CPU session stands for one of CUDA whose every node fell back.
    monkeypatch.setattr(bundle, "check_provider", lambda provider: None)
    monkeypatch.setitem(placement.RUNTIME_NAMES, "cuda", "CPUExecutionProvider")
    real = placements(write(given, tmp_path / "reference", "fp32").folder / "model.onnx", "cpu")
    monkeypatch.setattr(
        prove, "placements", lambda file, provider: [replace(each, provider="Elsewhere") for each in real]
    )
    with pytest.raises(DsLoraError, match=r"model\.onnx: \d+ of \d+ nodes do not run on cuda"):
        write(given, tmp_path / "made-up", "fp32", provider="cuda")
    assert [path.name for path in tmp_path.iterdir()] == ["reference"]
    monkeypatch.setattr(prove, "placements", lambda file, provider: real)
    write(given, tmp_path / "made-up", "fp32", provider="cuda")


def test_kinds_are_tried_in_the_order_asked_for(export: Export) -> None:
    model = export("bert", "ds-lora").graph
    assert [each.scales for each in variants("int8", model, {}, kinds=("blocks", "row"))] == ["blocks", "row"]
    order = [str(x.name) for x in quantizable(model.graph)]
    more = [each.scales for each in variants("int8", model, {}, lambda graph: order, ("blocks", "row"))]
    assert more == ["blocks", *["row"] * 4]
    # Products stay float32 in graphs of that kind only.
    assert [each.scales for each in variants("int8", model, {}, lambda graph: order, ("blocks",))] == ["blocks"]
    # Fixed scales need bounds.
    assert [each.scales for each in variants("int8", model, {})] == [k for k in INT8_KINDS if "fixed" not in k]
    with pytest.raises(DsLoraError, match="Expected one of: fp16, int8, int4, fp32"):
        next(variants("int2", model, {}))


def test_every_precision_is_compared(given: Given) -> None:
    said: list[str] = []
    compared = compare(
        given.classifier,
        given.details.calibration.temperature,
        given.encoder,
        given.texts,
        given.texts.texts[:40],
        layout="small-gemm",
        threads=1,
        say=said.append,
    )
    kinds = {each.kind: each for each in compared}
    assert list(kinds) == ["fp32", *INT8_KINDS, DYNAMIC, "int4", "fp16"]
    assert kinds["fp32"].holds
    assert not kinds[DYNAMIC].holds
    # The reason for all the others.
    assert kinds[DYNAMIC].parity.batch_probabilities > 1e-3
    for kind in INT8_KINDS:
        assert kinds[kind].parity.batch_probabilities <= 1e-3
    assert kinds["int4"].bytes < kinds["row"].bytes < kinds["fp16"].bytes < kinds["fp32"].bytes
    assert [each.kind for each in compared if each.figure is None] == ["fp16"]
    lines = table(compared).splitlines()
    assert [line.split(" | ")[0] for line in lines[2 : 2 + len(kinds)]] == [f"| {kind}" for kind in kinds]
    assert lines[-1] == f"Shipped for a CPU: {shipped(compared)}."


def test_what_is_shipped_is_the_fastest_that_holds() -> None:
    good = Parity(400, 1e-6, 1e-6, 0, 0.0, (0.0, 0.0), 1e-7, 1e-7)

    def one(kind: str, milliseconds: float, parity: Parity = good) -> Compared:
        precision = "fp32" if kind == "fp32" else "int8"
        return Compared(kind, precision, parity, 1, LayoutFigure(kind, 1, {"1x32": milliseconds}))

    assert shipped([one("fp32", 3), one("fixed", 2), one("row", 1)]) == "row"
    for bad in (replace(good, batch_flips=1), replace(good, batch_gates=2e-3), replace(good, macro_f1_change=-0.004)):
        assert shipped([one("fp32", 3), one("fixed", 2), one("row", 1, bad)]) == "fixed"
        assert shipped([one("fp32", 3), one("row", 1, bad)]) == "fp32"
    assert shipped([one("fp32", 1), one("row", 2)]) == "fp32"
