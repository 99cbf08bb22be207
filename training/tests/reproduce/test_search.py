"""The search for a kind of gate and of penalty that beats LoRA at equal parameters."""

from collections.abc import Mapping
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
from dslora.reproduce.search import FRESH, confirmation, search

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


def save_all(results: Results, wrong: Mapping[int, int], wrong_test: Mapping[int, int]) -> None:
    """Two seeds of every candidate: the linear gate so often wrong in each seed, all others 50 and 51 times."""
    for cell in plan(SEARCH, TINY, range(2), results):
        linear = cell.method == "ds-lora" and cell.adapter["gate_hidden"] == 0
        save(results, cell, wrong[cell.seed] if linear else 50 + cell.seed, wrong_test[cell.seed] if linear else 10)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """The linear gate is the best over both seeds, though not in the first, and not on the test split."""
    results = Results(tmp_path)
    save_all(results, {0: 55, 1: 20}, {0: 90, 1: 90})
    return results


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
    cells = confirmation(SEARCH, TINY, 2, results)
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
    for cell in (*cells[:3], *confirmation(SEARCH, TINY, 2, results)[3:]):
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
    assert "| LoRA (reference) | 80.0 [" in page(results)
    assert "| LoRA, parameters of linear gate (reference) | 80.0 [" in page(results)


def test_nothing_is_chosen_while_a_candidate_lacks_a_seed(results: Results) -> None:
    assert confirmation(SEARCH, TINY, 3, results) == []
    results.path(plan(SEARCH, TINY, [1], results)[-1]).unlink()
    assert confirmation(SEARCH, TINY, 2, results) == []
    results.path(plan(SEARCH, TINY, [0], results)[-1]).unlink()
    assert search(SEARCH, TINY, BASE, DATA, results) == []


def test_a_candidate_that_cannot_be_run_does_not_stop_the_search(results: Results) -> None:
    for cell in plan(SEARCH, TINY, range(2), results):
        if cell.adapter.get("gate_pooling") == "token":
            results.save(cell, {"refused": "no tokens here"})
    assert {cell.adapter["gate_hidden"] for cell in confirmation(SEARCH, TINY, 2, results)} == {0}


def test_one_command_goes_from_candidates_to_fresh_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[set[int]] = []

    def drain(cells: list[Cell], folder: Path, results: Results, data_dir: str | None, workers: int) -> None:
        waves.append({cell.seed for cell in cells})
        for cell in cells:
            save(results, cell, 50)

    monkeypatch.setattr(reproduction, "drain_in_processes", drain)
    out = tmp_path / "out"
    reproduction.reproduce(
        [SEARCH], TINY, shown=[SEARCH], seeds=2, cells=tmp_path / "cells", out=out, data_dir=None, workers=1
    )
    assert waves == [{0, 1}, {FRESH, FRESH + 1}]
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
    while missing := [
        cell
        for cell in (*plan(experiment, preset, [0], results), *confirmation(experiment, preset, 1, results))
        if results.load(cell) is None
    ]:
        waves += 1
        for cell in missing:
            save(results, cell, 20)
    # Grid of candidates; candidates; the winner's fresh seed and, where it has one, the reference's grid; the rest.
    assert waves == (4 if name == "learning_rate" else 3)
    fresh = [cell for cell in confirmation(experiment, preset, 1, results) if not cell.tuning]
    assert [cell.method for cell in fresh] == ["lora-gate", "lora-equal"]
    assert fresh[0].adapter["rank"] == fresh[1].adapter["rank"]
    assert fresh[0].training["learning_rate"] == fresh[1].training["learning_rate"]
