"""What the command line says of input that cannot work, before time is lost and with nothing half-written."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from base_folder import make_base
from dslora import four_bit
from dslora.classifier import Classifier
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.files import write_text
from dslora.methods import METHODS
from test_commands import options, write_posts
from tiny_models import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posts(tmp_path_factory.mktemp("data") / "posts.csv", 80)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "ds-lara"], "'ds-lara' is not known. Expected one of: ds-lora, "),
        (["--target-modules", "q_proj"], "Its linear layers: dense, key, query, value."),
        (["--target-modules", "word_embeddings"], "is a Embedding, not a linear layer"),
        (["--rank", "17"], "whose rank is at most 16. Lower --rank."),
        (["--method", "adalora", "--rank", "4", "--initial-rank", "20"], "Lower --rank and --initial-rank."),
        (["--l1-strength", "-0.1"], "L1 lambda is -0.1; expected 0 or more"),
        (["--method", "lora", "--l1-strength", "0.3"], "Method lora does not use --l1-strength"),
        (["--method", "lora", "--gate-hidden", "4"], "Method lora does not use --gate-hidden"),
        (["--method", "lora-l1", "--gate-learning-rate", "1e-2"], "lora-l1 does not use --gate-learning-rate"),
        (["--method", "dora", "--gate-spread", "1", "--accumulation", "2"], "dora does not use --gate-spread"),
        (["--data", "no/such/file.csv"], "There is no data set, file or folder"),
        (["--data", "olid", "--data-dir", "no/such/folder"], "--data-dir or DSLORA_DATA_DIR"),
        (["--batch-size", "6", "--accumulation", "4"], "not a multiple of accumulation 4"),
        (["--method", "zero-shot", "--rank", "2"], "does not use --"),
        (["--accumulation", "0"], "accumulation is 0; expected 1 or more"),
        (["--max-tokens", "0"], "--max-tokens is 0; expected 8 or more"),
        (["--seed", "99999999999999999999"], "expected a number from 0 to 2^32 - 1"),
        (["--method", "n-grams", "--seed", "-1"], "seed is -1; expected a number from 0"),
        (["--alpha", "0"], "Alpha is 0.0; expected a number above 0"),
    ],
)
def test_settings_that_cannot_work(
    base: str, posts: Path, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(base, posts, tmp_path / "run")
    if "n-grams" in more:
        given = given[: given.index("--rank")]
    if "--data" in more:
        given = [each for each in given if each not in ("--text-column", "post", "--label-column", "verdict")]
    assert main(["train", *given, *more]) == 1
    assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["--alpha", "--learning-rate", "--l1-strength", "--gate-bias-init", "--l1-warmup"])
@pytest.mark.parametrize("value", ["nan", "inf", "many"])
def test_what_is_no_finite_number(name: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "olid", "--out", str(tmp_path / "run"), name, value])
    assert ended.value.code == 2
    assert f"argument {name}: '{value}' is not a finite number" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_place_that_cannot_be_or_is_somebody_elses(
    command: str, base: str, posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").touch()
    for out, message in ((own, "is not empty and holds no"), (own / "thesis.tex" / "run", "thesis.tex is a file")):
        assert main([command, *options(base, posts, out)]) == 1
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["own", "thesis.tex"]


@pytest.mark.parametrize("command", ["pipeline", "sweep", "reproduce", "evaluate"])
def test_several_processes_are_refused_by_all_but_train(
    command: str, base: str, posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    # As torch's launcher sets them.
    for name, value in {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    given = {
        "pipeline": [*options(base, posts, tmp_path / "run"), "--bundle", str(tmp_path / "bundle")],
        "sweep": options(base, posts, tmp_path / "run"),
        "reproduce": ["table3", "--preset", "tiny", "--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "run")],
        "evaluate": [str(tmp_path / "run")],
    }
    assert main([command, *given[command]]) == 1
    said = capsys.readouterr().err
    assert f"Give dslora {command} without accelerate launch." in said
    assert ("--workers" in said) == (command in ("sweep", "reproduce"))
    assert list(tmp_path.iterdir()) == []


def test_a_base_without_gradient_checkpointing(
    posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base", tiny("mpnet"))
    given = ["train", *options(base, posts, tmp_path / "run")]
    assert main([*given, "--gradient-checkpointing"]) == 1
    assert "has no gradient checkpointing in transformers" in capsys.readouterr().err
    assert main([*given, "--gradient-checkpointing", "--ignore-memory"]) == 1
    assert "has no gradient checkpointing in transformers" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    # Nor is it advised.
    monkeypatch.setattr("dslora.plan.fit.device_memory", lambda device: 2**20)
    assert main(given) == 1
    said = capsys.readouterr().err
    assert "The least that these methods need" in said
    assert "--gradient-checkpointing" not in said


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_read(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # The data do not exist either, and that would be said first if they were read first.
    for command in (
        ["train", *options(base, tmp_path / "none.csv", tmp_path / "run"), "--device", "cuda"],
        ["evaluate", str(tmp_path / "none"), "--device", "cuda"],
    ):
        assert main(command) == 1
        assert "torch finds no CUDA device" in capsys.readouterr().err


def test_four_bits_that_do_not_run_here_are_refused_before_anything_is_read(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    four_bit.check_four_bit()

    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no kernel for this processor")

    monkeypatch.setattr("bitsandbytes.functional.quantize_4bit", broken)
    command = ["train", *options(base, tmp_path / "none.csv", tmp_path / "run"), "--method", "ds-qlora"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "does not run here (RuntimeError: no kernel for this processor)" in error
    assert "use method lora or ds-lora" in error


def test_a_class_that_a_split_or_normalisation_leaves_without_posts(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    rows = (folder / "train.csv", write_posts(folder / "train.csv", 40).read_text())[1]
    header, *lines = rows.splitlines()
    (folder / "test.csv").write_text("\n".join([header, *(line for line in lines if line.endswith("fine"))]))
    assert main(["train", *options(base, folder, tmp_path / "run")]) == 1
    assert "no row of test has the label 'abusive'" in capsys.readouterr().err

    emptied = tmp_path / "emptied.csv"
    emptied.write_text("\n".join([header, *(line if line.endswith("fine") else f"!!,{line[-7:]}" for line in lines)]))
    steps = ["--normalization", "punctuation", "whitespace"]
    for method in ("ds-lora", "n-grams"):
        given = options(base, emptied, tmp_path / "run", *steps, "--method", method)
        if method == "n-grams":
            given = [*given[: given.index("--rank")], *steps, "--method", method]
        assert main(["train", *given]) == 1
        assert "nothing is left to read of any train row of abusive" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

    (folder / "train.csv").write_text(rows)
    (folder / "test.csv").write_text(emptied.read_text())
    assert main(["train", *options(base, folder, tmp_path / "run"), *steps]) == 1
    assert "nothing is left to read of any test row of abusive" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Every write beyond ``size`` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("more", [["--checkpoint-every", "2"], ["--method", "full"], ["--method", "n-grams"]])
def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on(
    base: str, posts: Path, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = options(base, posts, run)
    if more[0] == "--method":
        given = given[: given.index("--rank")]
    with files_up_to(1_000 if "n-grams" in more else 6_000):
        assert main(["train", *given, *more]) == 1
    error = capsys.readouterr().err
    assert "could not be written" in error
    assert "Free space" in error or "free space" in error
    assert not [path.name for path in run.rglob("*") if path.name.endswith(".part")]
    assert not (run / "run.json").exists()
    assert main(["train", *given, *more]) == 0
    assert (run / "run.json").is_file()


def test_a_file_keeps_its_old_content_where_the_disk_is_full(tmp_path: Path) -> None:
    file = tmp_path / "kept.txt"
    write_text(file, "old")
    with files_up_to(100), pytest.raises(OSError, match="File too large"):
        write_text(file, "new" * 1000)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_too_little_memory_names_the_settings_that_need_less(
    base: str, posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: Classifier, *arguments: Any, **options: Any) -> Any:
        return torch.empty(1 << 60)

    monkeypatch.setattr(Classifier, "forward", greedy)
    assert main(["train", *options(base, posts, tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    for setting in ("--accumulation 2", "--gradient-checkpointing", "--precision bf16"):
        assert setting in error
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_base_that_does_not_fit_in_memory(
    base: str, posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(METHODS["ds-lora"], "load_base", lambda *arguments: torch.empty(1 << 60))
    assert main(["train", *options(base, posts, tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dslora: Out of memory (")
    assert "ds-qlora" in error


@pytest.mark.parametrize(
    ("command", "has", "lacks"),
    [
        (["export", "run", "--bundle", "bundle"], "Out of memory (", "--"),
        (["evaluate", "run"], "End other programs that take memory", "--"),
        (["layouts", "--base", "minilm", "--out", "out"], "Use a smaller base model (--base)", "--base-precision"),
        (["train", "--data", "none.csv", "--out", "out"], "--base-precision bf16", "--graphs"),
    ],
)
def test_memory_that_runs_out_is_answered_with_what_the_command_has(
    command: list[str], has: str, lacks: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*arguments: Any, **options: Any) -> Any:
        return torch.empty(1 << 60)

    # Imported first, ngram_run does not keep what takes load_run's place here.
    for place in ("ngram_run.load_any_run", "run.load_run", "export.layout_files.random_adapters"):
        monkeypatch.setattr(f"dslora.{place}", greedy)
    monkeypatch.setattr("dslora.run_record.load_dataset", greedy)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert has in error
    assert lacks not in error


def test_a_fault_of_the_package_keeps_its_traceback(
    base: str, posts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Classifier, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Classifier, "forward", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        main(["train", *options(base, posts, tmp_path / "run")])
    with pytest.raises(DsLoraError):
        Classifier.load(tmp_path / "run" / "best")
