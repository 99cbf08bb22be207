import errno
import hashlib
import json
import math
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from dslora.errors import DsLoraError
from dslora.evaluation import Threshold
from dslora.export import LAYOUTS, DataTerms, LabelledTexts, bundle, layouts, prove, write_bundle
from dslora.export.bundle import BundleReport
from dslora.export.card import model_card
from dslora.export.fused import FusionError
from dslora.export.inspection import inspect
from dslora.export.layouts import LayoutFigure, time_layouts
from dslora.export.manifest import validate_manifest
from dslora.export.precisions import INT8_KINDS, Variant
from dslora.export.session import GraphSession

from .conftest import Given

PROJECT = Path(__file__).resolve().parents[3]


pytestmark = pytest.mark.usefixtures("built_once")


def write(given: Given, target: Path, **changes: Any) -> BundleReport:
    arguments: dict[str, Any] = {"precisions": ("fp32", "int8"), "threads": 1}
    given = replace(given, **{name: changes.pop(name) for name in ("classifier", "details") if name in changes})
    return write_bundle(
        target,
        given.classifier,
        given.tokenizer,
        given.encoder,
        given.details,
        given.texts,
        [replace(given.texts, split="test", texts=given.texts.texts[:60], labels=given.texts.labels[:60])],
        **{**arguments, **changes},
    )


@pytest.fixture(scope="module")
def written(given: Given, graph: ir.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleReport]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "build_graph", lambda *args: graph)
        yield write(given, tmp_path_factory.mktemp("models") / "made-up")


@pytest.fixture(scope="module")
def manifest(written: BundleReport) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((written.folder / "manifest.json").read_text(encoding="utf-8"))
    return content


def test_the_folder_holds_what_the_manifest_says_and_nothing_else(
    written: BundleReport, manifest: dict[str, Any]
) -> None:
    stated = {entry["file"]: entry for entry in (*manifest["graphs"], *manifest["files"])}
    assert {path.name for path in written.folder.iterdir()} == {"manifest.json", "manifest.sha256", *stated}
    assert set(stated) == {
        *("model.int8.onnx", "model.fp32.onnx", "tokenizer.json", "tokenizer_config.json", "golden.json", "README.md")
    }
    digest = hashlib.sha256((written.folder / "manifest.json").read_bytes()).hexdigest()
    assert (written.folder / "manifest.sha256").read_text() == f"{digest}  manifest.json\n"
    for name, entry in stated.items():
        content = (written.folder / name).read_bytes()
        assert entry["bytes"] == len(content), name
        assert entry["sha256"] == hashlib.sha256(content).hexdigest(), name
    assert written.bytes == sum(path.stat().st_size for path in written.folder.iterdir())


def test_the_manifest_fits_its_schema_and_its_model(
    written: BundleReport, manifest: dict[str, Any], given: Given
) -> None:
    validate_manifest(manifest)
    # int8 first: a service takes the first graph that its provider runs.
    assert [graph["precision"] for graph in manifest["graphs"]] == ["int8", "fp32"]
    assert all(graph["batchInvariant"] for graph in manifest["graphs"])
    assert all(graph["parity"]["texts"] == 240 for graph in manifest["graphs"])
    assert manifest["dropped"] == [{"layer": 0, "module": "value"}]
    assert len(manifest["gates"]) == 3
    assert [(g["layer"], g["module"]) for g in manifest["distribution"]["gates"]] == [
        (g["layer"], g["module"]) for g in manifest["gates"]
    ]
    assert manifest["method"] | {"sparsity": 0} == {
        "name": "ds-lora",
        "rank": 4,
        "alpha": 8.0,
        "targets": ["query", "value"],
        "gate": {"kind": "mlp", "hidden": 16, "pooling": "instance", "scale": 2.0},
        "l1": None,
        "sparsity": 0,
        "ranksKept": [
            {"layer": 0, "module": "query", "rank": 4},
            {"layer": 0, "module": "value", "rank": 0},
            {"layer": 1, "module": "query", "rank": 4},
            {"layer": 1, "module": "value", "rank": 4},
        ],
    }
    assert manifest["input"] | {"normalization": []} == {
        "normalization": [],
        "maxTokens": 32,
        "windowOverlap": 8,
        "prefixIds": [2],
        "suffixIds": [3],
        "padId": 0,
        "pooling": "mean",
    }
    measured = {(entry["precision"], entry["metric"]) for entry in manifest["evaluation"]}
    for precision in ("pytorch-fp32", "fp32", "int8"):
        assert (precision, "macroF1") in measured
        assert (precision, "f1:OFF") in measured
    figures = {e["precision"]: e["value"] for e in manifest["evaluation"] if e["metric"] == "macroF1"}
    assert figures["pytorch-fp32"] == figures["fp32"] > 0.7


def test_golden_vectors_hold_for_every_graph(written: BundleReport, manifest: dict[str, Any], given: Given) -> None:
    golden = json.loads((written.folder / "golden.json").read_text(encoding="ascii"))
    assert set(golden["tolerance"]) == {"int8", "fp32"}
    for graph in manifest["graphs"]:
        tolerance = golden["tolerance"][graph["precision"]]
        session = GraphSession(written.folder / graph["file"], threads=1)
        for item in golden["items"]:
            for window in item.get("windows", []):
                probabilities, gates = session.run(given.encoder, [window["ids"]])
                pairs = ((probabilities, window["probabilities"], "probabilities"), (gates, window["gates"], "gates"))
                for got, expected, what in pairs:
                    assert abs(got[0] - expected).max(initial=0) <= tolerance[what]


def test_the_card_says_what_a_moderator_must_know(written: BundleReport) -> None:
    card = (written.folder / "README.md").read_text(encoding="utf-8")
    for said in (
        *("# made-up", "p(OFF)", "TOXICITY", "95 % bootstrap interval", "high-recall", "of 100", "not a probability"),
        *("## Where it fails", "Nobody 2026", "Apache-2.0", "curl", "int8", "1 more module lost", "12 of 16 rank"),
    ):
        assert said in card, said
    assert "nan" not in card
    assert str(written.folder) not in card


def test_the_card_follows_what_the_manifest_says(manifest: dict[str, Any]) -> None:
    assert "This method has no gates." not in model_card(manifest, ())
    lost = {**manifest, "gates": [], "distribution": {**manifest["distribution"], "gates": []}}
    assert "All modules lost all rank in training" in model_card(lost, ())
    method = {**manifest["method"], "name": "full", "targets": [], "gate": None, "sparsity": None, "ranksKept": []}
    training = {**manifest["training"], "settings": {"adapter": {"top_layers": 2}}}
    card = model_card({**lost, "method": method, "training": training}, ())
    assert "its own weights were trained, of the last 2 layers." in card
    assert "This method has no gates." in card
    assert "- Trained weights and head: Apache-2.0." in card


def test_the_card_says_where_development_came_from(manifest: dict[str, Any]) -> None:
    def card(splits: tuple[str, ...], how: Any) -> str:
        data = [{"name": "own/uni.tsv", "split": split, "sha256": "0" * 64, "rows": 450} for split in splits]
        training = {**manifest["training"], "data": data, "settings": {"developmentSplit": how}}
        return model_card({**manifest, "training": training}, ())

    carved = card(("train", "development"), {"method": "by digest", "seed": 7, "fraction": 0.1})
    assert "| data | split | rows of the file | SHA-256 |" in carved
    assert "| own/uni.tsv | development | 450 |" in carved
    assert "The development split (240 texts) was held out of the rows of train: 10 % of them" in carved
    assert "with seed 7. The model was not trained on it." in carved
    assert "the data set says itself" in card(("train", "development", "test"), "official")
    assert "held out" not in card(("train",), "official")


def test_the_card_does_not_promise_more_than_few_texts_can_show(manifest: dict[str, Any]) -> None:
    def card(split: str, texts: int, classes: dict[str, int]) -> str:
        entry = {**manifest["evaluation"][0], "split": split, "n": texts}
        return model_card(
            {**manifest, "evaluation": [entry], "distribution": {**manifest["distribution"], "classes": classes}}, ()
        )

    few = card("development", 107, {"NOT": 100, "OFF": 7})
    assert "best on the development split, so the figures from there are somewhat too high" in few
    assert "Few texts: made-up development (OFF 7)." in few
    assert "so expect less on new texts" in few
    enough = card("development", 200, {"NOT": 100, "OFF": 100})
    assert "Few texts" not in enough
    assert "so expect slightly less on new texts" in enough
    # Of other splits a manifest has no counts by class.
    test = card("test", 199, {"NOT": 100, "OFF": 100})
    assert "Few texts: made-up test (199 in all)." in test
    assert "somewhat too high" not in test
    assert "Few texts" not in card("test", 200, {"NOT": 100, "OFF": 100})
    older = {name: value for name, value in manifest["distribution"].items() if name != "classes"}
    assert "slightly less" in model_card({**manifest, "distribution": older}, ())


def test_the_card_says_of_thresholds_what_was_measured(manifest: dict[str, Any]) -> None:
    assert "do not tell the thresholds apart" not in model_card(manifest, ())
    perfect = {use: {"value": 0.5, "precision": 1.0, "recall": 1.0} for use in manifest["thresholds"]}
    card = model_card({**manifest, "thresholds": perfect}, ())
    assert "These texts do not tell the thresholds apart" in card
    for wrong in ("much is missed", "many false alarms"):
        assert wrong not in card


def test_the_card_has_no_stop_for_a_citation_that_is_not_there(manifest: dict[str, Any]) -> None:
    card = model_card(manifest, [DataTerms("uni", "Not stated: the user's own data", "")])
    assert "- uni: Not stated: the user's own data.\n" in card
    assert "- uni: CC0. Us 2026.\n" in model_card(manifest, [DataTerms("uni", "CC0.", "Us 2026.")])


def test_no_file_names_the_machine(written: BundleReport, given: Given) -> None:
    for path in written.folder.iterdir():
        content = path.read_bytes()
        for trace in (str(written.folder.parent), given.classifier.spec.base, str(PROJECT)):
            assert trace.encode() not in content, path.name


@pytest.mark.skipif(
    not (PROJECT / "node_modules" / "typebox").is_dir() or not shutil.which("node"), reason="needs node and npm ci"
)
def test_the_service_loads_it(written: BundleReport) -> None:
    node = PROJECT / "node_modules" / ".bin" / "node"
    load = (PROJECT / "src" / "bundle" / "load.ts").as_uri()
    script = (
        f"const {{ loadBundle }} = await import('{load}'); await loadBundle(process.argv.at(-1)); console.log('ok')"
    )
    command = [str(node if node.exists() else "node"), "--input-type=module", "-e", script, "--", str(written.folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "ok", answer.stderr[-2000:]


def test_one_graph_is_called_model(given: Given, tmp_path: Path) -> None:
    report = write(given, tmp_path / "one", precisions=("int8",))
    assert (report.folder / "model.onnx").is_file()
    assert set(report.parity) == {"int8"}
    assert report.parity["int8"].batch_probabilities <= 1e-3


def test_the_fastest_layout_is_written_with_its_figures(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_floats(models: Mapping[str, ir.Model]) -> list[LayoutFigure]:
        # Some processors multiply floats as fast as bytes, and then no int8 graph is written.
        return [
            replace(figure, milliseconds={shape: 1e3 * time for shape, time in figure.milliseconds.items()})
            if figure.layout == "float32"
            else figure
            for figure in time_layouts(models)
        ]

    monkeypatch.setattr(prove, "time_layouts", slow_floats)
    report = write(
        given, tmp_path / "auto", precisions=("int8",), layout="auto", calibration_texts=given.texts.texts[:40]
    )
    graph = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))["graphs"][0]
    timed = {each["layout"]: each for each in graph["layoutsTimed"]}
    assert set(timed) == set(LAYOUTS)
    assert all(set(each["milliseconds"]) == {"1x32", "8x64"} for each in timed.values())
    assert graph["layout"] in timed
    assert graph["nodes"] == report.nodes["int8"] < 300
    assert graph["scales"] in INT8_KINDS
    assert graph["batchInvariant"]


def test_weights_beside_their_graph_count_to_its_size(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prove, "is_large", lambda model: True)
    folder = write(given, tmp_path / "beside", precisions=("fp32",)).folder
    (graph,) = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["graphs"]
    assert [each["file"] for each in graph["externalData"]] == ["model.onnx.data"]
    size = sum((folder / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert size > 1.5 * (folder / "model.onnx").stat().st_size
    said = f"{size / 2**20:.1f} MiB"
    assert f"| model.onnx | fp32 | {said} |" in (folder / "README.md").read_text(encoding="utf-8")
    assert f"layout reference, {said}" in inspect(folder)


def test_what_cannot_be_fused_is_exported_as_it_is_and_said(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> ir.Model:
        raise FusionError("Nothing here is known.")

    monkeypatch.setattr(layouts, "fuse", refuse)
    said: list[str] = []
    report = write(given, tmp_path / "plain", precisions=("fp32",), layout="k-concat", say=said.append)
    graph = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))["graphs"][0]
    assert graph["layout"] == "reference"
    assert any("k-concat is left out. Nothing here is known." in line for line in said)


def test_a_graph_that_the_runtime_cannot_load_is_not_written(
    given: Given, graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = graph.clone()
    next(iter(model.graph)).op_type = "NoSuchOperator"
    monkeypatch.setattr(prove, "variants", lambda *args: iter([Variant(model, None)]))
    with pytest.raises(DsLoraError, match=r"cannot load model\.onnx on the CPU"):
        write(given, tmp_path / "made-up", precisions=("fp32",))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_refused_before_any_work(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made-up").mkdir()
    monkeypatch.setattr(bundle, "prune", lambda classifier: pytest.fail("work was done"))
    with pytest.raises(DsLoraError, match="exists"):
        write(given, tmp_path / "made-up")


def test_a_graph_outside_its_limits_is_not_written(
    given: Given, graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(model: ir.Model) -> ir.Model:
        model = model.clone()
        weight = model.graph.initializers["head.weight"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name="head.weight")
        return model

    monkeypatch.setattr(prove, "variants", lambda *args: iter([Variant(damaged(graph), None)]))
    with pytest.raises(DsLoraError, match="fp32 graph does not agree with PyTorch"):
        write(given, tmp_path / "made-up", precisions=("fp32",))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_bundle(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "made-up"
    target.mkdir()
    (target / "old").touch()

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "write_text", full)
    with pytest.raises(DsLoraError, match="No space left"):
        write(given, target, replace=True, precisions=("int8",))
    assert [path.name for path in tmp_path.iterdir()] == ["made-up"]
    assert [path.name for path in target.iterdir()] == ["old"]


def test_a_disk_that_fills_while_a_graph_is_written(given: Given, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DsLoraError, match=r"could not be written: File too large.*free space"):
            write(given, tmp_path / "made-up", precisions=("fp32",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_does_not_fit_is_not_written(given: Given, tmp_path: Path) -> None:
    thresholds = {**given.details.thresholds, "balanced": Threshold(1.5, math.nan, 0.5)}
    with pytest.raises(DsLoraError, match="JSON"):
        write(given, tmp_path / "made-up", details=replace(given.details, thresholds=thresholds))
    thresholds["balanced"] = Threshold(1.5, 0.5, 0.5)
    with pytest.raises(DsLoraError, match=r"thresholds\.balanced\.value.*1\.5"):
        write(given, tmp_path / "made-up", details=replace(given.details, thresholds=thresholds))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"precisions": ()}, {"precisions": ("int2",)}, {"layout": "fastest"}])
def test_unknown_options_are_refused(given: Given, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(DsLoraError, match="Expected one"):
        write(given, tmp_path / "made-up", **options)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_texts_never_reach_a_message(given: Given, tmp_path: Path) -> None:
    secret = "a text that nobody may see in a log"
    texts = LabelledTexts("made-up", "development", [secret] * 10, [0] * 10)
    with pytest.raises(DsLoraError) as caught:
        write_bundle(tmp_path / "x", given.classifier, given.tokenizer, given.encoder, given.details, texts)
    assert secret not in str(caught.value)
