"""What a method costs beside LoRA: time of the same steps, taken in turns, and peak memory, one process a method.

Machines change their speed from one second to the next, so methods take turns batch by batch and only ratios of
neighbours are compared. Texts are random ids of a post's lengths: what a token means costs no time.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from dslora.bases import load_config, load_tokenizer, resolve_base
from dslora.classifier import ClassifierSpec, build_classifier, default_pooling
from dslora.encoding import text_encoder
from dslora.errors import DsLoraError
from dslora.methods import find_method
from dslora.plan import make_plan
from dslora.plan.fit import device_memory, size
from dslora.sparsity import L1Settings
from dslora.train.batches import Rows, Split, length_grouped_batches
from dslora.train.loop import Training
from dslora.train.processes import Processes, resolve_device
from dslora.train.settings import TrainSettings

BARE = "bare PyTorch loop"
_REFERENCE = "lora"
# Batches before the first that counts: memory is being taken and kernels are being chosen.
_WARM_UP = 2
_RESAMPLES = 2_000
# Ids of tokens: above the special ones of a usual vocabulary, and below the end of it.
_FIRST_ID, _LAST_ID = 1_000, 20_000
# Tokens of a post: OLID has 40 on average, half below 33, a tenth above 70.
_MEDIAN_TOKENS, _LOG_SPREAD = 33.0, 0.6


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        base: As for training.
        methods: In the order in which they take turns; LoRA is what the others are compared with.
        rows: Texts an epoch.
        batch_size: Texts a step.
        max_tokens: Longest text.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: Of texts, weights and resampling.
    """

    base: str
    methods: tuple[str, ...]
    rows: int
    batch_size: int = 16
    max_tokens: int = 128
    device: str = "auto"
    seed: int = 0

    @property
    def all_methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((_REFERENCE, *self.methods)))

    def training(self, rows: int) -> TrainSettings:
        return TrainSettings(
            epochs=1,
            batch_size=self.batch_size,
            seed=self.seed,
            train_rows=rows,
            device=self.device,  # type: ignore[arg-type]
        )

    @cached_property
    def split(self) -> Split:
        generator = np.random.default_rng(self.seed)
        drawn = np.exp(generator.normal(np.log(_MEDIAN_TOKENS), _LOG_SPREAD, self.rows))
        lengths = np.clip(drawn.round().astype(int), 5, self.max_tokens)
        end = min(_LAST_ID, int(load_config(resolve_base(self.base)).get_text_config().vocab_size))
        first = min(_FIRST_ID, end // 2)
        windows = [generator.integers(first, end, length).tolist() for length in lengths]
        return Split(windows, generator.integers(0, 2, self.rows).tolist())


def _spec(settings: BenchSettings, method: str) -> ClassifierSpec:
    row = find_method(method)
    return ClassifierSpec(
        base=settings.base,
        method=method,
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=(),
        max_tokens=settings.max_tokens,
        pooling=default_pooling(settings.base),
        adapter=row.settings(),
        l1=L1Settings() if row.sparse else None,
    )


def _training(settings: BenchSettings, method: str, split: Split) -> Training:
    spec = _spec(settings, method)
    torch.manual_seed(settings.seed)
    classifier = build_classifier(spec)
    encoder = text_encoder(load_tokenizer(resolve_base(spec.base)), (), spec.max_tokens, spec.max_tokens // 4)
    processes = Processes(settings.device)
    # Nothing is written: a training that is not started has no folder.
    training = Training(
        classifier, encoder, split, split, settings.training(len(split.labels)), Path("unwritten"), processes
    )
    training.prepare_start()
    training.model.train()
    return training


def _bare_step(settings: BenchSettings) -> Callable[[list[int]], None]:
    """The shortest loop that trains LoRA: forward, loss, backward, clip, step, over batches padded beforehand."""
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    classifier = build_classifier(_spec(settings, _REFERENCE)).to(device).train()
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokenizer = load_tokenizer(resolve_base(settings.base))
    rows = Rows(settings.split, int(tokenizer.pad_token_id), device)
    ready: dict[tuple[int, ...], Any] = {tuple(batch): rows.batch(batch) for batch in _batches(settings)}

    def step(batch: list[int]) -> None:
        ids, mask, targets = ready[tuple(batch)]
        logits, _ = classifier(ids, mask)
        functional.cross_entropy(logits, targets).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _batches(settings: BenchSettings) -> list[list[int]]:
    lengths = [len(window) for window in settings.split.windows]
    return length_grouped_batches(lengths, settings.batch_size, settings.seed, 0)


def check_memory(specs: Iterable[ClassifierSpec], settings: TrainSettings, device: str) -> None:
    """Refuses models that are timed in turns, so all of them are loaded at once, before any of them is.

    Args:
        specs: Of every model, one that is there twice named twice.
        settings: How they are trained, one at a time.
        device: ``cpu`` or ``cuda``.

    Raises:
        DsLoraError: They do not fit into the device's memory together, by the estimate of ``dslora plan``.
    """
    plans = [make_plan(spec, settings, device) for spec in specs]
    weights = sum(plan.memory.base + plan.memory.trained + plan.memory.state for plan in plans)
    step = max(plan.memory.activations + plan.memory.transient for plan in plans)
    needed, there = weights + step + plans[0].memory.process, device_memory(device)
    if needed > there:
        raise DsLoraError(
            f"{len(plans)} models of {plans[0].spec.base} take turns, so all are in memory at once: about "
            f"{size(needed)}, and there are {size(there)} ({device}). Compare fewer --methods at a time, or lower "
            "--batch-size or --max-tokens."
        )


def measure_time(settings: BenchSettings, note: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of each step, by method and for the bare loop; step i is of the same batch for all."""
    device = resolve_device(settings.device)
    steps: dict[str, Callable[[list[int]], object]] = {BARE: _bare_step(settings)}
    for method in settings.all_methods:
        steps[method] = _training(settings, method, settings.split).step
    batches = _batches(settings)
    rounds = batches[-_WARM_UP:] + batches

    def timed(name: str, number: int) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        steps[name](rounds[number])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def finished(number: int) -> None:
        if number % 10 == 9:
            note(f"{number + 1} of {len(rounds)} batches")

    return take_turns(list(steps), len(rounds), _WARM_UP, timed, finished)


def take_turns(
    names: Sequence[str],
    rounds: int,
    warm_up: int,
    timed: Callable[[str, int], float],
    finished: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Seconds of each name in each round.

    Everybody starts a round equally often: who comes after a long batch of another finds a warmer cache.

    Args:
        names: Who is timed.
        rounds: How often, the warm-up among them.
        warm_up: Rounds at the beginning that do not count.
        timed: Runs one of them in the round of that number, and says how long it took.
        finished: Told the number of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            taken = timed(name, number)
            if number >= warm_up:
                seconds[name].append(taken)
        finished(number)
    return seconds


def peak_memory(settings: BenchSettings, method: str) -> int:
    """Bytes at the peak of a few steps of the longest batches. To be called in a process of its own."""
    lengths = [len(window) for window in settings.split.windows]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    training = _training(settings, method, settings.split)
    device = training.processes.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    longest = order[: settings.batch_size]
    for _ in range(3):
        training.step(longest)
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return peak_resident()


def peak_resident() -> int:
    """Bytes of memory that this process had at its peak."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: on Linux a new process inherits that of its parent, which has every method's model in memory.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_memory(settings: BenchSettings) -> dict[str, int]:
    """Peak bytes by method."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for method in settings.all_methods:
        # A new process each: what the allocator has once taken it keeps.
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks[method] = pool.submit(peak_memory, settings, method).result()
    return peaks


def ratio(seconds: list[float], reference: list[float], seed: int) -> dict[str, float]:
    """Time over the reference's, with a 95 % interval by bootstrap over batches.

    The median over batches of the ratio of neighbours, weighed by the batch's own time: one disturbed step moves a
    sum, not this.
    """
    own, other = np.asarray(seconds), np.asarray(reference)
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(own), (_RESAMPLES, len(own)))
    resampled = [_weighted_median(own[rows] / other[rows], other[rows]) for rows in chosen]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "ratio": round(_weighted_median(own / other, other), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "ratioOfSums": round(float(own.sum() / other.sum()), 4),
    }


def _weighted_median(values: Any, weights: Any) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] / 2)])


def run_bench(settings: BenchSettings, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything, as JSON: seconds, rows a second, bytes, and ratios to LoRA with intervals.

    Raises:
        DsLoraError: The models do not fit into memory beside each other.
    """
    # The bare loop trains LoRA too, a model of its own.
    specs = [_spec(settings, method) for method in (_REFERENCE, *settings.all_methods)]
    check_memory(specs, settings.training(settings.rows), resolve_device(settings.device).type)
    seconds = measure_time(settings, note)
    note("memory, one process a method")
    peaks = measure_memory(settings)
    rows = settings.rows
    device = resolve_device(settings.device)
    reference = seconds[_REFERENCE]
    return {
        "settings": asdict(settings),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "steps": len(reference),
        "methods": {
            name: {
                "seconds": round(sum(values), 3),
                "rowsPerSecond": round(rows / sum(values), 2),
                "time": ratio(values, reference, settings.seed),
                **(
                    {"peakBytes": peaks[name], "memory": round(peaks[name] / peaks[_REFERENCE], 4)}
                    if name in peaks
                    else {}
                ),
            }
            for name, values in seconds.items()
        },
        # Rows a second of the training loop with LoRA, over the bare loop's.
        "loopOverBare": ratio(seconds[BARE], reference, settings.seed),
    }


def table(result: dict[str, Any]) -> str:
    """The result as a table in Markdown."""
    settings = result["settings"]
    lines = [
        f"{settings['base']}, {settings['rows']} texts, {result['device']}, {result['steps']} steps",
        "",
        "| | rows/s | time / LoRA (95 %) | peak memory | / LoRA |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["methods"].items():
        timing = row["time"]
        memory = f"{row['peakBytes'] / 2**20:.0f} MB | {row['memory']:.3f}" if "peakBytes" in row else "– | –"
        lines.append(
            f"| {name} | {row['rowsPerSecond']:.1f} | {timing['ratio']:.3f} ({timing['low']:.3f}–{timing['high']:.3f}) "
            f"| {memory} |"
        )
    bare = result["loopOverBare"]
    lines += ["", f"Training loop over bare loop, rows/s: {bare['ratio']:.3f} ({bare['low']:.3f}–{bare['high']:.3f})"]
    return "\n".join(lines)
