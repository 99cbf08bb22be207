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
from typing import Any

import pytest
import torch
from peft.tuners.adalora import AdaLoraLayer

from base_folder import make_base
from dslora.classifier import Classifier, build_classifier
from dslora.errors import DsLoraError
from dslora.methods import METHODS
from dslora.sparsity import L1Settings, measure_sparsity
from dslora.train import TrainSettings, train
from dslora.train.batches import Rows, length_grouped_batches
from dslora.train.loop import DivergenceError, Training
from dslora.train.optimizer import build_optimizer
from dslora.train.processes import Processes
from dslora.train.settings import ClassWeighting
from dslora.train.step import BatchGradients
from tiny_training import OFTEN_KEPT, SETTINGS, make_all, make_spec


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


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")
def test_a_kept_model_is_loaded_to_the_cpu_as_a_whole(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four-bit weights are packed on a GPU where there is one: taken for one here, the meta device."""
    classifier = build_classifier(make_spec(base, "lora"))
    classifier.save(tmp_path)
    moved: list[set[str]] = []

    def cpu(self: Classifier) -> Classifier:
        moved.append({parameter.device.type for parameter in self.parameters()})
        return self

    load_base = classifier.method.load_base
    monkeypatch.setattr(classifier.method, "load_base", lambda *arguments: load_base(*arguments).to("meta"))
    monkeypatch.setattr(Classifier, "cpu", cpu)
    Classifier.load(tmp_path)
    assert moved == [{"cpu", "meta"}]


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


def test_gates_have_a_decay_of_their_own(base: str) -> None:
    classifier = build_classifier(make_spec(base))
    settings = TrainSettings(weight_decay=0.1, gate_weight_decay=0.02)
    groups = {group["name"]: group for group in build_optimizer(classifier, settings).param_groups}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "adapter": 0,
        "gate": 0.02,
        "head": 0.1,
    }
    assert all(groups["gate"]["params"][i] is p for i, p in enumerate(gate_parameters(classifier)))


def gate_parameters(classifier: Classifier) -> list[torch.nn.Parameter]:
    return [p for name, p in classifier.named_parameters() if ".lora_gate." in name]


def test_spread_adds_the_gradient_of_its_formula(base: str) -> None:
    """``- gate_spread * mean over modules of std over texts``, whatever the cross-entropy says."""
    spec = replace(make_spec(base, "lora-gate", dropout=0.0), head_dropout=0.0)
    classifier, encoder, split, _ = make_all(spec)
    classifier.eval()
    rows = Rows(split, encoder.pad_id, torch.device("cpu"))
    batch = [0, 1, 2, 3, 4, 5, 6, 7]

    def gradients(spread: float) -> list[torch.Tensor]:
        settings = replace(SETTINGS, gate_spread=spread)
        classifier.zero_grad()
        BatchGradients(classifier, rows, settings, None, [], Processes("cpu"))(batch, 0)
        return [p.grad.clone() for p in gate_parameters(classifier) if p.grad is not None]

    ids, mask, _ = rows.batch(batch)
    _, gates = classifier(ids, mask)
    mean = gates.mean(dim=0)
    spread = ((gates - mean) ** 2).sum(dim=0).div(len(batch) - 1).sqrt().mean()
    expected = torch.autograd.grad(spread, gate_parameters(classifier))
    # B is zero at the start, so cross-entropy says nothing of gates.
    assert all(not gradient.any() for gradient in gradients(0.0))
    found = gradients(0.5)
    assert len(found) == len(expected) == 6 * 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, -0.5 * other, atol=1e-6, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in found) > 1e-4


def test_gates_that_are_rewarded_for_it_differ_more_between_texts(base: str, tmp_path: Path) -> None:
    def spread(reward: float) -> float:
        settings = replace(SETTINGS, epochs=2, gate_spread=reward)
        train(*make_all(make_spec(base, "lora-gate")), settings, tmp_path / str(reward), quiet=True)
        last = (tmp_path / str(reward) / "metrics.jsonl").read_text().splitlines()[-1]
        return float(json.loads(last)["gate_module_std"])

    assert spread(3.0) > 1.5 * spread(0.0)


def test_bfloat16_learns_what_float32_learns(base: str, tmp_path: Path) -> None:
    def lines(name: str, **options: Any) -> list[dict[str, float]]:
        settings = replace(SETTINGS, epochs=8, patience=8, **options)
        _, encoder, rows, development = make_all(make_spec(base))
        torch.manual_seed(0)
        classifier = build_classifier(make_spec(base), settings.base_dtype)
        result = train(classifier, encoder, rows, development, settings, tmp_path / name, quiet=True)
        trained = classifier.trained_state()
        frozen = {p.dtype for n, p in classifier.named_parameters() if n not in trained}
        assert frozen == {torch.bfloat16 if "base_precision" in options else torch.float32}
        # What is trained or measured, and what is kept of it, is float32 in any case.
        assert {value.dtype for value in trained.values()} == {torch.float32}
        assert {value.dtype for value in state_of(tmp_path / name).values()} == {torch.float32}
        # By chance it would be 0.5.
        assert result.macro_f1 > 0.75
        return [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]

    expected = lines("float32")
    for option in ("precision", "base_precision"):
        found = lines(option, **{option: "bf16"})
        # Eight bits of mantissa move single steps and not what is learnt. The losses are not the same numbers.
        assert [line["loss"] for line in found] != [line["loss"] for line in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=0.05)
        assert found[-1]["macro_f1"] == pytest.approx(expected[-1]["macro_f1"], abs=0.05)


@pytest.mark.parametrize("method", ["ds-lora", "houlsby"])
def test_what_is_computed_twice_for_memory_is_learnt_the_same(method: str, base: str, tmp_path: Path) -> None:
    states, passes = [], []
    for checkpointing in (False, True):
        classifier, encoder, rows, development = make_all(make_spec(base, method))
        count = 0

        def counted(*arguments: Any) -> None:
            nonlocal count
            count += torch.is_grad_enabled()

        layer = next(m for n, m in classifier.named_modules() if n.endswith("layer.0.intermediate.dense"))
        layer.register_forward_hook(counted)
        settings = replace(SETTINGS, epochs=2, gradient_checkpointing=checkpointing)
        folder = tmp_path / str(checkpointing)
        # Dropout drops the same in the second pass, since its random state comes back with it.
        train(classifier, encoder, rows, development, settings, folder, quiet=True)
        states.append(classifier.trained_state())
        passes.append(count)
    assert passes == [40, 80]
    for name, values in states[0].items():
        assert torch.equal(states[1][name], values), name


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in Classifier.load(folder / "best").trained_state().items()}


_PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from tiny_training import OFTEN_KEPT, make_all, make_spec
from dslora.train import train
classifier, encoder, rows, development = make_all(make_spec({base!r}))
train(classifier, encoder, rows, development, OFTEN_KEPT, Path({folder!r}), quiet=True)
"""


def test_a_killed_run_resumes_to_the_same_result(base: str, tmp_path: Path) -> None:
    spec = make_spec(base)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    classifier, encoder, rows, development = make_all(spec)
    expected = train(classifier, encoder, rows, development, OFTEN_KEPT, whole, quiet=True)

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
    resumed = train(classifier, encoder, rows, development, OFTEN_KEPT, killed, quiet=True)
    assert replace(resumed, seconds=0) == replace(expected, seconds=0)
    first, second = state_of(whole), state_of(killed)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=0)
    epochs = [json.loads(line)["epoch"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, expected.epochs + 1))


class Interrupted(BaseException):
    """Ends a training as a signal would: nothing of ours catches it."""


@pytest.mark.parametrize("method", ["adalora", "dora", "ds-dora", "ds-qlora", "full", "houlsby", "lora-equal"])
def test_every_method_goes_on_from_its_checkpoint(
    method: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(base, method)
    expected = train(*make_all(spec), OFTEN_KEPT, tmp_path / "whole", quiet=True)
    after = Training.step

    def step(self: Training, batch: list[int]) -> torch.Tensor:
        if self.progress.step == 35:
            raise Interrupted
        return after(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            train(*make_all(spec), OFTEN_KEPT, tmp_path / "killed", quiet=True)
    # As another person would who has less memory: nothing that is learnt depends on it.
    again = replace(OFTEN_KEPT, checkpoint_every=7, device="auto", gradient_checkpointing=method != "ds-qlora")
    resumed = train(*make_all(spec), again, tmp_path / "killed", quiet=True)
    assert replace(resumed, seconds=0) == replace(expected, seconds=0)
    first, second = state_of(tmp_path / "whole"), state_of(tmp_path / "killed")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=0)


def test_adaloras_scale_is_that_of_its_first_rank_from_beginning_to_end(base: str, tmp_path: Path) -> None:
    """What the adapter adds is P diag(E) Q x times alpha / initial rank, whatever rank a module has by then."""
    classifier, encoder, rows, development = make_all(make_spec(base, "adalora", alpha=12.0))

    def scales(model: Classifier) -> set[float]:
        return {
            round(float(layer.scaling["default"] / layer.ranknum["default"]), 4)
            for layer in model.modules()
            if isinstance(layer, AdaLoraLayer)
        }

    assert scales(classifier) == {2.0}
    train(classifier, encoder, rows, development, SETTINGS, tmp_path, quiet=True)
    assert scales(classifier) == scales(Classifier.load(tmp_path / "best")) == {2.0}


def test_adalora_needs_steps_with_its_final_ranks(base: str, tmp_path: Path) -> None:
    for share in (0.0, 0.004):
        with pytest.raises(DsLoraError, match="--budget-final"):
            train(*make_all(make_spec(base, "adalora", budget_final=share)), SETTINGS, tmp_path, quiet=True)
    assert not (tmp_path / "best").exists()


def test_adaloras_sensitivities_come_back_where_its_weights_are(base: str) -> None:
    classifier, *_ = make_all(make_spec(base, "adalora"))
    budget = classifier.method.phase(classifier.encoder, classifier.spec.adapter, 100)
    assert budget is not None
    names = [name for name, _ in classifier.encoder.base_model.model.named_parameters() if "lora_" in name]
    # In place of a GPU; a checkpoint is read into memory.
    classifier.encoder.to("meta")
    kept = {name: torch.zeros(1) for name in names}
    budget.load_state_dict({"ipt": kept, "exp_avg_ipt": kept, "exp_avg_unc": kept, "rank_pattern": {}})
    allocator = classifier.encoder.base_model.rankallocator
    assert {tensor.device.type for tensor in allocator.exp_avg_ipt.values()} == {"meta"}


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


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_kept(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = Training.step

    def step(self: Training, batch: list[int]) -> torch.Tensor:
        loss = after(self, batch)
        return loss if self.progress.step < 5 else loss * torch.nan

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(DivergenceError, match="The loss is nan by step 6 of 80"):
        train(*make_all(make_spec(base)), OFTEN_KEPT, tmp_path, quiet=True)
    # That of step 3: a run goes on from there once its rates are lower, or from the beginning.
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["progress"]["step"] == 3
    assert not (tmp_path / "best").exists()


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


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_a_processor_without_bfloat16_is_said_before_time_is_lost(
    found: dict[str, Any], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: found)
    cpu = torch.device("cpu")
    assert bool(replace(SETTINGS, precision="bf16").remarks(cpu)) == told
    assert not SETTINGS.remarks(cpu)
    assert not replace(SETTINGS, precision="bf16").remarks(torch.device("cuda"))


def test_an_unknown_target_module_lists_what_is_there(base: str) -> None:
    spec = make_spec(base)
    spec = replace(spec, adapter=replace(spec.adapter, target_modules=("q_proj",)))
    with pytest.raises(
        DsLoraError, match=r"'q_proj' is not in the base model. Its linear layers: dense, key, query, value"
    ):
        build_classifier(spec)
