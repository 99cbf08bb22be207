"""Whether a plan fits into memory, and what would."""

import re

import torch

from dslora import machine
from dslora.classifier import ClassifierSpec
from dslora.errors import DsLoraError
from dslora.plan.estimate import ALONE, Division, Plan, alternatives, make_plan, on_four_bits
from dslora.train.settings import TrainSettings

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_memory(text: str) -> int:
    """``24GB`` (or ``24G``, ``24GiB``: the unit is 1024-fold) in bytes.

    Raises:
        DsLoraError: It is no amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None or float(match.group(1)) == 0:
        raise DsLoraError(f"{text!r} is no amount of memory. Expected a number and a unit, such as 24GB.")
    return int(float(match.group(1)) * _UNITS[match.group(2).upper()])


def device_memory(device: str) -> int:
    """Bytes of the memory that this process may use, or of the first GPU's."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return machine.memory()


def check_fits(
    spec: ClassifierSpec,
    settings: TrainSettings,
    device: str,
    memory: int | None = None,
    *,
    division: Division = ALONE,
    sharing: int = 1,
    way_out: str = "",
) -> Plan:
    """The plan, where it fits.

    Args:
        spec: What would be trained.
        settings: How.
        device: ``cpu`` or ``cuda``.
        memory: Bytes; the device's own if not given.
        division: Among which processes.
        sharing: Processes that share this memory, each with as much need.
        way_out: A sentence for the end of the message.

    Raises:
        DsLoraError: It does not fit. The message says what would.
    """
    plan = make_plan(spec, settings, device, division=division)
    refuse_too_large(plan, memory or device_memory(device), sharing=sharing, way_out=way_out)
    return plan


def refuse_too_large(plan: Plan, memory: int, *, sharing: int = 1, way_out: str = "") -> None:
    """Refuses a plan that needs more than ``memory`` bytes, or than its share of them, and says what would fit.

    Raises:
        DsLoraError: It does.
    """
    share = memory // sharing
    if plan.memory.total <= share:
        return
    several = max(sharing, plan.division.processes) > 1
    there = f"{size(share)} for each process" if several else size(share)
    needed = (
        f"{plan.spec.method} on {plan.spec.base} needs about {size(plan.memory.total)} at its peak (batches of "
        f"{plan.texts} texts of {plan.spec.max_tokens} tokens), and there are {there}."
    )
    raise DsLoraError(" ".join(part for part in (needed, _what_would_fit(plan, share), way_out) if part))


def _what_would_fit(plan: Plan, memory: int) -> str:
    lower = alternatives(plan)
    for options, other in lower:
        if other.memory.total <= memory:
            return f"It fits with {options}: {size(other.memory.total)}.{_price(plan, other)}"
    options, smallest = min([("", plan), *lower], key=lambda each: each[1].memory.total)
    said = [f"The least that these methods need is {size(smallest.memory.total)}."]
    quantized = on_four_bits(smallest)
    if quantized is not None and quantized.memory.total <= memory:
        typed = " ".join(part for part in (f"--method {quantized.spec.method}", options) if part)
        said.append(
            f"With a 4-bit base ({typed}) it would be about {size(quantized.memory.total)}.{_price(plan, quantized)}"
        )
    among = "more GPUs" if plan.division.sharded else "GPUs (launch/fsdp.yaml)"
    return " ".join([*said, f"Otherwise take a smaller base, more memory, or divide the weights among {among}."])


def _price(plan: Plan, advised: Plan) -> str:
    """What must be said beside advice, which is of this machine where it is of a CPU."""
    cpu = torch.device("cpu")
    if plan.device != "cpu" or plan.settings.remarks(cpu) or not advised.settings.remarks(cpu):
        return ""
    return " This processor has no instructions for bfloat16, so --precision bf16 takes many times as long here."


def size(count: float) -> str:
    if count < 2**30:
        return f"{count / 2**20:.1f} MiB"
    return f"{count / 2**30:.1f} GiB"
