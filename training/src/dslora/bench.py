"""What a method costs beside LoRA: time of the same steps, taken in turns, and peak memory, one process a method.

Methods take turns batch by batch, all of them where they fit into memory beside each other, else each with LoRA alone.
Texts are random ids of a post's lengths: what a token means costs no time.
"""

import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
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
from dslora.plan import Plan, make_plan
from dslora.plan.fit import device_memory
from dslora.sparsity import L1Settings
from dslora.train.batches import Rows, Split, length_grouped_batches
from dslora.train.loop import Training
from dslora.train.processes import Processes, resolve_device
from dslora.train.settings import Precision, TrainSettings
from dslora.turns import groups, ratio, take_turns
from dslora.workers import quieten_libraries

BARE = "bare PyTorch loop"
_REFERENCE = "lora"
# Batches before the first that counts: memory is being taken and kernels are being chosen.
_WARM_UP = 2
# An end of an interval is the ratio of one of the steps, and is a disturbed step's where such are half of a resample
# more often than one time in 40. If a quarter of all steps is disturbed, that is so of 16 steps (2.7 %, binomial),
# and of 20 no more (1.4 %).
_FEW_STEPS = 20
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
        precision, base_precision, gradient_checkpointing: As for training.
    """

    base: str
    methods: tuple[str, ...]
    rows: int
    batch_size: int = 16
    max_tokens: int = 128
    device: str = "auto"
    seed: int = 0
    precision: Precision = "fp32"
    base_precision: Precision = "fp32"
    gradient_checkpointing: bool = False

    @property
    def all_methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((_REFERENCE, *self.methods)))

    @cached_property
    def training(self) -> TrainSettings:
        return TrainSettings(
            epochs=1,
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.device,  # type: ignore[arg-type]
            precision=self.precision,
            base_precision=self.base_precision,
            gradient_checkpointing=self.gradient_checkpointing,
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

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """What each needs; the bare loop trains LoRA too, a model of its own."""
        device = resolve_device(self.device).type
        plans = {name: make_plan(_spec(self, name), self.training, device) for name in self.all_methods}
        return {BARE: plans[_REFERENCE], **plans}

    @cached_property
    def groups(self) -> tuple[list[tuple[str, ...]], dict[str, str]]:
        """Who takes turns with whom, and who cannot and why: :func:`dslora.turns.groups`."""
        return groups(self.plans, _REFERENCE, device_memory(resolve_device(self.device).type))


def bench_spec(base: str, method: str, max_tokens: int) -> ClassifierSpec:
    """A classifier of two made-up classes with the method's defaults: what it answers does not matter."""
    row = find_method(method)
    return ClassifierSpec(
        base=base,
        method=method,
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=(),
        max_tokens=max_tokens,
        pooling=default_pooling(base),
        adapter=row.settings(),
        l1=L1Settings() if row.sparse else None,
    )


def _spec(settings: BenchSettings, method: str) -> ClassifierSpec:
    return bench_spec(settings.base, method, settings.max_tokens)


def _training(settings: BenchSettings, method: str, split: Split) -> Training:
    spec = _spec(settings, method)
    torch.manual_seed(settings.seed)
    classifier = build_classifier(spec, settings.training.base_dtype)
    encoder = text_encoder(load_tokenizer(resolve_base(spec.base)), (), spec.max_tokens, spec.max_tokens // 4)
    processes = Processes(settings.device)
    # Nothing is written: a training that is not started has no folder.
    training = Training(classifier, encoder, split, split, settings.training, Path("unwritten"), processes)
    training.prepare_start()
    training.model.train()
    return training


def _bare_step(settings: BenchSettings) -> Callable[[list[int]], None]:
    """The shortest loop that trains LoRA: forward, loss, backward, clip, step, over batches padded beforehand."""
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    classifier = build_classifier(_spec(settings, _REFERENCE), settings.training.base_dtype).to(device).train()
    if settings.gradient_checkpointing:
        classifier.checkpoint_activations()
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokenizer = load_tokenizer(resolve_base(settings.base))
    rows = Rows(settings.split, int(tokenizer.pad_token_id), device)
    ready: dict[tuple[int, ...], Any] = {tuple(batch): rows.batch(batch) for batch in _batches(settings)}

    def step(batch: list[int]) -> None:
        ids, mask, targets = ready[tuple(batch)]
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits, _ = classifier(ids, mask)
        functional.cross_entropy(logits, targets).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _batches(settings: BenchSettings) -> list[list[int]]:
    lengths = [len(window) for window in settings.split.windows]
    return length_grouped_batches(lengths, settings.batch_size, settings.seed, 0)


def refused(settings: BenchSettings) -> dict[str, str]:
    """Methods that cannot be measured here, each with the reason. Loads nothing."""
    reasons = {}
    for name in settings.methods:
        try:
            find_method(name).check_machine()
        except DsLoraError as error:
            reasons[name] = str(error)
    return settings.groups[1] | reasons


def measure_time(
    settings: BenchSettings, names: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> dict[str, list[float]]:
    """Seconds of each step of those that take turns; step i is of the same batch for all.

    Args:
        settings: What is measured.
        names: Methods, and ``BARE``.
        note: Told how far it is.
    """
    device = resolve_device(settings.device)
    steps: dict[str, Callable[[list[int]], object]] = {
        name: _bare_step(settings) if name == BARE else _training(settings, name, settings.split).step for name in names
    }
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
        with ProcessPoolExecutor(1, mp_context=context, initializer=quieten_libraries) as pool:
            peaks[method] = pool.submit(peak_memory, settings, method).result()
    return peaks


def release_memory() -> None:
    """Gives back what models took that are no longer used: what comes next, other processes too, needs it."""
    gc.collect()
    torch.cuda.empty_cache()


def remarks(steps: int, batch_size: int) -> list[str]:
    """What who reads the result should be told of it, a sentence each."""
    if steps >= _FEW_STEPS:
        return []
    return [
        f"Intervals from {steps} steps mean little: a few disturbed steps decide them. Take --rows "
        f"{_FEW_STEPS * batch_size} or more, which are {_FEW_STEPS} steps of {batch_size} texts."
    ]


def run_bench(settings: BenchSettings, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything, as JSON: parameters, seconds, rows a second, bytes, and ratios to LoRA with intervals.

    Raises:
        DsLoraError: A method does not run here, or does not fit into memory beside LoRA.
    """
    if reasons := refused(settings):
        raise DsLoraError(
            f"{' '.join(reasons.values())} Leave out what does not run here, or lower the need for memory: "
            "a smaller --batch-size or --max-tokens, --gradient-checkpointing, --base-precision bf16."
        )
    device = resolve_device(settings.device)
    seconds: dict[str, list[float]] = {}
    times: dict[str, dict[str, float]] = {}
    for names in settings.groups[0]:
        measured = measure_time(settings, names, note)
        for name in names:
            if name not in times:
                seconds[name] = measured[name]
                times[name] = ratio(measured[name], measured[_REFERENCE], settings.seed)
        release_memory()
    note("memory, one process a method")
    peaks = measure_memory(settings)
    return {
        "settings": asdict(settings),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "steps": len(seconds[_REFERENCE]),
        "remarks": remarks(len(seconds[_REFERENCE]), settings.batch_size),
        "turns": [list(names) for names in settings.groups[0]],
        "methods": {
            name: {
                "parameters": plan.counts.trainable,
                "seconds": round(sum(seconds[name]), 3),
                "rowsPerSecond": round(settings.rows / sum(seconds[name]), 2),
                "time": times[name],
                **(
                    {"peakBytes": peaks[name], "memory": round(peaks[name] / peaks[_REFERENCE], 4)}
                    if name in peaks
                    else {}
                ),
            }
            for name, plan in settings.plans.items()
        },
        # Rows a second of the training loop with LoRA, over the bare loop's.
        "loopOverBare": times[BARE],
    }


def table(result: dict[str, Any]) -> str:
    """The result as a table in Markdown."""
    settings = result["settings"]
    lines = [
        f"{settings['base']}, {settings['rows']} texts, {result['device']}, {result['steps']} steps",
        "",
        "| | parameters | rows/s | time / LoRA (95 %) | peak memory | / LoRA |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["methods"].items():
        timing = row["time"]
        memory = f"{row['peakBytes'] / 2**20:.0f} MiB | {row['memory']:.3f}" if "peakBytes" in row else "– | –"
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['rowsPerSecond']:.1f} "
            f"| {timing['ratio']:.3f} ({timing['low']:.3f}–{timing['high']:.3f}) | {memory} |"
        )
    bare = result["loopOverBare"]
    lines += ["", f"Training loop over bare loop, rows/s: {bare['ratio']:.3f} ({bare['low']:.3f}–{bare['high']:.3f})"]
    for remark in result["remarks"]:
        lines += ["", remark]
    return "\n".join(lines)
