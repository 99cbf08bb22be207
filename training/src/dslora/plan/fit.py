"""Whether a plan fits into memory, and what would."""

import re

import psutil
import torch

from dslora.classifier import ClassifierSpec
from dslora.errors import DsLoraError
from dslora.plan.estimate import Plan, alternatives, make_plan
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
    """Bytes of this machine's memory, or of its first GPU's."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().total)


def check_fits(spec: ClassifierSpec, settings: TrainSettings, device: str, memory: int | None = None) -> Plan:
    """The plan, where it fits.

    Args:
        spec: What would be trained.
        settings: How.
        device: ``cpu`` or ``cuda``.
        memory: Bytes; the device's own if not given.

    Raises:
        DsLoraError: It does not fit. The message says what would.
    """
    plan = make_plan(spec, settings, device)
    refuse_too_large(plan, memory or device_memory(device))
    return plan


def refuse_too_large(plan: Plan, memory: int) -> None:
    """Raises :class:`DsLoraError` where a plan needs more than ``memory`` bytes, and says what would fit."""
    if plan.memory.total <= memory:
        return
    needed = (
        f"{plan.spec.method} on {plan.spec.base} needs about {size(plan.memory.total)} at its peak (batches of "
        f"{plan.settings.part_size(1)} texts of {plan.spec.max_tokens} tokens), and there are {size(memory)}."
    )
    lower = alternatives(plan)
    for options, other in lower:
        if other.memory.total <= memory:
            raise DsLoraError(f"{needed} It fits with {options}: {size(other.memory.total)}.")
    smallest = min([plan, *(other for _, other in lower)], key=lambda each: each.memory.total)
    quantized = smallest.memory.total - smallest.memory.base + smallest.counts.linear * 0.52
    four_bit = (
        f" With a 4-bit base (method qlora or ds-qlora) it would be about {size(quantized)}."
        if quantized <= memory
        else ""
    )
    raise DsLoraError(
        f"{needed} The least that these methods need is {size(smallest.memory.total)}.{four_bit} Otherwise take a "
        "smaller base, more memory, or divide the weights among GPUs (launch/fsdp.yaml)."
    )


def size(count: float) -> str:
    if count < 2**30:
        return f"{count / 2**20:.1f} MB"
    return f"{count / 2**30:.1f} GB"
