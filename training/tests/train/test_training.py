"""Training: what is learnt, what is written, and that a killed run ends as an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from base_folder import make_base
from dslora.classifier import Classifier, build_classifier
from dslora.errors import DsLoraError
from dslora.methods import METHODS
from dslora.sparsity import L1Settings, measure_sparsity
from dslora.train import TrainSettings, train
from dslora.train.batches import length_grouped_batches
from dslora.train.optimizer import build_optimizer
from dslora.train.settings import ClassWeighting
from tiny_training import SETTINGS, make_all, make_spec


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("method", sorted(name for name, method in METHODS.items() if method.trains))
def test_every_method_learns_and_leaves_the_base_alone(method: str, base: str, tmp_path: Path) -> None:
    spec = make_spec(base, method)
    classifier, encoder, rows, development = make_all(spec)
    frozen = {n: p.clone() for n, p in classifier.named_parameters() if not p.requires_grad}
    result = train(classifier, encoder, rows, development, replace(SETTINGS, epochs=8), tmp_path, quiet=True)
    # By chance it would be 0.5.
    assert result.macro_f1 > 0.75
    for name, parameter in classifier.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
    best = Classifier.load(tmp_path / "best")
    assert (measure_sparsity(best)[0] > 0) == METHODS[method].sparse
    assert bool(best.gate_columns()) == METHODS[method].gated
    assert len(best.gate_columns()) == (6 if METHODS[method].gated else 0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert {"loss", "macro_f1", "zeros", "modules"} <= lines[0].keys()
    assert list((tmp_path / "tensorboard").iterdir())


def test_parameter_counts_follow_the_closed_form(base: str) -> None:
    head = 16 * 2 + 2
    low_rank = 6 * 4 * (16 + 16)
    gate = 6 * (16 * 16 + 16 + 16 + 1)
    assert build_classifier(make_spec(base, "lora")).trainable_parameters() == head + low_rank
    assert build_classifier(make_spec(base, "ds-lora")).trainable_parameters() == head + low_rank + gate
    linear = build_classifier(make_spec(base, "lora-gate", gate_hidden=0))
    assert linear.trainable_parameters() == head + low_rank + 6 * (16 + 1)


def test_optimizer_groups_hold_what_they_should(base: str) -> None:
    classifier = build_classifier(make_spec(base))
    settings = TrainSettings(learning_rate=1e-3, gate_learning_rate=2e-3, head_learning_rate=3e-3, weight_decay=0.1)
    groups = {group["name"]: group for group in build_optimizer(classifier, settings).param_groups}
    names = {id(p): n for n, p in classifier.named_parameters()}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "adapter": 1e-3,
        "gate": 2e-3,
        "head": 3e-3,
    }
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "adapter": 0,
        "gate": 0,
        "head": 0.1,
    }
    assert all("lora_gate" in names[id(p)] for p in groups["gate"]["params"])
    assert all("lora_A" in names[id(p)] or "lora_B" in names[id(p)] for p in groups["adapter"]["params"])
    assert sum(len(group["params"]) for group in groups.values()) == len(
        [p for p in classifier.parameters() if p.requires_grad]
    )


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in Classifier.load(folder / "best").trained_state().items()}


_PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from tiny_training import SETTINGS, make_all, make_spec
from dslora.train import train
classifier, encoder, rows, development = make_all(make_spec({base!r}))
train(classifier, encoder, rows, development, SETTINGS, Path({folder!r}), quiet=True)
"""


def test_a_killed_run_resumes_to_the_same_result(base: str, tmp_path: Path) -> None:
    spec = make_spec(base)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    classifier, encoder, rows, development = make_all(spec)
    expected = train(classifier, encoder, rows, development, SETTINGS, whole, quiet=True)

    tests = Path(__file__).parent
    paths: Sequence[str] = [str(tests), str(tests.parent), str(tests.parents[1] / "src")]
    program = _PROGRAM.format(paths=paths, base=base, folder=str(killed))
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    # Killed in the middle of an epoch: the first checkpoint falls after step 3 of 20.
    while not (killed / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()

    classifier, encoder, rows, development = make_all(spec)
    resumed = train(classifier, encoder, rows, development, SETTINGS, killed, quiet=True)
    assert replace(resumed, seconds=0) == replace(expected, seconds=0)
    first, second = state_of(whole), state_of(killed)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=0)
    epochs = [json.loads(line)["epoch"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, expected.epochs + 1))


def test_every_epoch_counts_unless_something_is_being_shrunk(base: str, tmp_path: Path) -> None:
    for name, l1 in {
        "loss": L1Settings(kind="loss", strength=1e-5),
        "none": L1Settings(strength=0.0),
        "proximal": L1Settings(strength=0.3, warmup=0.0, debias=0.25),
    }.items():
        spec = replace(make_spec(base), l1=l1)
        still = replace(SETTINGS, learning_rate=1e-9, head_learning_rate=1e-9)
        result = train(*make_all(spec), still, tmp_path / name, quiet=True)
        # Nothing is learnt, so the first epoch that counts is the best.
        # Shrinkage ends with the third of four epochs.
        assert result.epoch == (3 if name == "proximal" else 1), name


def test_a_checkpoint_of_other_settings_is_refused(base: str, tmp_path: Path) -> None:
    spec = make_spec(base)
    train(*make_all(spec), SETTINGS, tmp_path, quiet=True)
    with pytest.raises(DsLoraError, match="other settings or other data"):
        train(*make_all(spec), replace(SETTINGS, seed=1), tmp_path, quiet=True)


@pytest.mark.parametrize("weighting", ["none", "balanced"])
def test_accumulation_gives_the_gradients_of_the_whole_batch(
    weighting: ClassWeighting, base: str, tmp_path: Path
) -> None:
    spec = replace(make_spec(base, "lora", dropout=0.0), head_dropout=0.0)
    states = []
    for accumulation in (1, 4):
        classifier, encoder, rows, development = make_all(spec)
        for module in classifier.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        folder = tmp_path / str(accumulation)
        settings = replace(SETTINGS, epochs=1, accumulation=accumulation, class_weighting=weighting)
        train(classifier, encoder, rows, development, settings, folder, quiet=True)
        states.append(state_of(folder))
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], atol=1e-4, rtol=0)


def test_batches_hold_every_text_once_and_group_lengths() -> None:
    lengths = [(i * 37) % 100 + 1 for i in range(1003)]
    batches = length_grouped_batches(lengths, 16, seed=3, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert batches == length_grouped_batches(lengths, 16, seed=3, epoch=0)
    assert batches != length_grouped_batches(lengths, 16, seed=3, epoch=1)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded <= 1.05 * sum(lengths)


def test_settings_report_every_problem_at_once() -> None:
    with pytest.raises(DsLoraError) as caught:
        TrainSettings(epochs=0, learning_rate=-1, warmup=2)
    for name in ("epochs is 0", "learning_rate is -1", "warmup is 2"):
        assert name in str(caught.value)


def test_an_unknown_target_module_lists_what_is_there(base: str) -> None:
    spec = make_spec(base)
    spec = replace(spec, adapter=replace(spec.adapter, target_modules=("q_proj",)))
    with pytest.raises(
        DsLoraError, match=r"'q_proj' is not in the base model. Its linear layers: dense, key, query, value"
    ):
        build_classifier(spec)
