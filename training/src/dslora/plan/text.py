"""A plan as text and as JSON."""

from typing import Any

from dslora.methods import find_method
from dslora.methods.low_rank import LowRankSettings
from dslora.plan.estimate import Plan
from dslora.plan.fit import size
from dslora.presets import find_preset


def as_json(plan: Plan, memory: int | None, rows: int, seconds: float, how: str) -> dict[str, Any]:
    """Bytes, counts and seconds. Where it is not known how much memory there is, neither is whether it fits."""
    return {
        "base": plan.spec.base,
        "method": plan.spec.method,
        "parameters": vars(plan.counts),
        "training": {
            **{name: round(value) for name, value in vars(plan.memory).items()},
            "total": round(plan.memory.total),
        },
        "serving": {name: round(value) for name, value in plan.serving.items()},
        "available": memory,
        "fits": None if memory is None else plan.memory.total <= memory,
        "time": {"estimated": True, "rows": rows, "epochs": plan.settings.epochs, "seconds": round(seconds), "on": how},
    }


def as_text(plan: Plan, memory: int | None, rows: int, seconds: float, how: str) -> str:
    """A page for the terminal."""
    counts, needs, settings = plan.counts, plan.memory, plan.settings
    there = "" if memory is None else f"  of {size(memory)}"
    lines = [
        f"{plan.spec.method} on {plan.spec.base}",
        f"  parameters        {counts.total:>16,}",
        f"  trained           {counts.trainable:>16,}  ({counts.trainable / counts.total:.3%})",
        "",
        f"Memory of training, batches of {plan.texts} texts of {plan.spec.max_tokens} tokens",
    ]
    lines += [f"  {name:<16}  {size(value):>12}" for name, value in vars(needs).items()]
    lines += [f"  {'total':<16}  {size(needs.total):>12}{there}", "", "Memory of served weights"]
    lines += [f"  {name:<16}  {size(value):>12}" for name, value in plan.serving.items()]
    lines += [
        "",
        f"Time: about {_duration(seconds)} for {settings.epochs} epochs of {rows:,} posts on {how}. An estimate from "
        "operations and one measured rate; nothing was run.",
    ]
    preset = find_preset(plan.spec.base)
    if preset is not None:
        gate = ": accept it on the Hub and log in before the first download" if preset.gated else ""
        lines += [f"Licence: {preset.license}{gate}. Recommended: {preset.options(_not_taken(plan))}"]
    return "\n".join(lines)


def _not_taken(plan: Plan) -> set[str]:
    """Recommended options that the plan's method refuses."""
    method = find_method(plan.spec.method)
    return {
        *(() if isinstance(plan.spec.adapter, LowRankSettings) else ("target-modules",)),
        *(() if method.adds_weights else ("base-precision",)),
        *(() if method.trains else ("precision", "gradient-checkpointing", "batch-size")),
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
