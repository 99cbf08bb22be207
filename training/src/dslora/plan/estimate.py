"""The estimate: parameters counted, memory added up, time from a measured anchor."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dslora.bases import base_config
from dslora.classifier import ClassifierSpec
from dslora.methods import find_method
from dslora.methods.quantized import FourBitMethod
from dslora.plan.outline import Counts, Saved, count, make_outline, saved_by_forward
from dslora.plan.serving import serving_bytes
from dslora.train.settings import TrainSettings

# Adam keeps two averages, and gradients are kept until the step: float32 each.
_STATE_BYTES = 12
# NF4 with double quantisation: 4 bits a weight, an 8-bit constant a block of 64, and one float32 for 256 of these.
# Dettmers et al. 2023, QLoRA, section 3.
_NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# Under autocast matrix products keep bfloat16 and norms, sums and softmax float32: about so, not measured.
_AUTOCAST_SHARE = 0.75
# Gradients of activations that live at once in the backward pass, in tensors of the largest size.
_LIVE_GRADIENTS = 3
# The interpreter with PyTorch, transformers and the data; on a GPU its context and the libraries' work space.
# CPU: anonymous memory before a model is built was 606 MiB (a CSV of 240 posts) to 615 MiB (OLID), on x86-64 Linux.
# Libraries' code is 424 MiB more of resident memory, and not counted: it is mapped from files. A container's limit
# counts such pages too, but the kernel takes them back before it refuses memory. A frozen base is mapped likewise, and
# is counted nonetheless, since every step reads it.
_PROCESS_BYTES = {"cpu": 620 * 2**20, "cuda": 700 * 2**20}
# What malloc took for activations, gave free and does not use again, over what autograd kept. Mapped each for itself
# (MALLOC_MMAP_THRESHOLD_=65536), LoRA on MiniLM peaked at what is counted here without it, with checkpointing and
# without. With glibc as it is it peaked above that by 0.5 to 0.65 times the activations, and with checkpointing by so
# much of about four layers. So estimated, ten runs (MiniLM with 3, 6 and 12 layers, batches of 16, 32 and 64 whole
# windows) peaked in anonymous memory at 1 to 10 % less.
_HEAP_SHARE = 0.6
_HEAP_LAYERS = 4

# Measured: DS-LoRA on MiniLM, OLID posts (40 tokens on average), one core of a 2-core server: rows a second.
ANCHOR_ROWS, ANCHOR_TOKENS = 20.0, 40
# MiniLM's 10.6 M parameters outside its embeddings, 4 operations a token each (see `operations`).
_ANCHOR_OPERATIONS_PER_ROW = 4 * 10.6e6 * ANCHOR_TOKENS
CORE_SPEED = ANCHOR_ROWS * _ANCHOR_OPERATIONS_PER_ROW


# Of weights that FSDP has divided, layers that are whole at once: the one that computes and the one that is fetched.
_WHOLE_LAYERS = 2


@dataclass(frozen=True)
class Division:
    """How processes share a training.

    Attributes:
        processes: How many. Each computes its share of a batch.
        sharded: Each keeps only its part of the weights and of the optimizer's state (FSDP); else it has all (DDP).
    """

    processes: int = 1
    sharded: bool = False


ALONE = Division()


@dataclass(frozen=True)
class Memory:
    """Bytes that each process of a training needs at its peak.

    Attributes:
        base: Frozen weights.
        trained: What is trained.
        state: Gradients and the optimizer's averages.
        activations: Kept for the backward pass.
        transient: Gradients of activations in the backward pass, weights that are divided while they are whole, and on
            the CPU freed memory that malloc does not use again.
        process: What a process needs in any case.
    """

    base: float
    trained: float
    state: float
    activations: float
    transient: float
    process: float

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))


@dataclass(frozen=True)
class Plan:
    """What a training would need.

    Attributes:
        spec: What would be trained.
        settings: How.
        device: ``cpu`` or ``cuda``: whose fixed cost is counted.
        division: Among which processes.
        counts: Parameters.
        memory: Of training, at the peak.
        serving: Bytes of the weights when served, by precision.
        operations: Floating-point operations a training text at the plan's length.
        can_checkpoint: Whether the base has gradient checkpointing.
    """

    spec: ClassifierSpec
    settings: TrainSettings
    device: str
    division: Division
    counts: Counts
    memory: Memory
    serving: dict[str, float]
    operations: float
    can_checkpoint: bool

    @property
    def texts(self) -> int:
        """That a process computes at once."""
        return self.settings.part_size(self.division.processes)

    def seconds(self, rows: int, speed: float) -> float:
        """Time for all epochs, at ``speed`` operations a second. An estimate: nothing was run."""
        return rows * self.settings.epochs * self.operations / speed


def make_plan(
    spec: ClassifierSpec,
    settings: TrainSettings,
    device: str = "cpu",
    tokens: int | None = None,
    division: Division = ALONE,
) -> Plan:
    """Counts and adds up; loads nothing.

    Args:
        spec: What would be trained.
        settings: How.
        device: ``cpu`` or ``cuda``.
        tokens: Length of a text for the estimate of time; ``ANCHOR_TOKENS`` if not given. Memory is of the longest
            batch, whose texts fill the window.
        division: Among which processes.

    Raises:
        DsLoraError: The base, the method or a target module is not known, a batch cannot be divided so, or the base
            has no gradient checkpointing and it is asked for.
    """
    config = base_config(spec.base)
    texts = settings.part_size(division.processes)
    outline = make_outline(spec, config, settings.base_dtype)
    if settings.gradient_checkpointing:
        outline.check_can_checkpoint_activations()
    counts = count(outline, config)
    saved = saved_by_forward(outline, texts, spec.max_tokens)
    return Plan(
        spec,
        settings,
        device,
        division,
        counts,
        _memory(spec, settings, device, division, counts, saved, config),
        serving_bytes(outline),
        _operations(spec, settings, counts, config, min(tokens or ANCHOR_TOKENS, spec.max_tokens)),
        outline.can_checkpoint_activations,
    )


def _memory(
    spec: ClassifierSpec,
    settings: TrainSettings,
    device: str,
    division: Division,
    counts: Counts,
    saved: Saved,
    config: Any,
) -> Memory:
    width = 2 if settings.base_precision == "bf16" else 4
    frozen = counts.total - counts.trainable
    linear = counts.linear if is_four_bit(spec.method) else 0
    activations: float = saved.bytes
    largest: float = saved.largest
    if settings.precision == "bf16" and settings.base_precision == "fp32":
        activations, largest = activations * _AUTOCAST_SHARE, largest * _AUTOCAST_SHARE
    heap = _HEAP_SHARE * activations if device == "cpu" else 0.0
    if settings.gradient_checkpointing:
        heap *= min(1.0, _HEAP_LAYERS / counts.layers)
        # Each layer's input, and what one layer keeps while it is computed again.
        hidden = config.get_text_config().hidden_size
        inputs = counts.layers * settings.part_size(division.processes) * spec.max_tokens * hidden * width
        activations = inputs + activations / counts.layers
    base = (frozen - linear) * width + linear * _NF4_BYTES
    trained = counts.trainable * 4
    parts = division.processes if division.sharded else 1
    whole = _whole(base + trained, counts, width) if division.sharded else 0.0
    return Memory(
        base=base / parts,
        trained=trained / parts,
        state=counts.trainable * _STATE_BYTES / parts,
        activations=activations,
        transient=_LIVE_GRADIENTS * largest + whole + heap,
        process=_PROCESS_BYTES[device],
    )


def _whole(weights: float, counts: Counts, width: int) -> float:
    """Bytes of divided weights that are whole at once: what stands outside of layers all the time, and some layers."""
    outside = counts.embeddings * width
    return outside + _WHOLE_LAYERS * (weights - outside) / counts.layers


def _operations(spec: ClassifierSpec, settings: TrainSettings, counts: Counts, config: Any, tokens: int) -> float:
    """A multiplication and an addition a weight and token: forward, and back to the input of every layer.

    Gradients of trained weights are a third such pass over them, checkpointing is a second forward pass, and
    attention adds two products of tokens by tokens.
    """
    text = config.get_text_config()
    weights = counts.total - counts.embeddings
    attention = 2 * 2 * counts.layers * tokens * text.hidden_size
    forward = 2 * weights + attention
    passes = 2 + (1 if settings.gradient_checkpointing else 0)
    trained = min(counts.trainable, weights)
    return float(tokens * (passes * forward + 2 * trained))


def is_four_bit(method: str) -> bool:
    """Whether a method keeps the base in 4 bits."""
    return isinstance(find_method(method), FourBitMethod)


def alternatives(plan: Plan) -> list[tuple[str, Plan]]:
    """Plans that need less, each on top of the ones before it, with the options that make them."""
    found: list[tuple[str, Plan]] = []
    options: list[str] = []
    spec, settings = plan.spec, plan.settings
    method = find_method(spec.method)

    def add(option: str) -> None:
        options.append(option)
        found.append((" ".join(options), make_plan(spec, settings, plan.device, division=plan.division)))

    if method.trains and plan.can_checkpoint and not settings.gradient_checkpointing:
        settings = replace(settings, gradient_checkpointing=True)
        add("--gradient-checkpointing")
    if method.trains and plan.texts > 1 and not settings.gate_spread:
        settings = replace(settings, accumulation=settings.accumulation * plan.texts)
        add(f"--accumulation {settings.accumulation}")
    if method.adds_weights and settings.base_precision == "fp32" and not is_four_bit(spec.method):
        settings = replace(settings, base_precision="bf16", precision="bf16" if method.trains else settings.precision)
        add("--base-precision bf16 --precision bf16" if method.trains else "--base-precision bf16")
    return found


def on_four_bits(plan: Plan) -> Plan | None:
    """The same with the base in 4 bits, which is another method; None where that is so already."""
    if is_four_bit(plan.spec.method):
        return None
    method = find_method("ds-qlora" if find_method(plan.spec.method).gated else "qlora")
    known = {field.name for field in fields(method.settings)}
    adapter = method.settings(**{name: value for name, value in asdict(plan.spec.adapter).items() if name in known})
    spec = replace(plan.spec, method=method.name, adapter=adapter)
    return make_plan(spec, plan.settings, plan.device, division=plan.division)
