"""What zeros buy: measured on real runs, shown as measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from base_folder import make_base
from dslora.export.ranks import prune
from dslora.reproduce.experiments import EXPERIMENTS
from dslora.reproduce.gain import gain, gain_file, measure_gain
from dslora.reproduce.plan import make_cell, plan
from dslora.reproduce.presets import PRESETS, Preset
from dslora.reproduce.report import PAGE, write_report
from dslora.reproduce.results import Results
from dslora.reproduce.work import drain
from dslora.run import load_run
from reproduction_data import write_splits

FIGURE = EXPERIMENTS["figure3"]
COMPONENTS = "λ = 0.9, whole components"


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Preset:
    folder = tmp_path_factory.mktemp("toy")
    rates = dict.fromkeys(("learning_rate", "gate_learning_rate", "head_learning_rate"), 1e-2)
    return replace(
        PRESETS["tiny"],
        name="toy",
        bases=(make_base(folder / "base"),),
        training={"epochs": 3, "batch_size": 8, "device": "cpu", **rates},
        rank=2,
        l1={"warmup": 0.1, "debias": 0.1},
        strengths=(0.0, 0.1),
        component_strengths=(0.9,),
        max_tokens=24,
    )


def test_graphs_along_lambda_are_measured_beside_merged_lora(preset: Preset, tmp_path: Path) -> None:
    experiment = replace(FIGURE, data=(write_splits(tmp_path / "data"),))
    out, cells = tmp_path / "out", tmp_path / "cells"
    results = Results(out / "cells")
    measure_gain(out, preset, experiment, results, cells, rounds=2)
    assert not out.exists()
    drain(plan(experiment, preset, [0], results), cells, results, None, lambda line: None)
    measure_gain(out, preset, experiment, results, cells, rounds=2)
    (base,) = preset.bases
    file = gain_file(out, preset, base)
    found = json.loads(file.read_text())

    assert list(found["models"]) == ["LoRA", "λ = 0", "λ = 0.1", COMPONENTS]
    assert found["models"]["LoRA"]["bytesMore"] == 0
    for shape in ("1x32", "8x64"):
        assert found["models"]["LoRA"]["time"][shape]["ratio"] == 1
        assert all(model["time"][shape]["low"] > 0 for model in found["models"].values())
    for variant in experiment.rows(preset)[1:]:
        run = load_run(cells / make_cell(preset, base, experiment.data[0], variant, 0).name)
        left = [each.rank for each in prune(run.classifier).ranks]
        model = found["models"][variant.label]
        assert model["rank"] == {"left": sum(left), "of": 2 * len(left)}
        assert model["modules"] == {"left": sum(rank > 0 for rank in left), "of": len(left)}
    # A penalty of nearly everything leaves less of the graph than none.
    sparse, dense = found["models"][COMPONENTS], found["models"]["λ = 0"]
    assert sparse["rank"]["left"] < dense["rank"]["left"]
    assert 0 <= sparse["bytesMore"] < dense["bytesMore"]

    write_report(out, results, [preset], [experiment])
    page = (out / PAGE).read_text()
    assert f"| {COMPONENTS} | " in page
    assert "![What zeros buy](toy-figure3-gain.svg)" in page
    assert (out / "toy-figure3-gain.svg").is_file()

    # What was measured is kept, and a run that is elsewhere is no reason to measure less than all.
    measure_gain(out, preset, experiment, results, tmp_path / "elsewhere", rounds=2)
    assert json.loads(file.read_text()) == found
    file.unlink()
    measure_gain(out, preset, experiment, results, tmp_path / "elsewhere", rounds=2)
    assert not file.exists()


def test_the_sentence_follows_from_the_intervals() -> None:
    def model(ratio: float) -> dict[str, object]:
        time = {"8x64": {"ratio": ratio, "low": ratio - 0.01, "high": ratio + 0.01}}
        rank = {"left": 1, "of": 2}
        return {"zeros": 0.5, "rank": rank, "modules": rank, "bytesMore": 2048, "nodes": 9, "time": time}

    variants = FIGURE.rows(PRESETS["tiny"])
    models = {"LoRA": model(1), "λ = 0": model(1.1), "λ = 0.1": model(1.085), "λ = 0.5": model(1.02)}
    found = {"precision": "fp32", "seed": 0, "shapes": ["8x64"], "models": models}
    lines = gain(found, variants)
    assert "| λ = 0.5 | 50.0% | 1 of 2 | 1 of 2 | 2 | 9 | +2.0 % [+1.0 %, +3.0 %] |" in lines
    assert lines[-2] == (
        "- At 8x64 these take less time than λ = 0 (+10.0 % [+9.0 %, +11.0 %]): λ = 0.5 (+2.0 % [+1.0 %, +3.0 %])."
    )
    del models["λ = 0.5"]
    assert "At 8x64 no model with zeros takes less time than λ = 0" in gain(found, variants)[-2]
