"""A question of one's own: its page, and what its folder remembers of it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base_folder import make_base
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.reproduce.presets import PRESETS
from dslora.reproduce.reproduction import RESULTS, reproduce
from dslora.reproduce.results import Results
from dslora.reproduce.study import Study, joined, remember
from reproduction_data import write_splits
from test_commands import write_posts

TINY = PRESETS["tiny"]


def test_own_data_and_base_get_a_page_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base, data = make_base(tmp_path_factory.mktemp("base")), write_splits(tmp_path / "toy")
    assert main(["reproduce", "table8", "--preset", "tiny", "--base", base, "--data", data]) == 1
    assert "--out" in capsys.readouterr().err
    assert main(["reproduce", "table8", "--preset", "tiny", "--precision", "fp32"]) == 1
    assert "--out" in capsys.readouterr().err
    out = tmp_path / "out"
    study = Study("tiny", base=base, data=data, names=("table3", "table8"))
    reproduce(
        study.experiments(["table8"]),
        replace(study.applied(TINY), max_tokens=24),
        study=study,
        seeds=2,
        cells=tmp_path / "cells",
        out=out,
        data_dir=None,
        # A process of its own costs an import of torch.
        workers=2 if os.environ.get("DSLORA_TEST_FULL") else 1,
    )
    assert len(list((out / RESULTS).glob("*.json"))) == 4
    page = (out / "README.md").read_text()
    assert "Over 2 seeds DS-LoRA is right where LoRA" in page
    # The same two methods are rows of another table; what the paper says of other data is not shown beside them.
    assert "### Table 3: ablation" in page
    assert "81.3" not in page
    # Nothing that was not asked for, and no word of other data and another base.
    assert f"# DS-LoRA beside LoRA on toy with {base}" in page
    assert f"Base model {base}; at most 4,000 training rows, at most 4 epochs, precision bf16" in page
    for absent in ("Table 1", "Figure", "OLID, MiniLM", "models are 300 times larger", "## Not run\n"):
        assert absent not in page, absent
    assert f"dslora reproduce table3 table8 --preset tiny --base {base} --data {data} --out {out}\n" in page


def test_a_folder_of_ones_own_remembers_its_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, posts = tmp_path / "out", write_posts(tmp_path / "posts.csv", 60)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    own = ["--preset", "tiny", "--precision", "fp32", "--data", str(posts), *columns]
    given = ["reproduce", "table3", *own, "--seeds", "1", "--cells", str(tmp_path / "cells"), "--out", str(out)]
    computed = []

    def drain(cells: Any, folder: Path, results: Results, data_dir: str | None, workers: int) -> None:
        for cell in cells:
            computed.append(cell.data)
            results.save(cell, {"refused": "This base has no such module."})

    monkeypatch.setattr("dslora.reproduce.reproduction.drain_in_processes", drain)
    assert main(given) == 0
    page = (out / "README.md").read_text()
    assert "# DS-LoRA beside LoRA on posts.csv" in page
    monkeypatch.chdir(tmp_path)
    # The report alone needs no more than the folder; what is said has to agree, by whatever path.
    for more in ([], own[2:4], ["--data", "posts.csv", *columns]):
        assert main(["reproduce", "report", "--preset", "tiny", "--out", "out", *more]) == 0
        assert (out / "README.md").read_text() == page.replace(str(out), "out")
    assert main(["reproduce", "table4", *own[:5], "posts.csv", *columns, "--out", "out", "--cells", "cells"]) == 0
    assert set(computed) == {f"{posts}?text-column=post&label-column=verdict&positive-labels=abusive"}
    both = (out / "README.md").read_text()
    assert "### Table 3: ablation" in both
    assert "### Table 4: kinds of gates" in both
    for wrong, option in (
        (["table3", "--preset", "tiny"], "precision"),
        (["table3", *own, "--base", "smollm2"], "base"),
        (["report", "--preset", "small"], "preset"),
        (["report", "--preset", "tiny", "--data", "olid"], "data"),
    ):
        capsys.readouterr()
        assert main(["reproduce", *wrong, "--out", "out"]) == 1
        said = capsys.readouterr().err
        assert "holds the report of another question: dslora reproduce table3 table4 --preset tiny" in said
        assert f"Give --{option} as there" in said
    assert (out / "README.md").read_text() == both


def test_a_question_without_an_answer_yet_may_be_put_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data = tmp_path / "out", write_splits(tmp_path / "toy")
    base = make_base(tmp_path / "base")
    drain: Any = lambda *arguments: (_ for _ in ()).throw(DsLoraError("Stopped."))  # noqa: E731
    monkeypatch.setattr("dslora.reproduce.reproduction.drain_in_processes", drain)
    given = ["reproduce", "table8", "--preset", "tiny", "--data", data, "--out", str(out), "--base"]
    assert main([*given, str(tmp_path / "bose")]) == 1
    assert "could not be loaded" in capsys.readouterr().err
    assert not out.exists()
    # Broken off before the first result, and then with another precision.
    assert main([*given, base]) == 1
    assert main([*given, base, "--precision", "fp32"]) == 1
    assert capsys.readouterr().err.count("Stopped.") == 2
    assert '"precision": "fp32"' in (out / "study.json").read_text()


def test_two_commands_for_one_folder_keep_each_others_tables(tmp_path: Path) -> None:
    one = Study("tiny", precision="fp32", names=("table8",))
    other = Study("tiny", precision="fp32", names=("table3",))
    assert remember(tmp_path, one) == one
    assert remember(tmp_path, other).names == ("table3", "table8")
    assert remember(tmp_path, one).names == ("table3", "table8")
    assert joined(tmp_path, Study("tiny"), has_results=True).names == ("table3", "table8")
