"""The training loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from dslora.classifier import Classifier
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError, MemoryShortError
from dslora.folder import whole_folder
from dslora.methods import Phase
from dslora.sharding import load_optimizer_state, whole_optimizer_state
from dslora.sparsity import L1Schedule, low_rank_parameters, sparsity_of
from dslora.train.batches import Rows, Split, length_grouped_batches
from dslora.train.checkpoint import Progress, load_checkpoint, random_state, save_checkpoint, set_random_state
from dslora.train.development import predict_development
from dslora.train.journal import Journal, SilentJournal
from dslora.train.launch import check_launch
from dslora.train.optimizer import build_optimizer, build_schedule
from dslora.train.processes import Processes, resolve_device
from dslora.train.settings import TrainSettings, fingerprint
from dslora.train.step import BatchGradients
from dslora.tuner.statistics import fit_gate_statistics

__all__ = ["BEST", "Split", "TrainingResult", "resolve_device", "train"]

BEST = "best"
# Texts that the gates' input statistics are measured on.
_STATISTICS_TEXTS = 512
# The bar is told of the loss this often: reading it makes a GPU wait.
_SHOW_EVERY = 20


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


class DivergenceError(DsLoraError):
    """The loss is no longer finite: not with these settings."""


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
    on_epoch: Callable[[Progress, float], None] = lambda progress, macro_f1: None,
    quiet: bool = False,
    processes: Processes | None = None,
) -> TrainingResult:
    """Trains to the best macro-F1 on the development split, resuming where a killed run stopped.

    With a proximal L1 the best epoch is looked for only after the shrinkage has ended: before that the
    adapter is not yet the sparse one that the run is about.

    Args:
        classifier: New, built with ``settings.seed``.
        encoder: Knows what to pad with.
        train_split: One window a text (a longer text is read up to the model's window while training).
        development: One window a text.
        settings: How.
        folder: Gets ``best/``, ``checkpoint.pt``, ``metrics.jsonl`` and ``tensorboard/``.
        data_key: Tells the data apart, so that a checkpoint is not resumed on other data.
        on_accepted: Called once it is clear that the folder holds no other run, before anything is written to it.
        on_epoch: Called after each epoch with where the run stands and its macro-F1; may raise to end the run.
        quiet: No progress bar.
        processes: Who shares the work; those of ``accelerate launch``, or this one alone, if not given.

    Raises:
        DsLoraError: :class:`Training` refuses it, the folder holds a run with other settings, the loss is no longer
            finite, or memory is short.
    """
    processes = processes or Processes(settings.device)
    training = Training(classifier, encoder, train_split, development, settings, folder, processes)
    with _memory_errors(classifier, settings, processes):
        training.start(data_key, on_accepted, quiet)
        training.run(on_epoch)
    return training.result()


class Training:
    """A training whose model is ready; nothing is written before :meth:`start`.

    Raises:
        DsLoraError: The device or the processes cannot train it, or it is too short to leave a model.
    """

    def __init__(
        self,
        classifier: Classifier,
        encoder: TextEncoder,
        train_split: Split,
        development: Split,
        settings: TrainSettings,
        folder: Path,
        processes: Processes,
    ) -> None:
        self.classifier, self.encoder, self.development = classifier, encoder, development
        self.settings, self.folder, self.processes = settings, folder, processes
        settings.check_device(processes.device)
        check_launch(classifier.spec, settings, processes)
        if settings.gradient_checkpointing:
            classifier.checkpoint_activations()
        self.total_steps = -(-len(train_split.windows) // settings.batch_size) * settings.epochs
        self.rows = Rows(train_split, encoder.pad_id, processes.device)
        self.model: nn.Module = processes.prepare(classifier)
        self.optimizer = build_optimizer(classifier, settings)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.schedule = build_schedule(self.optimizer, settings, self.total_steps)
        self.phases = _phases(classifier, self.total_steps)
        if not all(phase.settled(self.total_steps) for phase in self.phases):
            raise DsLoraError(
                f"The weights or ranks would not have settled after all {self.total_steps} steps, so there would be no "
                "model to keep. Train for more epochs, or raise the share for the last phase (--l1-debias, "
                "--budget-final)."
            )
        weights = _class_weights(train_split.labels, len(classifier.spec.labels), settings)
        self.gradients = BatchGradients(self.model, self.rows, settings, weights, self.phases, processes)

    def start(self, data_key: str, on_accepted: Callable[[], None], quiet: bool) -> None:
        """Resumes, or measures what has to be known before the first step."""
        settings, processes = self.settings, self.processes
        if processes.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.key = fingerprint(settings.decisive(), self.classifier.spec, data_key)
        # Another stream in each process, or all would drop the same elements of different texts.
        torch.manual_seed(settings.seed + processes.rank)
        resumed = processes.from_main_or_raise(lambda: load_checkpoint(self.folder, self.key))
        if processes.is_main:
            on_accepted()
        if resumed is None:
            self.prepare_start()
        else:
            self.progress, parts = resumed
            self.classifier.load_trained_state(parts["model"])
            load_optimizer_state(self.optimizer, parts["optimizer"])
            self.schedule.load_state_dict(parts["schedule"])
            for phase, state in zip(self.phases, parts["phases"], strict=True):
                phase.load_state_dict(state)
            if len(parts["random"]) == processes.count:
                set_random_state(parts["random"][processes.rank], processes.device)
            else:
                # Other processes than before: the steps are the same, what dropout drops is not.
                torch.manual_seed(settings.seed + processes.rank + 1_000 * self.progress.step)
        self.journal: Journal | SilentJournal = (
            Journal(self.folder, self.total_steps, self.progress.step, self.progress.epoch, quiet)
            if processes.is_main
            else SilentJournal()
        )

    def prepare_start(self) -> None:
        """What has to be known before the first step."""
        self.progress = Progress()
        fit_gate_statistics(self.model, self._statistics_batches())

    def run(self, on_epoch: Callable[[Progress, float], None]) -> None:
        settings, progress = self.settings, self.progress
        started = time.perf_counter() - progress.seconds
        try:
            while not progress.finished:
                batches = length_grouped_batches(self.rows.lengths, settings.batch_size, settings.seed, progress.epoch)
                self.model.train()
                own_sum = progress.loss_sum if self.processes.is_main else 0.0
                running = torch.tensor(own_sum, device=self.processes.device, dtype=torch.float64)
                for batch in batches[progress.batch :]:
                    running += self.step(batch)
                    if progress.step % _SHOW_EVERY == 0:
                        loss = float(self.processes.sum(running)) / progress.loss_count
                        self._check_finite(loss)
                        self.journal.advance(loss=loss)
                    else:
                        self.journal.advance()
                    if progress.step % settings.checkpoint_every == 0:
                        progress.loss_sum = float(self.processes.sum(running))
                        # Before it is kept: what goes on from there would never come back.
                        self._check_finite(progress.loss_sum)
                        progress.seconds = time.perf_counter() - started
                        self._checkpoint()
                progress.loss_sum = float(self.processes.sum(running))
                macro_f1 = self._end_epoch()
                progress.seconds = time.perf_counter() - started
                self._checkpoint()
                on_epoch(progress, macro_f1)
        finally:
            self.journal.close()

    def result(self) -> TrainingResult:
        progress = self.progress
        # All phases have settled by the last step, at which an epoch ends.
        assert progress.best is not None
        return TrainingResult(
            macro_f1=progress.best,
            epoch=progress.best_epoch,
            epochs=progress.epoch,
            seconds=progress.seconds,
            parameters=self.classifier.trainable_parameters(),
            zeros=progress.best_zeros,
        )

    def step(self, batch: list[int]) -> Tensor:
        """One optimizer step. Returns this process's share of the batch's cross-entropy."""
        progress = self.progress
        for phase in self.phases:
            phase.before_step(progress.step)
        learning_rate = self.optimizer.param_groups[0]["lr"]
        loss = self.gradients(batch, progress.step)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_gradient_norm)
        self.optimizer.step()
        for phase in self.phases:
            phase.after_step(progress.step, learning_rate)
        self.optimizer.zero_grad()
        self.schedule.step()
        progress.step += 1
        progress.batch += 1
        progress.loss_count += 1
        return loss

    def _end_epoch(self) -> float:
        """Measures the development split, keeps the model where it is the best, and returns its macro-F1."""
        progress, settings = self.progress, self.settings
        loss = progress.loss_sum / max(1, progress.loss_count)
        self._check_finite(loss)
        logits, gates = predict_development(self.model, self.encoder, self.development.windows, self.processes)
        labels = np.asarray(self.development.labels)
        macro_f1 = float(f1_score(labels, logits.argmax(axis=1), average="macro", zero_division=0))
        state = self.classifier.trained_state()
        zeros, modules = sparsity_of(state)
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
        self.journal.record("epoch", progress.step, {**values, "modules": [asdict(module) for module in modules]})
        self.journal.show(macro_f1=macro_f1, zeros=zeros, loss=loss)
        counts = all(phase.settled(progress.step) for phase in self.phases)
        if counts and (progress.best is None or macro_f1 > progress.best):
            progress.best, progress.best_epoch, progress.stale = macro_f1, progress.epoch, 0
            progress.best_zeros = zeros
            if self.processes.is_main:
                with whole_folder(self.folder / BEST, replace=True) as best:
                    self.classifier.save(best, state)
            self.processes.wait()
        elif counts:
            progress.stale += 1
        progress.finished = progress.epoch >= settings.epochs or progress.stale >= settings.patience
        return macro_f1

    def _check_finite(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise DivergenceError(
                f"The loss is {loss} by step {self.progress.step} of {self.total_steps}. Lower the learning rates."
            )

    def _checkpoint(self) -> None:
        parts = {
            "model": self.classifier.trained_state(),
            "optimizer": whole_optimizer_state(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "phases": [phase.state_dict() for phase in self.phases],
            "random": self.processes.gather(random_state(self.processes.device)),
        }
        if self.processes.is_main:
            save_checkpoint(self.folder, self.key, self.progress, parts)
        self.processes.wait()

    def _statistics_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = length_grouped_batches(self.rows.lengths, 32, self.settings.seed, -1)
        for batch in batches[: _STATISTICS_TEXTS // 32]:
            ids, mask, _ = self.rows.batch(batch)
            yield ids, mask


def _phases(classifier: Classifier, total_steps: int) -> list[Phase]:
    """What happens between optimizer steps: the method's own, and L1 where it is sparse."""
    method, spec = classifier.method, classifier.spec
    own = method.phase(classifier.encoder, spec.adapter, total_steps)
    phases = [own] if own is not None else []
    if spec.l1 is not None and method.sparse:
        phases.append(L1Schedule(spec.l1, low_rank_parameters(classifier), total_steps))
    return phases


def _class_weights(labels: Any, classes: int, settings: TrainSettings) -> Tensor | None:
    if settings.class_weighting == "none":
        return None
    counts = np.bincount(np.asarray(labels), minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


@contextmanager
def _memory_errors(classifier: Classifier, settings: TrainSettings, processes: Processes) -> Iterator[None]:
    """Says which settings lower the need for memory, where there was not enough."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        short = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not short:
            raise
        advice = _less_memory(classifier, settings, processes)
        raise MemoryShortError(f"Memory ran out while training. {advice}") from error


def _less_memory(classifier: Classifier, settings: TrainSettings, processes: Processes) -> str:
    """Which settings need less."""
    same, other = [], ["a smaller --max-tokens"]
    with suppress(DsLoraError):
        finer = replace(settings, accumulation=2 * settings.accumulation)
        finer.part_size(processes.count)
        same.append(f"--accumulation {finer.accumulation}")
    if classifier.can_checkpoint_activations and not settings.gradient_checkpointing:
        same.append("--gradient-checkpointing")
    if classifier.method.adds_weights and settings.base_precision == "fp32":
        other.insert(0, "--base-precision bf16")
    if settings.precision == "fp32":
        other.insert(0, "--precision bf16")
    goes_on = f"With {' or '.join(same)}, which take the same steps, the same command goes on. " if same else ""
    return (
        f"{goes_on}{', '.join(other)} lower the need too, but begin another run: with another --out. dslora plan says "
        "how much each saves."
    )
