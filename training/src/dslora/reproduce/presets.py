"""How much a reproduction costs, and with what settings. Grids are ours: the paper's are not known to us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from dslora.errors import DsLoraError


@dataclass(frozen=True)
class Preset:
    """One size of the reproduction.

    Attributes:
        name: What users type.
        summary: One line for the report.
        bases: As for ``dslora train --base``; each gets a part of its own in every table.
        training: Settings of training.
        rank: Of every low-rank method; alpha is ``alpha_ratio`` times as much.
        alpha_ratio: alpha / rank.
        l1: The penalty.
        grid: Values to choose from on the development split with seed 0, by dotted name; empty: settings are fixed.
        ranks: Of figure 2.
        strengths: λ of figure 3; 0 is the method without L1.
        component_strengths: λ of figure 3 where the penalty takes whole rank components.
        seeds: As many unless asked for otherwise.
        transfer_rows: Test rows of each other data set; 0 takes all.
        max_tokens: Longest window.
        needs_gpu: Refused without one.
    """

    name: str
    summary: str
    bases: tuple[str, ...]
    training: Mapping[str, Any]
    rank: int
    l1: Mapping[str, Any]
    alpha_ratio: float = 2.0
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ranks: tuple[int, ...] = (2, 4, 8, 16, 32)
    strengths: tuple[float, ...] = (0.0, 0.1, 0.15, 0.2, 0.3, 0.5)
    component_strengths: tuple[float, ...] = (0.1, 0.2, 0.3)
    seeds: int = 5
    transfer_rows: int = 0
    max_tokens: int = 128
    needs_gpu: bool = False

    def check_device(self) -> None:
        """Refuses a machine that cannot do it, before anything is loaded.

        Raises:
            DsLoraError: A GPU is needed and there is none.
        """
        if self.needs_gpu and not torch.cuda.is_available():
            smaller = ", ".join(preset.name for preset in PRESETS.values() if not preset.needs_gpu)
            raise DsLoraError(
                f"Preset {self.name} trains {' and '.join(self.bases)}, which needs a CUDA device, "
                "and torch finds none. Use a machine with one (80 GB of memory; full fine-tuning takes about 120 GB, "
                f"and its row says so where there is less), or a smaller preset: {smaller}."
            )


# Factor on the learning rate: all weights of a base must move less far than an adapter's.
RATE_OF_METHOD: Final[Mapping[str, float]] = {"full": 0.05}

_COMMON: Final[Mapping[str, Any]] = {
    "batch_size": 16,
    "warmup": 0.06,
    "weight_decay": 0.01,
    "schedule": "linear",
    "class_weighting": "none",
    "max_gradient_norm": 1.0,
    "precision": "bf16",
    "patience": 3,
}
_L1: Final[Mapping[str, Any]] = {"kind": "proximal", "strength": 0.15, "warmup": 0.25, "debias": 0.35}
_ONE_RATE: Final = ("learning_rate", "gate_learning_rate", "head_learning_rate")

PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset
    for preset in (
        Preset(
            name="paper",
            summary="Llama-3 8B Instruct and Gemma 7B Instruct, all training rows, at most 10 epochs, early stopping; "
            "learning rate, rank and λ chosen on the development split from grids of ours.",
            bases=(
                "meta-llama/Meta-Llama-3-8B-Instruct",
                "google/gemma-7b-it",
            ),
            training={
                **_COMMON,
                "epochs": 10,
                "accumulation": 2,
                "gradient_checkpointing": True,
                **dict.fromkeys(_ONE_RATE, 2e-4),
            },
            rank=16,
            l1=_L1,
            grid={
                "training.learning_rate": (1e-4, 2e-4, 5e-4),
                "adapter.rank": (8, 16),
                "l1.strength": (0.15, 0.3, 0.5),
            },
            needs_gpu=True,
        ),
        Preset(
            name="small",
            summary="SmolLM2-135M-Instruct, all training rows, at most 5 epochs, early stopping; learning rate and λ "
            "chosen on the development split from grids of ours. Hours on a GPU, weeks on a CPU.",
            bases=("HuggingFaceTB/SmolLM2-135M-Instruct",),
            training={**_COMMON, "epochs": 5, **dict.fromkeys(_ONE_RATE, 5e-4)},
            rank=8,
            l1=_L1,
            grid={"training.learning_rate": (2e-4, 5e-4, 1e-3), "l1.strength": (0.15, 0.3)},
        ),
        Preset(
            name="tiny",
            summary="all-MiniLM-L6-v2 (22.6 M parameters, an English sentence encoder), 4,000 training rows, at most 4 "
            "epochs, every setting fixed beforehand: chosen for DS-LoRA with seed 0 on OLID's development split "
            "(docs/models.md), and the same for other methods and data sets, which may do better with their own. A "
            "smoke run by nature: the paper's base models are 300 times larger.",
            bases=("all-MiniLM-L6-v2",),
            training={**_COMMON, "epochs": 4, "train_rows": 4000, **dict.fromkeys(_ONE_RATE, 1e-3)},
            rank=8,
            l1=_L1,
            transfer_rows=1000,
        ),
    )
}


def find_preset(name: str) -> Preset:
    """The table's row of a name.

    Raises:
        DsLoraError: There is no such preset.
    """
    if name not in PRESETS:
        raise DsLoraError(f"Preset {name!r} is not known. Expected one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
