"""``dslora plan``: what a training would need."""

import argparse
import json
import sys

from dslora.cli.arguments import add_reading, refuse_unused_options
from dslora.errors import DsLoraError
from dslora.options import add_settings, finite, settings_from


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    add_reading(group)
    group.add_argument("--method", default="ds-lora", help="as for dslora train (default: ds-lora)")
    group.add_argument("--classes", type=int, default=2, help="labels (default: 2)")
    group = parser.add_argument_group("machine")
    group.add_argument("--memory", help="refuse what does not fit into so much, e.g. 24GB (default: the device's own)")
    group.add_argument("--rows", type=int, default=11_916, help="training posts (default: 11916, as OLID's)")
    group.add_argument("--tokens", type=int, help="average length of a post (default: 40, as OLID's)")
    group.add_argument("--cores", type=int, help="processor cores (default: this machine's)")
    group.add_argument(
        "--teraflops", type=finite, help="sustained speed of the device in 10^12 operations/s, in place of cores"
    )
    group.add_argument("--json", action="store_true", help="print JSON")
    add_settings(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.classifier import ClassifierSpec
    from dslora.machine import processors
    from dslora.methods import find_method
    from dslora.ngrams import NAME as NGRAMS
    from dslora.plan.estimate import CORE_SPEED, make_plan
    from dslora.plan.fit import parse_memory, refuse_too_large
    from dslora.plan.text import as_json, as_text
    from dslora.run import check_length
    from dslora.sparsity import L1Settings
    from dslora.train import TrainSettings
    from dslora.train.processes import resolve_device

    for name, least in {"classes": 2, "rows": 1, "tokens": 1, "cores": 1}.items():
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise DsLoraError(f"--{name} is {value}; expected {least} or more.")
    if arguments.teraflops is not None and arguments.teraflops <= 0:
        raise DsLoraError(f"--teraflops is {arguments.teraflops:g}; expected a number above 0.")
    if arguments.method == NGRAMS:
        raise DsLoraError(f"Method {NGRAMS} has no base model, so there is nothing to plan. Use dslora train.")
    method = find_method(arguments.method)
    refuse_unused_options(arguments, method)
    settings = settings_from(arguments, TrainSettings)
    # A plan may be for another machine, so a GPU that is not here is no error.
    device = settings.device if settings.device != "auto" else resolve_device("auto").type
    labels = tuple(str(label) for label in range(arguments.classes))
    spec = ClassifierSpec(
        base=arguments.base,
        method=method.name,
        labels=labels,
        positive_labels=labels[-1:],
        normalization=(),
        max_tokens=arguments.max_tokens,
        adapter=settings_from(arguments, method.settings),
        l1=settings_from(arguments, L1Settings) if method.sparse else None,
    )
    check_length(spec)
    memory = parse_memory(arguments.memory) if arguments.memory else _memory_here(device)
    plan = make_plan(spec, settings, device, arguments.tokens)
    cores = arguments.cores or processors()
    speed = arguments.teraflops * 1e12 if arguments.teraflops else CORE_SPEED * cores
    how = f"{arguments.teraflops:g} TFLOP/s" if arguments.teraflops else f"{cores} cores"
    seconds = plan.seconds(arguments.rows, speed)
    if arguments.json:
        print(json.dumps(as_json(plan, memory, arguments.rows, seconds, how), indent=2))
    else:
        print(as_text(plan, memory, arguments.rows, seconds, how))
    if memory is None:
        print(
            "Nothing is refused: torch finds no CUDA device here, so the memory of the GPU that is meant is not known. "
            "Name it, for example --memory 24GB.",
            file=sys.stderr,
        )
        return
    refuse_too_large(plan, memory)


def _memory_here(device: str) -> int | None:
    """Bytes of the device's memory; None of a GPU that is on another machine."""
    import torch

    from dslora.plan.fit import device_memory

    return None if device == "cuda" and not torch.cuda.is_available() else device_memory(device)
