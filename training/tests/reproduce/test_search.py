"""The search for a kind of gate and of penalty that beats LoRA at equal parameters."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dslora.reproduce import reproduction
from dslora.reproduce.cell import Cell
from dslora.reproduce.experiments import EXPERIMENTS, Experiment, Variant, references
from dslora.reproduce.plan import plan
from dslora.reproduce.presets import PRESETS, Preset
from dslora.reproduce.results import Results, pack
from dslora.reproduce.search import FRESH, needed, rounds, search
from dslora.reproduce.study import Study

SEARCH, TINY = EXPERIMENTS["search"], PRESETS["tiny"]
BASE, DATA = TINY.bases[0], SEARCH.data[0]
LINEAR = {"gate_hidden": 0}


def save(results: Results, cell: Cell, wrong_development: int, wrong_test: int = 0) -> None:
    """A result with so many wrong answers of 200."""

    def split(wrong: int) -> dict[str, Any]:
        truth = np.arange(200) % 2
        predicted = np.where(np.arange(200) < wrong, 1 - truth, truth)
        return {"n": 200, "predicted": pack(predicted), "truth": pack(truth), "leftOut": []}

    free_rank = cell.adapter["rank"] if cell.method == "lora-equal" else 0
    results.save(
        cell,
        {
            "labels": ["NOT", "OFF"],
            # What a grid is chosen by: the higher rate, and the higher rank of plain LoRA where it is free to choose.
            "development": {**split(wrong_development), "macroF1": cell.training["learning_rate"] + 0.01 * free_rank},
            "test": split(wrong_test),
            "zeros": 0.1,
            "parameters": 1000 + wrong_development,
        },
    )


def save_all(results: Results, linear: Sequence[int], shared: Sequence[int] = (50, 50)) -> None:
    """Two seeds of every candidate: two of them so often wrong in each seed, all others 50 times."""
    for cell in plan(SEARCH, TINY, range(2), results):
        is_linear = cell.method == "ds-lora" and cell.adapter["gate_hidden"] == 0
        wrong = linear if is_linear else shared if cell.adapter.get("gate_shared") else (50, 50)
        save(results, cell, wrong[cell.seed], 90 if is_linear else 10)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """The linear gate is the best over both seeds, though not in the first, and not on the test split."""
    results = Results(tmp_path)
    save_all(results, linear=(45, 20), shared=(40, 60))
    return results


def fresh(results: Results, seeds: int, experiment: Experiment = SEARCH, preset: Preset = TINY) -> list[Cell]:
    """What is needed after the last round."""
    return [cell for cell in needed(experiment, preset, seeds, results) if cell.seed >= FRESH]


def page(results: Results, preset: Preset = TINY) -> str:
    return "\n".join(search(SEARCH, preset, BASE, DATA, results))


def test_candidates_are_different_runs_with_a_gate() -> None:
    variants = SEARCH.rows(TINY)
    assert len({variant.label for variant in variants}) == len(variants)
    cells = plan(SEARCH, TINY, [0], Results(Path("none")))
    assert len(cells) == len(variants)
    assert {cell.method for cell in cells} == {"ds-lora", "lora-gate"}
    assert {cell.training["gate_spread"] for cell in cells if "gate_spread" in cell.training} == {0.3}


def test_the_best_on_development_is_tried_again_beside_equal_lora(results: Results) -> None:
    cells = fresh(results, 2)
    assert [(cell.method, cell.seed) for cell in cells] == [
        ("ds-lora", FRESH),
        ("lora-equal", FRESH),
        ("ds-lora", FRESH + 1),
        ("lora-equal", FRESH + 1),
    ]
    # The reference has the parameters of this candidate's gates, not of the default's.
    assert {cell.adapter["gate_hidden"] for cell in cells} == {0}
    before = page(results)
    assert "Not tried with fresh seeds yet" in before
    assert before.index("| linear gate |") < before.index("| LoRA + gate |")
    assert "(reference)" not in before

    # A seed that only one of them has counts for neither.
    for cell in (*cells[:3], *fresh(results, 2)[3:]):
        save(results, cell, 30, 20 if cell.method == "lora-equal" else 60)
    save(results, replace(cells[0], seed=FRESH + 7), 0, 200)
    after = page(results)
    assert "Best on the development split: linear gate. Trained again with 2 fresh seeds" in after
    assert "70.0 [" in after
    assert "90.0 [" in after
    assert "linear gate is 20.0 points below LoRA, parameters of linear gate" in after


def test_plain_lora_stands_beside_the_candidates(results: Results) -> None:
    lora = replace(SEARCH, rows=lambda preset: references(Variant("x", "ds-lora", LINEAR)))
    for cell in plan(lora, TINY, range(2), results):
        save(results, cell, 40)
    assert "| LoRA (reference) | 2 | 80.0 [" in page(results)
    assert "| LoRA, parameters of linear gate (reference) | 2 | 80.0 [" in page(results)


def test_the_best_third_goes_on_to_the_next_round(tmp_path: Path) -> None:
    results = Results(tmp_path)
    # By far the best with the second seed, which a candidate that is not among the best with the first never gets.
    save_all(results, linear=(55, 0), shared=(49, 49))
    first, second = rounds(SEARCH, TINY, BASE, DATA, results)
    assert (len(first), len(second)) == (22, 8)
    assert first[0].label == second[0].label == "one gate for all layers"
    assert first[-1].label == "linear gate"
    third = [cell for cell in needed(SEARCH, TINY, 3, results) if cell.seed == 2]
    assert len(third) == 3
    assert third[0].adapter["gate_shared"]
    text = page(results)
    assert "all with one seed, the best 8 with 2." in text
    assert "| one gate for all layers | 2 | 75.5 [" in text
    # Of one seed, below those of two, whatever a second one would say.
    assert "| linear gate | 1 | 72.5 [" in text
    assert text.index("| linear gate |") > text.index("| one gate for all layers |")


def test_a_round_waits_for_all_of_its_candidates(results: Results) -> None:
    assert len(rounds(SEARCH, TINY, BASE, DATA, results)) == 2
    assert {cell.seed for cell in needed(SEARCH, TINY, 3, results)} == {0, 2}
    missing = next(cell for cell in fresh(results, 2) if cell.method == "ds-lora")
    results.path(replace(missing, seed=1)).unlink()
    assert len(rounds(SEARCH, TINY, BASE, DATA, results)) == 1
    assert fresh(results, 2) == []
    results.path(replace(missing, seed=0)).unlink()
    assert {cell.seed for cell in needed(SEARCH, TINY, 2, results)} == {0}
    assert search(SEARCH, TINY, BASE, DATA, results) == []


def test_a_candidate_that_cannot_be_run_does_not_stop_the_search(results: Results) -> None:
    for cell in plan(SEARCH, TINY, range(2), results):
        if cell.adapter.get("gate_pooling") == "token":
            results.save(cell, {"refused": "no tokens here"})
    assert {cell.adapter["gate_hidden"] for cell in fresh(results, 2)} == {0}


def test_one_command_goes_from_candidates_to_fresh_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[list[int]] = []

    def drain(cells: list[Cell], folder: Path, results: Results, data_dir: str | None, workers: int) -> None:
        waves.append([cell.seed for cell in cells])
        for cell in cells:
            save(results, cell, 50)

    monkeypatch.setattr(reproduction, "drain_in_processes", drain)
    out = tmp_path / "out"
    reproduction.reproduce(
        [SEARCH],
        TINY,
        study=Study("tiny", precision="bf16", names=("search",)),
        seeds=4,
        cells=tmp_path / "cells",
        out=out,
        data_dir=None,
        workers=1,
    )
    fresh_seeds = sorted([*range(FRESH, FRESH + 4)] * 2)
    assert waves == [[0] * 22, [1] * 8, [2] * 3, [3] * 3, fresh_seeds]
    assert "### Search: what beats LoRA at equal parameters" in (out / "README.md").read_text()


@pytest.mark.parametrize("setting", ["training.learning_rate", "adapter.rank"])
def test_a_grid_settles_the_reference_too(setting: str, tmp_path: Path) -> None:
    name = setting.partition(".")[2]
    values = {"learning_rate": (1e-3, 2e-3), "rank": (4, 8)}[name]
    preset = replace(TINY, grid={setting: values})

    def two(preset: Preset) -> tuple[Variant, ...]:
        return SEARCH.rows(preset)[:2]

    experiment = Experiment("search", "", "search", (DATA,), two)
    results = Results(tmp_path)
    waves = 0
    while missing := [cell for cell in needed(experiment, preset, 1, results) if results.load(cell) is None]:
        waves += 1
        for cell in missing:
            save(results, cell, 20)
    # Grid of candidates; candidates; the winner's fresh seed and, where it has one, the reference's grid; the rest.
    assert waves == (4 if name == "learning_rate" else 3)
    last = [cell for cell in fresh(results, 1, experiment, preset) if not cell.tuning]
    assert [cell.method for cell in last] == ["lora-gate", "lora-equal"]
    assert last[0].adapter["rank"] == last[1].adapter["rank"]
    assert last[0].training["learning_rate"] == last[1].training["learning_rate"]
