"""Table 7: what is measured once, what is left out with a reason, and how it stands beside the paper."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_folder import make_base
from dslora.bench import BARE, BenchSettings
from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.methods import METHODS
from dslora.reproduce.cost import cost, cost_file, measure_cost, measure_latency
from dslora.reproduce.experiments import EXPERIMENTS
from dslora.reproduce.presets import PRESETS
from dslora.reproduce.reproduction import reproduce
from dslora.reproduce.study import Study

TINY = PRESETS["tiny"]


def test_cost_is_measured_once_and_shown_beside_the_paper(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = make_base(tmp_path_factory.mktemp("base"))
    preset = replace(TINY, bases=(base,), max_tokens=24)
    latency = measure_latency(base, 24, answers=4, methods=("dora", "ds-lora"))
    assert set(latency) == {"lora", "dora", "ds-lora", "lora, merged"}
    assert latency["lora"]["ratio"] == 1
    path = cost_file(tmp_path, preset, base)
    row = {"ratio": 1.031, "low": 0.99, "high": 1.07}
    method = {"parameters": 1234, "rowsPerSecond": 25.31, "time": row, "memory": 1.012, "peakBytes": 1300 * 2**20}
    settings = {"base": "x", "rows": 640, "batch_size": 16, "precision": "bf16", "gradient_checkpointing": True}
    loop = {"ratio": 0.957, "low": 0.94, "high": 0.97}
    bare = {"parameters": 1234, "rowsPerSecond": 26.0, "time": loop}
    found = {
        "settings": settings,
        "device": "CPU",
        "methods": {BARE: bare, "lora": method, "ds-lora": method},
        "latency": latency,
        "loopOverBare": loop,
        "refusedMethods": {"qlora": "It does not run here."},
    }
    write_json(path, found)
    before = path.read_bytes()
    # What is there is not measured again.
    measure_cost(tmp_path, preset)
    assert path.read_bytes() == before
    page = "\n".join(cost(tmp_path, preset, {base: {"DS-LoRA": 0.7701, "n-grams": 0.682}}))
    figures = "1,234 | 25.3 | +3.1 % [−1.0 %, +7.0 %] | 1,300 MiB | +1.2 % |"
    assert f"| DS-LoRA | +12.4 %, +2.2 %, +9.4 % | 77.0 | {figures}" in page
    assert "| LoRA | — | — | 1,234 | 25.3 | — | 1,300 MiB | — | — |" in page
    assert "| n-grams | — | 68.2 | — | — | — | — | — | — |" in page
    over = "Rows a second of the training loop over those of a bare PyTorch loop, both with LoRA: "
    assert f"- {over}−4.3 % [−6.0 %, −3.0 %]." in page
    assert "- QLoRA: not measured: It does not run here." in page
    assert "bf16, gradient checkpointing, CPU" in page


def test_cost_leaves_out_what_does_not_run_or_fit(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path_factory.mktemp("base"))
    preset = replace(TINY, bases=(base,), max_tokens=24)

    def missing() -> None:
        raise DsLoraError("bitsandbytes is missing.")

    monkeypatch.setattr("dslora.methods.quantized.check_four_bit", missing)
    asked: list[BenchSettings] = []

    def measured(settings: BenchSettings) -> dict[str, Any]:
        asked.append(settings)
        return {"methods": {}}

    monkeypatch.setattr("dslora.reproduce.cost.run_bench", measured)
    monkeypatch.setattr("dslora.reproduce.cost.measure_latency", lambda *arguments: {})
    measure_cost(tmp_path, preset)
    found = json.loads(cost_file(tmp_path, preset, base).read_text())
    assert found["refusedMethods"] == dict.fromkeys(("qlora", "ds-qlora"), "bitsandbytes is missing.")
    assert set(asked[0].methods) == {name for name, method in METHODS.items() if method.trains} - {"qlora", "ds-qlora"}


def test_cost_that_cannot_be_measured_is_said_and_tried_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, table7 = make_base(tmp_path_factory.mktemp("base")), EXPERIMENTS["table7"]
    preset = replace(TINY, bases=(base,), max_tokens=24)

    def page() -> str:
        places: dict[str, Any] = {"cells": tmp_path / "cells", "out": tmp_path / "out", "data_dir": None}
        reproduce([table7], preset, study=Study("tiny", base=base, names=("table7",)), seeds=1, **places)
        return (tmp_path / "out" / "README.md").read_text()

    with monkeypatch.context() as patch:
        patch.setattr("dslora.bench.device_memory", lambda device: 1000)
        patch.setattr("dslora.reproduce.cost.run_bench", lambda settings: pytest.fail("was begun"))
        assert f"- {base}: not measured: {BARE} of {base} takes turns with lora, so both are in memory at once: " in (
            page()
        )
    # The estimate let it through, the machine did not; then it does.
    tries = 0

    def measured(settings: BenchSettings) -> dict[str, Any]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise torch.OutOfMemoryError
        shown = {"base": base, "rows": 640, "batch_size": 16, "precision": "fp32", "gradient_checkpointing": False}
        even = {"ratio": 1.0, "low": 1.0, "high": 1.0}
        lora = {"parameters": 1, "rowsPerSecond": 1.0, "time": even}
        return {"settings": shown, "device": "CPU", "methods": {"lora": lora}, "loopOverBare": even}

    monkeypatch.setattr("dslora.reproduce.cost.run_bench", measured)
    monkeypatch.setattr("dslora.reproduce.cost.measure_latency", lambda *arguments: {})
    assert f"- {base}: not measured: Memory ran out while it was measured." in page()
    for _ in range(2):
        text = page()
        assert "not measured" not in text
        assert f"{base}, 640 texts of random ids" in text
    assert tries == 2
