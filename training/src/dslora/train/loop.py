"""The training loop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.folder import whole_folder
from dslora.inference import predict_windows
from dslora.methods import Phase
from dslora.sparsity import L1Schedule, low_rank_parameters, measure_sparsity
from dslora.train.batches import length_grouped_batches
from dslora.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from dslora.train.journal import Journal
from dslora.train.optimizer import build_optimizer, build_schedule
from dslora.train.settings import TrainSettings, fingerprint
from dslora.tuner.statistics import fit_gate_statistics

BEST = "best"
# Texts that the gates' input statistics are measured on.
_STATISTICS_TEXTS = 512
# The bar is told of the loss this often: reading it makes a GPU wait.
_SHOW_EVERY = 20


@dataclass(frozen=True)
class Split:
    """Token ids and class indices of one split; windows are what the model reads."""

    windows: Sequence[Sequence[int]]
    labels: Sequence[int]


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run has to say; the trained model lies in the run's folder ``best``.

    Attributes:
        macro_f1: On the development split, of the best epoch.
        epoch: The best epoch, from 1.
        epochs: How many were run.
        seconds: Training time, evaluation included, over all resumed parts.
        parameters: Trainable parameters.
        zeros: Share of exact zeros in A and B of the best model.
    """

    macro_f1: float
    epoch: int
    epochs: int
    seconds: float
    parameters: int
    zeros: float


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        DsLoraError: CUDA was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise DsLoraError("Device cuda was asked for, but torch finds no CUDA device. Use --device cpu or auto.")
    return torch.device(name)


def train(
    classifier: Classifier,
    encoder: TextEncoder,
    train_split: Split,
    development: Split,
    settings: TrainSettings,
    folder: Path,
    *,
    data_key: str = "",
    on_accepted: Callable[[], None] = lambda: None,
    quiet: bool = False,
) -> TrainingResult:
    """Trains to the best macro-F1 on the development split, resuming where a killed run stopped.

    With a proximal L1 the best epoch is looked for only after the shrinkage has ended: before that the
    adapter is not yet the sparse one that the run is about.

    Args:
        classifier: New, built with ``settings.seed``.
        encoder: Pads batches.
        train_split: One window a text (a longer text is read up to the model's window while training).
        development: One window a text.
        settings: How.
        folder: Gets ``best/``, ``checkpoint.pt``, ``metrics.jsonl`` and ``tensorboard/``.
        data_key: Tells the data apart, so that a checkpoint is not resumed on other data.
        on_accepted: Called once it is clear that the folder holds no other run, before anything is written to it.
        quiet: No progress bar.

    Raises:
        DsLoraError: The folder holds a run with other settings, or the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = resolve_device(settings.device)
    classifier.to(device)
    if settings.gradient_checkpointing:
        classifier.method.base_of(classifier.encoder).activation_checkpointing_enable()
    key = fingerprint(settings, classifier.spec, data_key)
    per_epoch = -(-len(train_split.windows) // settings.batch_size)
    total_steps = per_epoch * settings.epochs

    optimizer = build_optimizer(classifier, settings)
    schedule = build_schedule(optimizer, settings, total_steps)
    phases = _phases(classifier, total_steps)
    lengths = [len(window) for window in train_split.windows]
    weights = _class_weights(train_split.labels, len(classifier.spec.labels), settings, device)

    torch.manual_seed(settings.seed)
    resumed = load_checkpoint(folder, key)
    on_accepted()
    if resumed is None:
        progress = Progress()
        fit_gate_statistics(classifier.encoder, _statistics_batches(train_split, encoder, settings, device))
    else:
        progress, parts = resumed
        classifier.load_trained_state(parts["model"])
        optimizer.load_state_dict(parts["optimizer"])
        schedule.load_state_dict(parts["schedule"])
        for phase, state in zip(phases, parts["phases"], strict=True):
            phase.load_state_dict(state)
    journal = Journal(folder, total_steps, progress.step, progress.epoch, quiet)

    def checkpoint() -> None:
        parts = {
            "model": classifier.trained_state(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "phases": [phase.state_dict() for phase in phases],
        }
        save_checkpoint(folder, key, progress, parts)

    try:
        started = time.perf_counter() - progress.seconds
        while not progress.finished:
            batches = length_grouped_batches(lengths, settings.batch_size, settings.seed, progress.epoch)
            classifier.train()
            running = torch.tensor(progress.loss_sum, device=device, dtype=torch.float64)
            for batch in batches[progress.batch :]:
                for phase in phases:
                    phase.before_step(progress.step)
                learning_rate = optimizer.param_groups[0]["lr"]
                running += _step(
                    classifier, encoder, train_split, batch, settings, weights, phases, progress.step, device
                )
                torch.nn.utils.clip_grad_norm_(
                    [p for group in optimizer.param_groups for p in group["params"]],
                    settings.max_gradient_norm,
                )
                optimizer.step()
                for phase in phases:
                    phase.after_step(progress.step, learning_rate)
                optimizer.zero_grad()
                schedule.step()
                progress.step += 1
                progress.batch += 1
                progress.loss_count += 1
                if progress.step % _SHOW_EVERY == 0:
                    journal.advance(loss=float(running) / progress.loss_count)
                else:
                    journal.advance()
                if progress.step % settings.checkpoint_every == 0:
                    progress.loss_sum = float(running)
                    progress.seconds = time.perf_counter() - started
                    checkpoint()
            progress.loss_sum = float(running)
            _end_epoch(classifier, encoder, development, settings, phases, progress, journal, folder)
            progress.seconds = time.perf_counter() - started
            checkpoint()
    finally:
        journal.close()

    if progress.best is None:
        raise DsLoraError(
            "No epoch ended after the weights or ranks had settled, so there is no model to keep. "
            "Train for more epochs, or raise the share for the last phase (--l1-debias, --budget-final)."
        )
    best = Classifier.load(folder / BEST)
    return TrainingResult(
        macro_f1=progress.best,
        epoch=progress.best_epoch,
        epochs=progress.epoch,
        seconds=progress.seconds,
        parameters=classifier.trainable_parameters(),
        zeros=measure_sparsity(best)[0],
    )


def _phases(classifier: Classifier, total_steps: int) -> list[Phase]:
    """What happens between optimizer steps: the method's own, and L1 where it is sparse."""
    method, spec = classifier.method, classifier.spec
    own = method.phase(classifier.encoder, spec.adapter, total_steps)
    phases = [own] if own is not None else []
    if spec.l1 is not None and method.sparse:
        phases.append(L1Schedule(spec.l1, low_rank_parameters(classifier), total_steps))
    return phases


def _step(
    classifier: Classifier,
    encoder: TextEncoder,
    split: Split,
    batch: list[int],
    settings: TrainSettings,
    weights: Tensor | None,
    phases: list[Phase],
    step: int,
    device: torch.device,
) -> Tensor:
    """Gradients of one batch. Returns its cross-entropy, without penalties."""
    part_size = settings.batch_size // settings.accumulation
    targets = torch.tensor([split.labels[i] for i in batch], device=device)
    # Of the whole batch, so that parts add up to what the batch would give at once.
    weight = float(len(batch)) if weights is None else weights[targets].sum()
    total = torch.zeros((), device=device, dtype=torch.float64)
    for start in range(0, len(batch), part_size):
        part = batch[start : start + part_size]
        ids, mask = encoder.pad([split.windows[i] for i in part])
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits, gates = classifier(torch.tensor(ids, device=device), torch.tensor(mask, device=device))
        summed = functional.cross_entropy(
            logits,
            targets[start : start + part_size],
            weight=weights,
            label_smoothing=settings.label_smoothing,
            reduction="sum",
        )
        cross_entropy = summed / weight
        loss = cross_entropy
        if settings.gate_spread and gates.shape[1] and len(part) > 1:
            loss = loss - settings.gate_spread * gates.std(dim=0).mean() * (len(part) / len(batch))
        loss.backward()
        total += cross_entropy.detach()
    for phase in phases:
        penalty = phase.loss_term(step)
        if penalty is not None:
            penalty.backward()
    return total


def _end_epoch(
    classifier: Classifier,
    encoder: TextEncoder,
    development: Split,
    settings: TrainSettings,
    phases: list[Phase],
    progress: Progress,
    journal: Journal,
    folder: Path,
) -> None:
    loss = progress.loss_sum / max(1, progress.loss_count)
    if not np.isfinite(loss):
        raise DsLoraError(f"The loss is {loss} in epoch {progress.epoch + 1}. Lower the learning rates.")
    logits, gates = predict_windows(classifier, encoder, development.windows)
    labels = np.asarray(development.labels)
    macro_f1 = float(f1_score(labels, logits.argmax(axis=1), average="macro", zero_division=0))
    zeros, modules = measure_sparsity(classifier)
    progress.epoch += 1
    progress.batch = 0
    progress.loss_sum, progress.loss_count = 0.0, 0
    values = {"epoch": progress.epoch, "loss": loss, "macro_f1": macro_f1, "zeros": zeros}
    if gates.shape[1]:
        mean_gate = gates.mean(axis=1)
        values |= {
            "gate_mean": float(mean_gate.mean()),
            "gate_std": float(mean_gate.std()),
            "gate_module_std": float(gates.std(axis=0).mean()),
        }
    journal.record("epoch", progress.step, {**values, "modules": [asdict(module) for module in modules]})
    journal.show(macro_f1=macro_f1, zeros=zeros, loss=loss)
    counts = all(phase.settled(progress.step) for phase in phases)
    if counts and (progress.best is None or macro_f1 > progress.best):
        progress.best, progress.best_epoch, progress.stale = macro_f1, progress.epoch, 0
        with whole_folder(folder / BEST, replace=True) as best:
            classifier.save(best)
    elif counts:
        progress.stale += 1
    progress.finished = progress.epoch >= settings.epochs or progress.stale >= settings.patience


def _class_weights(labels: Sequence[int], classes: int, settings: TrainSettings, device: torch.device) -> Tensor | None:
    if settings.class_weighting == "none":
        return None
    counts = np.bincount(np.asarray(labels), minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32, device=device)


def _statistics_batches(
    split: Split, encoder: TextEncoder, settings: TrainSettings, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    lengths = [len(window) for window in split.windows]
    batches = length_grouped_batches(lengths, 32, settings.seed, -1)[: _STATISTICS_TEXTS // 32]
    padded = [encoder.pad([split.windows[i] for i in batch]) for batch in batches]
    return [(torch.tensor(ids, device=device), torch.tensor(mask, device=device)) for ids, mask in padded]
