"""Cells: what tells them apart, what is computed, and that a killed one goes on."""

import errno
import json
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from base_folder import WORDS, make_base
from dslora.cli import main
from dslora.errors import DsLoraError, MemoryShortError
from dslora.inference import predict
from dslora.methods import METHODS
from dslora.reproduce import work
from dslora.reproduce.cell import Cell
from dslora.reproduce.controls import gates_fixed
from dslora.reproduce.experiments import EXPERIMENTS
from dslora.reproduce.identity import TEMPLATES, TERMS
from dslora.reproduce.plan import make_cell, plan
from dslora.reproduce.presets import PRESETS, Preset
from dslora.reproduce.results import Results, claimed, pack, unpack
from dslora.reproduce.source import settings_of, source_of
from dslora.reproduce.transfer import language_of, loaded
from dslora.run import load_run
from dslora.run_record import DataSettings
from reproduction_data import write_splits
from test_commands import write_posts


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Preset:
    return Preset(
        name="toy",
        summary="",
        bases=(make_base(tmp_path_factory.mktemp("base")),),
        training={
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "gate_learning_rate": 1e-2,
            "head_learning_rate": 1e-2,
            "checkpoint_every": 3,
            "device": "cpu",
        },
        rank=2,
        l1={"strength": 0.1},
        seeds=2,
        max_tokens=24,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_splits(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def cell(preset: Preset, data: str) -> Cell:
    return make_cell(preset, preset.bases[0], data, EXPERIMENTS["table3"].rows(preset)[3], 0)


def silent(line: str) -> None:
    pass


class Killed(BaseException):
    """Ends a process's work as a signal would: nothing of ours catches it."""


def kill_at(number: int | None, patch: pytest.MonkeyPatch) -> list[int]:
    """Ends the process's work at that optimizer step, or never; gets an entry for every step."""
    step, steps = torch.optim.AdamW.step, list[int]()

    def counted(*arguments: Any, **options: Any) -> Any:
        steps.append(len(steps) + 1)
        if len(steps) == number:
            raise Killed
        return step(*arguments, **options)

    patch.setattr(torch.optim.AdamW, "step", counted)
    return steps


def test_a_key_tells_every_setting_apart_and_nothing_else(cell: Cell) -> None:
    assert cell.key == replace(cell).key
    assert cell.key == Cell(**json.loads(json.dumps(vars(cell)))).key
    others = [
        replace(cell, seed=1),
        replace(cell, tuning=True),
        replace(cell, adapter={**cell.adapter, "gate_hidden": 0}),
        replace(cell, l1={"strength": 0.2}),
        replace(cell, training={**cell.training, "epochs": 3}),
        replace(cell, data="olid"),
    ]
    assert len({each.key for each in (cell, *others)}) == len(others) + 1
    assert len({each.name for each in (cell, *others)}) == len(others) + 1


def test_a_key_is_what_it_was_when_results_were_kept_by_it() -> None:
    rates = dict.fromkeys(("learning_rate", "gate_learning_rate", "head_learning_rate"), 0.001)
    others = {"warmup": 0.06, "weight_decay": 0.01, "schedule": "linear", "class_weighting": "none"}
    training = {"max_gradient_norm": 1.0, "precision": "bf16", "patience": 3, "epochs": 4, "train_rows": 4000}
    lora = Cell(
        data="olid",
        base="all-MiniLM-L6-v2",
        method="lora",
        adapter={"rank": 8, "dropout": 0.1, "alpha": 16.0},
        l1=None,
        training={"batch_size": 16, **others, **training, **rates},
        seed=0,
        max_tokens=128,
        transfer_rows=1000,
    )
    assert lora.key == "4f83b01a0a171987"
    assert lora.name == "olid-lora-seed0-4f83b01a0a171987"
    tiny = PRESETS["tiny"]
    assert make_cell(tiny, tiny.bases[0], "olid", EXPERIMENTS["table3"].rows(tiny)[0], 0) == lora


def test_what_was_said_of_own_data_is_in_the_key_and_reaches_who_reads_them(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source_of("olid", None, None, None) == "olid"
    for data in ("olid", "posts.csv", "what?.csv", "hub:owner/name:part@main", "posts.csv?text-column"):
        assert settings_of(data, "folder") == DataSettings(data, "folder")
    assert settings_of(source_of("a b/posts.csv", "the post?", "ok&", ["no", "ä"])) == DataSettings(
        "a b/posts.csv", None, "the post?", "ok&", positive_labels=("no", "ä")
    )
    assert source_of("x", None, None, ["b", "a"]) == source_of("x", None, None, ["a", "b"])
    assert language_of(source_of("germeval2018", None, None, ["OFFENSE"])) == "de"

    posts = write_posts(tmp_path / "posts.csv", 320)
    ngrams = next(variant for variant in EXPERIMENTS["table1"].rows(preset) if variant.method == "n-grams")
    data = source_of(str(posts), "post", "verdict", ["abusive"])
    cell = make_cell(preset, preset.bases[0], data, ngrams, 0)
    assert cell.name == f"posts-n-grams-seed0-{cell.key}"
    assert len({replace(cell, data=each).key for each in (data, str(posts), source_of(data, "p", None, None))}) == 3
    results = Results(tmp_path / "out")
    # As a worker process gets it.
    work.drain([pickle.loads(pickle.dumps(cell))], tmp_path / "cells", results, None, silent)
    result = results.load(cell)
    assert result is not None
    assert result["positiveLabels"] == ["abusive"]
    record = json.loads((tmp_path / "cells" / cell.name / "run.json").read_text())
    assert record["data"]["text_column"] == "post"
    assert record["data"]["name"] == str(posts)


def test_the_command_hands_on_what_was_said_of_own_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[tuple[str, ...]]] = []

    def reproduce(experiments: Any, preset: Any, *, study: Any, **more: Any) -> None:
        seen.append({each.data for each in (*experiments, *study.shown)})

    monkeypatch.setattr("dslora.reproduce.reproduction.reproduce", reproduce)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive", "vile"]
    given = ["reproduce", "table3", "--preset", "tiny", "--out", str(tmp_path), *columns]
    assert main([*given, "--data", "posts.csv"]) == 0
    (((data,),),) = seen
    assert settings_of(data) == DataSettings("posts.csv", None, "post", "verdict", positive_labels=("abusive", "vile"))
    assert main(given) == 1
    assert "say how to read --data. Name it too." in capsys.readouterr().err
    assert len(seen) == 1


def test_what_does_not_fit_into_memory_is_recorded_before_anything_is_loaded(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr(work, "train_run", reached)
    monkeypatch.setattr("dslora.plan.fit.device_memory", lambda device: 2**20)
    results = Results(tmp_path / "out")
    full = replace(cell, method="full", adapter={}, l1=None)
    work.drain([full], tmp_path / "cells", results, None, silent)
    assert str(results.refusal(full)).startswith("full on ")
    assert "there are 1.0 MiB" in str(results.refusal(full))


@pytest.mark.parametrize("estimated", [True, False])
def test_memory_that_is_too_small_for_all_workers_is_no_refusal(
    cell: Cell, estimated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid would choose among what happened to fit."""

    def short(*arguments: Any, **options: Any) -> Any:
        assert not estimated, "the base was loaded"
        raise MemoryShortError("Memory ran out while training. With --accumulation 2 …")

    monkeypatch.setattr(work, "train_run", short)
    if estimated:
        monkeypatch.setattr(work, "device_memory", lambda device: 800 * 2**20)
    results = Results(tmp_path / "out")
    with pytest.raises(DsLoraError, match=r"than each of 2 workers has\. Use fewer --workers"):
        work.drain([cell], tmp_path / "cells", results, None, silent, sharing=2)
    assert results.refusal(cell) is None
    if not estimated:
        # Alone it has no one to blame, and training's advice is of options that are not there.
        work.drain([cell], tmp_path / "cells", results, None, silent)
        assert results.refusal(cell) == "Memory ran out while training."


def test_equal_cells_of_several_tables_are_planned_once(preset: Preset, tmp_path: Path) -> None:
    tables = [EXPERIMENTS["table3"], EXPERIMENTS["table4"], EXPERIMENTS["figure3"]]
    preset = replace(preset, strengths=(0.0, 0.1), component_strengths=())
    planned = [plan(table, preset, [0, 1], Results(tmp_path)) for table in tables]
    cells = list({each.key: each for table in planned for each in table}.values())
    assert not any(each.tuning for each in cells)
    # LoRA, + L1, + gate, DS-LoRA and equal parameters; six more gates; the figure's points are all there already.
    assert len(cells) == 2 * (5 + 6)
    assert [each.seed for each in planned[0]] == [0] * 5 + [1] * 5


def test_a_grid_is_settled_on_the_development_split(preset: Preset, tmp_path: Path) -> None:
    preset = replace(preset, grid={"training.learning_rate": (1e-2, 2e-2), "l1.strength": (0.1, 0.2)})
    results = Results(tmp_path)
    table = EXPERIMENTS["table8"]
    tuning = plan(table, preset, [0], results)
    # Two rates for LoRA, two by two for DS-LoRA; nothing is settled yet.
    assert len(tuning) == 2 + 4
    assert all(each.tuning and each.seed == 0 for each in tuning)
    for number, each in enumerate(tuning):
        results.save(each, {"development": {"macroF1": number / 10}})
    cells = [each for each in plan(table, preset, [0], results) if not each.tuning]
    assert [each.training["learning_rate"] for each in cells] == [2e-2, 2e-2]
    assert [each.l1 and each.l1["strength"] for each in cells] == [None, 0.2]


def test_only_what_is_missing_is_computed(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "out")
    computed: list[str] = []

    def counted(which: Cell, *rest: Any) -> dict[str, Any]:
        computed.append(which.key)
        return compute(which, *rest)

    compute: Callable[..., dict[str, Any]] = work.compute
    monkeypatch.setattr(work, "compute", counted)
    work.drain([cell], tmp_path / "cells", results, None, silent)
    lora = replace(cell, method="lora", adapter={"rank": 2}, l1=None)
    work.drain([cell, lora], tmp_path / "cells", results, None, silent)
    assert computed == [cell.key, lora.key]

    result = results.load(cell)
    assert result is not None
    truth, predicted = unpack(result["test"]["truth"]), unpack(result["test"]["predicted"])
    assert truth.tolist() == [row % 2 for row in range(60)]
    assert result["test"]["macroF1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert len(unpack(result["gates"]["meanGate"])) == 60
    assert len(result["gates"]["groups"]) == 3
    assert result["gatesFixed"]["test"]["n"] == 60
    assert set(result["identity"]["byTerm"]) == set(TERMS["en"])
    assert result["transfer"]["olid"] == {"missing": "its files were not there"}
    assert not (tmp_path / "cells" / cell.name / "checkpoint.pt").exists()
    other = results.load(lora)
    assert other is not None
    assert "gates" not in other
    # No texts: every word of the toy posts is w and a number.
    assert not any(f'"{word} ' in results.path(cell).read_text() for word in WORDS)


def test_other_files_of_the_same_data_set_are_refused(cell: Cell, tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    results.save(cell, {"files": {"train": ["0" * 64]}})
    with pytest.raises(DsLoraError, match="other files"):
        work.drain([replace(cell, seed=1)], tmp_path / "cells", results, None, silent)


def test_a_run_on_other_files_is_trained_again(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of runs is shared by reports, whose own checks see only what stands in them."""
    folder = write_splits(tmp_path / "toy")
    lora = replace(cell, data=folder, method="lora", adapter={"rank": 2}, l1=None)
    kill_at(5, monkeypatch)
    loaded.cache_clear()
    with pytest.raises(Killed):
        work.drain([lora], tmp_path / "cells", Results(tmp_path / "first"), None, silent)
    train = tmp_path / "toy" / "train.csv"
    for rows, out in ((80, "second"), (64, "third")):
        train.write_text("\n".join(train.read_text().splitlines()[: rows + 1]) + "\n")
        loaded.cache_clear()
        # Begun on other rows the first time, finished on others the second.
        work.drain([lora], tmp_path / "cells", Results(tmp_path / out), None, silent)
        result = Results(tmp_path / out).load(lora)
        assert result is not None
        assert result["trainRows"] == rows
    loaded.cache_clear()


def test_a_full_disk_is_no_refusal(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise DsLoraError("The disk is full.") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(work, "compute", full)
    results = Results(tmp_path / "out")
    with pytest.raises(DsLoraError, match="The disk is full"):
        work.drain([cell], tmp_path / "cells", results, None, silent)
    assert results.refusal(cell) is None


def test_what_one_worker_was_refused_the_others_leave(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*arguments: Any) -> Any:
        asked.append(arguments)
        raise DsLoraError("This base has no such module.")

    monkeypatch.setattr(work, "compute", refuse)
    results, began = Results(tmp_path / "out"), time.time() - 1
    for _ in range(2):
        work.drain([cell], tmp_path / "cells", results, None, silent, since=began)
    assert len(asked) == 1
    # The next command tries again.
    work.drain([cell], tmp_path / "cells", results, None, silent, since=time.time() + 1)
    assert len(asked) == 2


def test_factors_are_of_what_was_chosen() -> None:
    small = PRESETS["small"]
    fast = next(row for row in EXPERIMENTS["search"].rows(small) if row.factors)
    for rate in small.grid["training.learning_rate"]:
        made = make_cell(small, small.bases[0], "olid", fast, 0, {"training.learning_rate": rate})
        assert made.training["gate_learning_rate"] == pytest.approx(10 * rate)
        assert made.training["learning_rate"] == rate


def test_what_a_method_refuses_is_recorded_and_tried_again(cell: Cell, tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    wrong = replace(cell, adapter={**cell.adapter, "target_modules": ("nope",)})
    work.drain([wrong], tmp_path / "cells", results, None, silent)
    assert results.load(wrong) is None
    assert "nope" in str(results.refusal(wrong))


def test_a_claimed_cell_is_left_to_its_owner(cell: Cell, tmp_path: Path) -> None:
    with claimed(tmp_path, cell) as ours, claimed(tmp_path, cell) as theirs:
        assert ours
        assert not theirs
    with claimed(tmp_path, cell) as again:
        assert again


def test_a_killed_cell_goes_on_to_the_same_result(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = Results(tmp_path / "whole"), Results(tmp_path / "killed")
    work.drain([cell], tmp_path / "one", whole, None, silent)

    with monkeypatch.context() as patch:
        # In the second epoch, two steps after a checkpoint.
        kill_at(17, patch)
        with pytest.raises(Killed):
            work.drain([cell], tmp_path / "two", killed, None, silent)
    assert killed.load(cell) is None

    with monkeypatch.context() as patch:
        steps = kill_at(None, patch)
        work.drain([cell], tmp_path / "two", killed, None, silent)
    # 24 in all, of which 15 were kept.
    assert len(steps) == 9
    first, second = whole.load(cell), killed.load(cell)
    assert first is not None
    assert second is not None
    for name in ("development", "test", "zeros", "rank", "epochs", "bestEpoch"):
        assert first[name] == second[name], name


def test_fixed_gates_are_constant_and_come_back(cell: Cell, tmp_path: Path) -> None:
    dataset = loaded(cell.data, None)
    work.compute(cell, tmp_path / "run", None)
    run = load_run(tmp_path / "run")
    texts = dataset.splits["test"].texts
    before = predict(run.classifier, run.encoder, texts)
    means = np.linspace(0.1, 0.9, before.gates.shape[1])
    with gates_fixed(run.classifier, means.tolist()):
        fixed = predict(run.classifier, run.encoder, texts)
    np.testing.assert_allclose(fixed.gates, np.tile(means, (len(texts), 1)), atol=1e-6)
    after = predict(run.classifier, run.encoder, texts)
    np.testing.assert_array_equal(before.gates, after.gates)
    np.testing.assert_array_equal(before.logits, after.logits)
    # The constant takes part: with gates at 0 the adapter is off.
    with gates_fixed(run.classifier, [0.0] * len(means)):
        closed = predict(run.classifier, run.encoder, texts)
    with run.classifier.method.disabled(run.classifier.encoder), torch.no_grad():
        ids, mask = run.encoder.pad([run.encoder.windows(run.encoder.ids(texts[0]))[0]])
        hidden = run.classifier.encoder(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)
        ).last_hidden_state.mean(dim=1)
        np.testing.assert_allclose(closed.logits[0], run.classifier.head(hidden)[0].numpy(), atol=1e-5)


def test_every_row_of_the_first_table_is_computed_or_says_why_not(preset: Preset, data: str, tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    variants = EXPERIMENTS["table1"].rows(preset)
    assert {variant.method for variant in variants} == {"n-grams", *METHODS}
    cells = [make_cell(preset, preset.bases[0], data, variant, 0) for variant in variants]
    work.drain(cells, tmp_path / "cells", results, None, silent)
    refused = {cell.method: reason for cell in cells if (reason := results.refusal(cell))}
    # An encoder cannot be asked.
    assert set(refused) == {"zero-shot"}, refused
    for cell in cells:
        result = results.load(cell)
        assert (result is None) == (cell.method in refused)
        if result is not None:
            assert result["test"]["n"] == 60
            assert result["parameters"] > 0
            assert ("gates" in result) == (cell.method in METHODS and METHODS[cell.method].gated)


def test_packed_classes_come_back() -> None:
    values = np.array([0, 2, 1, 255, 0])
    assert unpack(pack(values)).tolist() == values.tolist()


def test_every_sentence_is_neutral_in_form() -> None:
    assert TEMPLATES.keys() == TERMS.keys()
    for language, templates in TEMPLATES.items():
        assert all("{term}" in template for template in templates)
        assert len(set(TERMS[language])) == len(TERMS[language])
