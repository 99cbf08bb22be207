"""The command line as a user meets it: the whole path on a small file, and what it refuses without losing anything."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from base_folder import WORDS, make_base
from dslora.cli import COMMANDS, main
from dslora.cli.arguments import languages
from tiny_models import tiny_deberta


def write_posts(path: Path, rows: int, offset: int = 0) -> Path:
    """A CSV whose class is whether w0 stands in the post."""
    lines = ["post,verdict"]
    for row in range(offset, offset + rows):
        words = [WORDS[1 + (row * 7 + i * 3) % 39] for i in range(3 + row % 5)]
        if row % 2:
            words[row % len(words)] = WORDS[0]
        lines.append(f"{' '.join(words)} w{row % 40} w{row // 40},{'abusive' if row % 2 else 'fine'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


def options(base: str, posts: Path, out: Path, *more: str) -> list[str]:
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    size = ["--base", base, "--max-tokens", "24", "--window-overlap", "4", "--rank", "2", "--alpha", "4"]
    rates = ["--learning-rate", "1e-2", "--head-learning-rate", "1e-2", "--epochs", "3"]
    return ["--data", str(posts), *columns, "--out", str(out), "--quiet", *size, *rates, *more]


def test_what_there_is_is_said_without_loading_torch() -> None:
    code = "import sys; from dslora.cli import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "measure a trained run on a split" in said
    assert said.endswith("False\n")


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["data", "check"]], ids=" ".join)
def test_every_command_says_what_its_options_are(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: dslora {' '.join(command)} ")


@pytest.mark.parametrize("method", ["ds-lora", "lora"])
def test_pipeline_trains_evaluates_and_exports(base: str, method: str, tmp_path: Path) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    posts = write_posts(tmp_path / "posts.csv", 320)
    arguments = options(base, posts, run, "--method", method, "--bundle", str(bundle), "--graphs", "fp32")
    assert main(["pipeline", *arguments]) == 0
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["method"]["name"] == method
    assert bool(manifest["gates"]) == (method == "ds-lora")
    assert manifest["labels"] == ["abusive", "fine"] or manifest["labels"] == ["fine", "abusive"]
    assert (run / "evaluation" / "development.md").is_file()
    # Asked before the training, not after it.
    assert main(["pipeline", *arguments]) == 1


def test_deberta_is_gated_where_no_positions_are_read_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_base(tmp_path / "base", tiny_deberta())
    given = options(base, write_posts(tmp_path / "posts.csv", 320), tmp_path / "run")
    for more in ([], ["--target-modules", "value_proj", "key_proj"], ["--ignore-memory"]):
        assert main(["train", *given, *more]) == 1
        assert "_proj reads relative positions beside the texts" in capsys.readouterr().err
    assert main(["plan", "--base", base, "--method", "lora", "--max-tokens", "24", "--rank", "2"]) == 0
    bundle = ["--bundle", str(tmp_path / "bundle"), "--graphs", "fp32"]
    assert main(["pipeline", *given, *bundle, "--target-modules", "value_proj"]) == 0
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert {gate["module"] for gate in manifest["gates"]} == {"value"}
    assert manifest["languages"] == ["en"]


def test_languages_are_those_of_the_data_unless_others_are_named() -> None:
    for data, language in {"olid": "en", "germeval2018": "de", "hatexplain-binary": "en", "mine.csv": "en"}.items():
        assert languages(argparse.Namespace(languages=None), data) == (language,)
    assert languages(argparse.Namespace(languages=["de", "fr"]), "olid") == ("de", "fr")


def test_an_export_that_cannot_be_proved_or_named_ends_before_a_graph_is_made(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = write_posts(tmp_path / "posts.csv", 160)
    arguments = options(base, posts, tmp_path / "run", "--method", "lora")
    assert main(["train", *arguments]) == 0

    def build(*arguments: object) -> None:
        raise AssertionError("a graph was made")

    monkeypatch.setattr("dslora.export.bundle.build_graph", build)
    export = ["export", str(tmp_path / "run"), "--bundle", str(tmp_path / "bundle")]
    for more, message in (
        ([], "Parity: 160 texts; expected at least 200"),
        (["--languages", "xx--"], "--languages xx--: expected BCP 47 tags"),
    ):
        capsys.readouterr()
        assert main([*export, *more]) == 1
        assert message in capsys.readouterr().err
        # And by the pipeline before a training.
        elsewhere = options(base, posts, tmp_path / "other", "--method", "lora", *export[2:], *more)
        assert main(["pipeline", *elsewhere]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "bundle").exists()


def test_other_data_neither_calibrate_nor_publish_a_run(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    posts = write_posts(tmp_path / "posts.csv", 320)
    other = write_posts(tmp_path / "other.csv", 80, offset=1000)
    assert main(["train", *options(base, posts, run)]) == 0
    # Columns are taken from the run; calibration is of its own development split.
    assert main(["evaluate", str(run), "--data", str(other)]) == 0
    assert json.loads((run / "calibration.json").read_text())["distribution"]["n"] == 32
    # All of its rows are new to the model, and its figures stand beside the run's own.
    assert [path.name for path in sorted((run / "evaluation").iterdir())] == ["other-all.json", "other-all.md"]
    assert json.loads((run / "evaluation" / "other-all.json").read_text())["n"] == 80
    assert main(["evaluate", str(run), "--data", str(other), "--split", "development"]) == 0
    assert json.loads((run / "evaluation" / "other-development.json").read_text())["n"] == 8
    assert main(["evaluate", str(run)]) == 0
    assert json.loads((run / "evaluation" / "development.json").read_text())["n"] == 32
    for wrong, words in (
        (["--split", "all"], "a figure on all of its rows would say nothing"),
        (["--data", str(other), "--positive-labels", "fine"], "Leave --positive-labels out"),
    ):
        capsys.readouterr()
        assert main(["evaluate", str(run), *wrong]) == 1
        assert words in capsys.readouterr().err
    for more in (["--data", str(other)], ["--split-seed", "3"]):
        capsys.readouterr()
        assert main(["export", str(run), "--bundle", str(tmp_path / "bundle"), *more]) == 1
        assert "is not what" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    # Held out anew, most of them would be rows that the model was trained on; a test split stays what it is.
    posts.write_text("\n".join([*(lines := posts.read_text().splitlines())[:1], *sorted(lines[1:])]) + "\n")
    for more in ([], ["--split-seed", "3"], ["--development-fraction", "0.3"], ["--split", "all"]):
        assert main(["evaluate", str(run), *more]) == 1
        assert "rows of the training could pass for new ones" in capsys.readouterr().err
    # Rows that another split was held out of are no finished run's.
    assert main(["train", *options(base, posts, run), "--split-seed", "3"]) == 1
    assert "other settings or other data" in capsys.readouterr().err


def test_a_refused_training_leaves_the_old_run_as_it_was(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    posts = write_posts(tmp_path / "posts.csv", 80)
    other = write_posts(tmp_path / "other.csv", 80, offset=1000)
    assert main(["train", *options(base, posts, run)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused = [
        options(base, other, run),
        options(base, posts, run, "--overwrite", "--target-modules", "nope"),
        options(base, posts, run, "--overwrite", "--max-tokens", "2000"),
        options(base, posts, run, "--overwrite", "--window-overlap", "-1"),
        options(base, posts, run, "--overwrite", "--gate-scale", "0"),
    ]
    for arguments in refused:
        assert main(["train", *arguments]) == 1, arguments
        assert capsys.readouterr().err.startswith("dslora: ")
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    # metrics.jsonl may be written anew with the same lines; everything else is untouched.
    assert kept == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "posts.csv", "run"]
    assert main(["train", *options(base, posts, run, "--overwrite", "--seed", "5")]) == 0
    assert json.loads((run / "run.json").read_text())["training"]["seed"] == 5


def test_a_file_or_a_foreign_folder_is_never_overwritten(base: str, tmp_path: Path) -> None:
    posts = write_posts(tmp_path / "posts.csv", 80)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    for out in (posts, foreign):
        assert main(["train", *options(base, posts, out, "--overwrite")]) == 1
    assert (foreign / "thesis.txt").read_text() == "mine"
    assert posts.is_file()


@pytest.mark.parametrize("command", ["export", "pipeline"])
def test_a_provider_that_is_not_here_is_refused_before_any_work(
    base: str,
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    bundle = ["--bundle", str(tmp_path / "bundle"), "--provider", "cuda"]
    # There is no such run and no such file: neither was looked for.
    given = {
        "export": [str(tmp_path / "run"), *bundle],
        "pipeline": options(base, tmp_path / "posts.csv", tmp_path / "run", *bundle),
    }
    assert main([command, *given[command]]) == 1
    assert "no CUDA provider" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_precisions_of_a_run_are_compared(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", *options(base, write_posts(tmp_path / "posts.csv", 320), run)]) == 0
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()
    assert main(["precisions", str(run), "--layout", "small-gemm"]) == 0
    table = capsys.readouterr().out
    for kind in ("fp32", "row", "dynamic", "int4", "fp16"):
        assert f"\n| {kind} | " in table
    assert "\n200 texts. " in table
    assert "Shipped for a CPU: " in table
