"""What a measurement of cost says: figures that follow from times, texts that the base can read, memory that fits."""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig

from base_folder import make_base
from dslora import bench
from dslora.bench import BARE, BenchSettings
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.turns import ratio, take_turns


class _InThisProcess:
    """As ``ProcessPoolExecutor``, without another import of torch for each method."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __enter__(self) -> "_InThisProcess":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


def arguments(base: str, out: Path) -> list[str]:
    size = ["--rows", "8", "--batch-size", "2", "--max-tokens", "24"]
    return ["bench", "--base", base, "--methods", "ds-lora", *size, "--device", "cpu", "--out", str(out)]


def test_peak_memory_is_that_of_the_method_not_of_the_process_that_asks(base: str) -> None:
    # More than a process with torch in it and a tiny model has.
    size = 3 * 2**30
    ballast = np.ones(size, dtype=np.uint8)
    peaks = bench.measure_memory(BenchSettings(base, (), rows=8, batch_size=2, max_tokens=24, device="cpu"))
    assert ballast[-1] == 1
    assert list(peaks) == ["lora"]
    assert 100 * 2**20 < peaks["lora"] < size


def test_the_command_says_what_methods_cost_beside_lora(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not os.environ.get("DSLORA_TEST_FULL"):
        monkeypatch.setattr(bench, "ProcessPoolExecutor", _InThisProcess)
    out = tmp_path / "bench.json"
    assert main(arguments(base, out)) == 0
    result = json.loads(out.read_text())
    methods = result["methods"]
    assert set(methods) == {BARE, "lora", "ds-lora"}
    assert result["steps"] == 4
    # Twenty steps of two texts.
    assert [re.findall(r"\d+", remark) for remark in result["remarks"]] == [["4", "40", "20", "2"]]
    # Nothing is beside the reference but itself.
    assert methods["lora"]["time"] == {"ratio": 1.0, "low": 1.0, "high": 1.0, "ratioOfSums": 1.0}
    assert methods["lora"]["memory"] == 1.0
    for row in methods.values():
        assert row["time"]["low"] <= row["time"]["ratio"] <= row["time"]["high"]
        assert row["rowsPerSecond"] == pytest.approx(8 / row["seconds"], rel=0.2)
        sums = row["seconds"] / methods["lora"]["seconds"]
        assert row["time"]["ratioOfSums"] == pytest.approx(sums, rel=0.2)
    # The loop's rows a second over the bare loop's are the bare loop's time over the loop's.
    assert result["loopOverBare"] == methods[BARE]["time"]
    assert "peakBytes" not in methods[BARE]
    # A process with torch in it.
    assert all(methods[name]["peakBytes"] > 100 * 2**20 for name in ("lora", "ds-lora"))
    page = capsys.readouterr().out
    assert page.endswith(f"\n\n{result['remarks'][0]}\n")
    for name, row in methods.items():
        assert f"| {name} | {row['parameters']:,} | {row['rowsPerSecond']:.1f} | {row['time']['ratio']:.3f} " in page
    assert f"Training loop over bare loop, rows/s: {result['loopOverBare']['ratio']:.3f} " in page


def test_intervals_of_few_steps_are_remarked_on() -> None:
    assert "Take --rows 320 or more" in bench.remarks(19, 16)[0]
    assert bench.remarks(20, 16) == []


def test_fewer_than_four_batches_are_refused(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [{"8": "7"}.get(each, each) for each in arguments(base, tmp_path / "bench.json")]
    assert main(few) == 1
    assert "expected at least four batches of 2" in capsys.readouterr().err


def test_models_that_do_not_fit_beside_each_other_take_turns_with_lora_alone(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BenchSettings(base, ("ds-lora", "full"), rows=8, batch_size=2, max_tokens=24, device="cpu")
    one, largest = settings.plans["lora"].memory, settings.plans["full"].memory
    # The two largest beside each other, and a step of one of them: too little for four.
    weights = sum(memory.base + memory.trained + memory.state for memory in (one, largest))
    step = max(memory.activations + memory.transient for memory in (one, largest))
    monkeypatch.setattr(bench, "device_memory", lambda device: weights + step + one.process)
    groups, refused = settings.groups
    assert (groups, refused) == ([("lora", BARE), ("lora", "ds-lora"), ("lora", "full")], {})
    monkeypatch.setattr(bench, "ProcessPoolExecutor", _InThisProcess)
    result = bench.run_bench(settings)
    assert result["turns"] == [list(names) for names in groups]
    assert list(result["methods"]) == [BARE, "lora", "ds-lora", "full"]
    # LoRA's is of the first turns; each ratio is of its own.
    assert result["methods"]["lora"]["time"]["ratio"] == 1.0
    for name, row in result["methods"].items():
        assert row["seconds"] > 0, name
        assert row["parameters"] == settings.plans[name].counts.trainable


def test_a_method_that_does_not_fit_beside_lora_is_refused(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "device_memory", lambda device: 1000)
    monkeypatch.setattr(bench, "measure_time", lambda *arguments: pytest.fail("was begun"))
    assert main(arguments(base, tmp_path / "bench.json")) == 1
    said = capsys.readouterr().err
    assert f"ds-lora of {base} takes turns with lora, so both are in memory at once: about " in said
    assert "there are 0.0 MiB (cpu)" in said
    assert "--base-precision bf16" in said


def test_a_method_that_does_not_run_here_is_refused(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise DsLoraError("bitsandbytes is missing.")

    monkeypatch.setattr("dslora.methods.quantized.check_four_bit", missing)
    monkeypatch.setattr(bench, "measure_time", lambda *arguments: pytest.fail("was begun"))
    qlora = [{"ds-lora": "qlora"}.get(each, each) for each in arguments(base, tmp_path / "bench.json")]
    assert main(qlora) == 1
    assert "bitsandbytes is missing." in capsys.readouterr().err


def test_texts_have_ids_of_the_base_alone(base: str, tmp_path: Path) -> None:
    ids = [i for window in BenchSettings(base, ("lora",), 40).split.windows for i in window]
    # Of 50 embeddings.
    assert max(ids) < 50
    assert min(ids) == 25
    assert len(set(ids)) == 25
    BertConfig(vocab_size=30_522).save_pretrained(tmp_path)
    settings = BenchSettings(str(tmp_path), ("lora",), 40, seed=3)
    generator = np.random.default_rng(3)
    lengths = np.exp(generator.normal(np.log(33.0), 0.6, 40)).round().astype(int).clip(5, 128)
    assert settings.split.windows == [generator.integers(1_000, 20_000, length).tolist() for length in lengths]


def test_one_disturbed_step_moves_the_sums_alone() -> None:
    reference = [1.0] * 9
    assert ratio([2.0] * 9, reference, 0) == {"ratio": 2.0, "low": 2.0, "high": 2.0, "ratioOfSums": 2.0}
    disturbed = ratio([2.0] * 8 + [200.0], reference, 0)
    assert disturbed["ratio"] == 2.0
    assert disturbed["ratioOfSums"] == pytest.approx(24, abs=0.01)
    # A long step counts as much as its time: the median over batches alone would be 3.
    assert ratio([10.0, 3.0, 3.0], [10.0, 1.0, 1.0], 0)["ratio"] == 1.0


def test_everybody_begins_a_round_equally_often() -> None:
    order: list[tuple[str, int]] = []

    def timed(name: str, number: int) -> float:
        order.append((name, number))
        return 10.0 * number + "abc".index(name)

    seconds = take_turns("abc", 7, 1, timed)
    assert [name for name, _ in order[::3]] == ["a", "b", "c", "a", "b", "c", "a"]
    assert all(sorted(name for name, number in order if number == each) == ["a", "b", "c"] for each in range(7))
    # The round that warms up is left out, and step i is of the same round for all.
    assert seconds["b"] == [10.0 * number + 1 for number in range(1, 7)]
