"""The search for a kind of gate and of penalty that beats LoRA at equal parameters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dslora.reproduce.cell import Cell
from dslora.reproduce.experiments import EXPERIMENTS
from dslora.reproduce.plan import plan
from dslora.reproduce.presets import PRESETS
from dslora.reproduce.results import Results, pack
from dslora.reproduce.search import FRESH, confirmation, search

SEARCH, TINY = EXPERIMENTS["search"], PRESETS["tiny"]
BASE, DATA = TINY.bases[0], SEARCH.data[0]


def save(results: Results, cell: Cell, wrong_development: int, wrong_test: int = 0) -> None:
    """A result with so many wrong answers of 200."""

    def split(wrong: int) -> dict[str, Any]:
        truth = np.arange(200) % 2
        predicted = np.where(np.arange(200) < wrong, 1 - truth, truth)
        return {"n": 200, "predicted": pack(predicted), "truth": pack(truth), "leftOut": []}

    results.save(
        cell,
        {
            "labels": ["NOT", "OFF"],
            # What a grid is chosen by; here the higher rate.
            "development": {**split(wrong_development), "macroF1": cell.training["learning_rate"]},
            "test": split(wrong_test),
            "zeros": 0.1,
            "parameters": 1000 + wrong_development,
        },
    )


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two seeds of every candidate: the first is the worst, the linear gate the best, though not on the test split."""
    results = Results(tmp_path)
    cells = plan(SEARCH, TINY, range(2), results)
    linear = next(number for number, variant in enumerate(SEARCH.rows(TINY)) if variant.adapter == {"gate_hidden": 0})
    for number, cell in enumerate(cells):
        place = number % (len(cells) // 2)
        save(results, cell, 20 if place == linear else 60 - place, 90 if place == linear else 10)
    return results


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
    page = "\n".join(search(SEARCH, TINY, BASE, DATA, results))
    assert "Not tried with fresh seeds yet" in page
    assert page.index("| linear gate |") < page.index("| DS-LoRA |") < page.index("| LoRA + gate |")

    for cell in cells:
        save(results, cell, 30, 20 if cell.method == "lora-equal" else 60)
    page = "\n".join(search(SEARCH, TINY, BASE, DATA, results))
    assert "Best on the development split: linear gate" in page
    assert "no difference from LoRA, parameters of linear gate seen" in page
    assert "linear gate is 20.0 points below LoRA, parameters of linear gate" in page


def test_nothing_is_chosen_while_a_candidate_lacks_a_seed(results: Results) -> None:
    assert confirmation(SEARCH, TINY, 3, results) == []
    results.path(plan(SEARCH, TINY, [1], results)[-1]).unlink()
    assert confirmation(SEARCH, TINY, 2, results) == []
    results.path(plan(SEARCH, TINY, [0], results)[-1]).unlink()
    assert search(SEARCH, TINY, BASE, DATA, results) == []


def test_a_grid_settles_the_reference_too(tmp_path: Path) -> None:
    preset = replace(TINY, grid={"training.learning_rate": (1e-3, 2e-3)})
    experiment = replace(SEARCH, rows=lambda preset: SEARCH.rows(preset)[:2])
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
            stored = results.load(cell)
            assert stored is not None
            results.save(
                cell, {**stored, "development": {**stored["development"], "macroF1": cell.training["learning_rate"]}}
            )
    # Rates of candidates; candidates; rates of the reference beside the winner's fresh seed; the reference's.
    assert waves == 4
    fresh = [cell for cell in confirmation(experiment, preset, 1, results) if not cell.tuning]
    assert {(cell.method, cell.training["learning_rate"]) for cell in fresh} == {
        ("lora-gate", 2e-3),
        ("lora-equal", 2e-3),
    }
