"""Settings of a training run: one frozen value that is saved beside its results."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import torch

from dslora.errors import DsLoraError

# They say how and where it is computed, and decide nothing that is learnt: a run may go on with others.
FREE: Final = frozenset({"accumulation", "gradient_checkpointing", "checkpoint_every", "device"})
ClassWeighting = Literal["none", "balanced"]
Precision = Literal["fp32", "bf16"]
Schedule = Literal["linear", "cosine"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained.

    Attributes:
        epochs: At most this many passes over the training split.
        batch_size: Texts an optimizer step, over all processes and accumulation parts.
        accumulation: Parts that each process computes its share of a batch in, to save memory.
        learning_rate: Of all that is trained beside gates and head. Full fine-tuning wants about a twentieth (5e-5).
        gate_learning_rate: Of the gates.
        head_learning_rate: Of the linear head.
        weight_decay: Of the head. A and B have L1 in its place where a method is sparse.
        gate_weight_decay: Of the gates; off unless asked for.
        warmup: Share of all steps over which learning rates rise from zero.
        schedule: How they fall to zero after that.
        class_weighting: ``balanced`` weighs a class by the inverse of its frequency.
        label_smoothing: Share of the target spread over all classes.
        gate_spread: Weight of a term that rewards gates for differing between the texts of a batch:
            ``- gate_spread * mean over modules of std over texts``. 0 is the paper. Wants one process and
            accumulation 1.
        max_gradient_norm: Gradients are clipped to this L2 norm.
        patience: Evaluations without a better development macro-F1 before training stops.
        train_rows: Use only this many training rows (stratified, seeded); 0 uses all.
        precision: ``bf16`` runs the forward and backward pass under autocast; weights stay float32.
        base_precision: Of the frozen weights while training. ``bf16`` halves their memory; what is trained
            stays float32.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again: about a
            third more time, a fraction of the activations' memory.
        checkpoint_every: Optimizer steps between checkpoints.
        seed: Of everything: initial weights, order, dropout.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    epochs: int = 6
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    gate_learning_rate: float = 1e-3
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    gate_weight_decay: float = 0.0
    warmup: float = 0.06
    schedule: Schedule = "linear"
    class_weighting: ClassWeighting = "none"
    label_smoothing: float = 0.0
    gate_spread: float = 0.0
    max_gradient_norm: float = 1.0
    patience: int = 3
    train_rows: int = 0
    precision: Precision = "fp32"
    base_precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    checkpoint_every: int = 200
    seed: int = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        problems = []
        for name in ("epochs", "batch_size", "accumulation", "patience", "checkpoint_every"):
            if getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("learning_rate", "gate_learning_rate", "head_learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} is {getattr(self, name)}; expected a number above 0")
        for name in ("weight_decay", "gate_weight_decay", "gate_spread", "train_rows"):
            if getattr(self, name) < 0:
                problems.append(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; expected a number from 0 to below 1")
        if not 0 <= self.seed < 2**32:
            # What scikit-learn and NumPy take.
            problems.append(f"seed is {self.seed}; expected a number from 0 to 2^32 - 1")
        if self.accumulation >= 1 and self.batch_size % self.accumulation:
            problems.append(f"batch_size {self.batch_size} is not a multiple of accumulation {self.accumulation}")
        if problems:
            raise DsLoraError("Training settings: " + "; ".join(problems) + ".")

    def decisive(self) -> dict[str, Any]:
        """Those that tell one run from another."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}

    @property
    def base_dtype(self) -> str:
        """torch's name of ``base_precision``."""
        return "bfloat16" if self.base_precision == "bf16" else "float32"

    def check_device(self, device: torch.device) -> None:
        """Refuses what a device cannot compute.

        Raises:
            DsLoraError: It has no bfloat16.
        """
        wants_bf16 = "bf16" in (self.precision, self.base_precision)
        if wants_bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise DsLoraError("This GPU has no bfloat16. Leave --precision and --base-precision at fp32.")

    def remarks(self, device: torch.device) -> list[str]:
        """What who trains there should be told before it begins, a sentence or two each."""
        if self.precision == "bf16" and device.type == "cpu" and not _computes_bfloat16():
            return [
                "This processor has no instructions for bfloat16, so --precision bf16 takes many times as long as fp32 "
                "here (60 times for one matrix product, on an AMD EPYC with AVX2). Take --precision fp32."
            ]
        return []

    def part_size(self, processes: int) -> int:
        """Texts that one process computes at once.

        Raises:
            DsLoraError: A batch cannot be divided so.
        """
        parts = self.accumulation * processes
        if self.gate_spread and parts > 1:
            # A part holds texts of like length, whose gates differ less than those of the batch.
            raise DsLoraError(
                f"--gate-spread rewards the spread of gates over a whole batch, and {processes} processes with "
                f"--accumulation {self.accumulation} would compute it of parts. Train in one process with "
                "--accumulation 1 (--gradient-checkpointing saves memory too), or leave --gate-spread out."
            )
        size, rest = divmod(self.batch_size, parts)
        if rest:
            raise DsLoraError(
                f"Batch size {self.batch_size} cannot be divided among {processes} processes in parts of "
                f"{self.accumulation}. It is the size of the whole step: use a multiple of {parts}."
            )
        return size


def _computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; taken for granted where torch does not say."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("architecture") != "x86_64" or found.get("avx512_bf16") or found.get("amx_bf16"))


def fingerprint(*parts: Any) -> str:
    """A short digest of settings (dataclasses or strings), to tell a checkpoint of another configuration."""
    text = json.dumps(parts, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
