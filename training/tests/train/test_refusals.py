"""What cannot be trained is refused before anything is loaded, and not an hour later."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base_folder import make_base
from dslora.classifier import Classifier, build_classifier
from dslora.errors import DsLoraError, MemoryShortError
from dslora.methods import Phase, find_method
from dslora.plan import check_fits
from dslora.run import train_run
from dslora.run_record import DataSettings
from dslora.sparsity import L1Settings
from dslora.train import TrainSettings, train
from dslora.train.launch import check_launch
from dslora.train.loop import _memory_errors
from dslora.train.processes import Processes
from tiny_training import SETTINGS, make_all, make_spec


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


class FirstOfTwo(Processes):
    """The first of two processes, as far as it is asked before they talk to each other."""

    def __init__(self, sharded: bool) -> None:
        super().__init__("cpu")
        self.count, self._sharded = 2, sharded

    @property
    def is_fsdp(self) -> bool:
        return self._sharded


BY_COMPONENT = L1Settings(unit="component")


@pytest.mark.parametrize(
    ("method", "adapter", "l1", "message"),
    [
        ("adalora", {}, None, "adalora needs whole weights between steps. Train it with DDP"),
        ("ds-lora", {}, BY_COMPONENT, "Train it with DDP, or with --l1-unit element"),
        ("lora-l1", {}, BY_COMPONENT, "Train it with DDP, or with --l1-unit element"),
        ("ds-lora", {"gate_shared": True}, L1Settings(), "Train it with DDP, or leave --gate-shared out"),
        ("lora-gate", {"gate_shared": True}, None, "Train it with DDP, or leave --gate-shared out"),
    ],
)
def test_what_is_needed_whole_is_not_divided(
    method: str,
    adapter: dict[str, Any],
    l1: L1Settings | None,
    message: str,
    base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = replace(make_spec(base, method, **adapter), l1=l1)
    with pytest.raises(DsLoraError, match=message):
        train(*make_all(spec), SETTINGS, tmp_path / "run", processes=FirstOfTwo(sharded=True))
    # As the command does it: neither data nor base are there to be loaded.
    monkeypatch.setattr("dslora.run.Processes", lambda device: FirstOfTwo(sharded=True))
    with pytest.raises(DsLoraError, match=message):
        train_run(tmp_path / "run", DataSettings("nowhere"), spec, SETTINGS)
    assert not (tmp_path / "run").exists()
    check_launch(spec, SETTINGS, FirstOfTwo(sharded=False))
    check_launch(spec, SETTINGS, Processes("cpu"))


@pytest.mark.parametrize(
    ("method", "adapter"),
    [
        ("ds-lora", {}),
        ("ds-dora", {}),
        ("lora-l1", {}),
        ("lora", {}),
        ("full", {}),
        ("lora-equal", {"gate_shared": True}),
    ],
)
def test_what_can_be_divided_is_not_refused(method: str, adapter: dict[str, Any], base: str) -> None:
    check_launch(make_spec(base, method, **adapter), SETTINGS, FirstOfTwo(sharded=True))


@pytest.mark.parametrize(("accumulation", "sharing"), [(2, False), (1, True)])
def test_the_spread_of_gates_is_of_whole_batches(
    accumulation: int, sharing: bool, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = FirstOfTwo(sharded=False) if sharing else Processes("cpu")
    spec = make_spec(base, "lora-gate")
    settings = replace(SETTINGS, gate_spread=0.3, accumulation=accumulation)
    with pytest.raises(DsLoraError, match="leave --gate-spread out"):
        train(*make_all(spec), settings, tmp_path / "run", processes=processes)
    monkeypatch.setattr("dslora.run.Processes", lambda device: processes)
    with pytest.raises(DsLoraError, match="leave --gate-spread out"):
        train_run(tmp_path / "run", DataSettings("nowhere"), spec, settings)
    assert not (tmp_path / "run").exists()
    check_launch(spec, replace(settings, gate_spread=0.0), processes)
    check_launch(spec, replace(settings, accumulation=1), Processes("cpu"))


def test_nobody_is_advised_to_do_what_is_refused(base: str) -> None:
    for spread in (0.0, 0.3):
        settings = TrainSettings(gate_spread=spread)
        with pytest.raises(DsLoraError, match="The least that these methods need"):
            check_fits(make_spec(base), settings, "cpu", 2**20)
        said = advised(build_classifier(make_spec(base)), settings, Processes("cpu"))
        assert ("--accumulation" in said) == (spread == 0)
        assert "--gradient-checkpointing" in said
        assert "--base-precision bf16" in said
    # Its own weights are float32, and a batch of 16 is divided among two processes already.
    said = advised(build_classifier(make_spec(base, "full")), TrainSettings(accumulation=8), FirstOfTwo(sharded=False))
    assert "--base-precision" not in said
    assert "--accumulation" not in said


def advised(classifier: Classifier, settings: TrainSettings, processes: Processes) -> str:
    with (
        pytest.raises(MemoryShortError, match="Memory ran out") as refused,
        _memory_errors(classifier, settings, processes),
    ):
        raise MemoryError
    return str(refused.value)


class NeverDone:
    """A phase that no training is long enough for."""

    def before_step(self, step: int) -> None:
        pass

    def add_gradients(self, step: int) -> None:
        pass

    def after_step(self, step: int, learning_rate: float) -> None:
        pass

    def settled(self, step: int) -> bool:
        return False

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_training_that_would_keep_nothing_is_not_begun(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def phase(*arguments: Any) -> Phase:
        return NeverDone()

    monkeypatch.setattr(type(find_method("lora")), "phase", phase)
    with pytest.raises(DsLoraError, match=r"after all 80 steps.*--l1-debias, --budget-final"):
        train(*make_all(make_spec(base, "lora")), SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_l1_that_never_acts_or_lets_nothing_be_learnt_is_not_begun(base: str, tmp_path: Path) -> None:
    """Warm-up 0 and debiasing 1: B is zero when shrinkage ends, and what is zero then stays zero."""
    for warmup, debias in ((0.0, 1.0), (0.5, 0.5)):
        spec = replace(make_spec(base), l1=L1Settings(warmup=warmup, debias=debias))
        with pytest.raises(DsLoraError, match="Lower --l1-warmup or --l1-debias"):
            train(*make_all(spec), SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()
