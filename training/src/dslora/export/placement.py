"""Which provider runs each node of a graph, as onnxruntime's profile of one run tells it.

onnxruntime gives a node that a provider has no kernel for to the CPU and copies its inputs there and its results
back, without a word. Such a graph gives right answers at a fraction of the speed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dslora.errors import DsLoraError

# Name of onnxruntime for each provider of a manifest.
RUNTIME_NAMES: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FLOATS: Final = frozenset({"float", "float16", "bfloat16", "double"})
_COPIES: Final = frozenset({"MemcpyFromHost", "MemcpyToHost"})


@dataclass(frozen=True)
class Placement:
    """One node as it ran.

    Attributes:
        op: Its kind; fused nodes have the kind that onnxruntime gave them.
        provider: onnxruntime's name of who ran it.
        floats: Whether a result of it is floats: lengths and positions, which are integers, are rightly computed on the
            CPU, because that is where the shapes of tensors are needed.
    """

    op: str
    provider: str
    floats: bool


def read_placements(profile: Path) -> list[Placement]:
    """Placements from a profile that onnxruntime wrote; each node once, however often it ran.

    Raises:
        DsLoraError: It is no such profile.
    """
    try:
        events: list[dict[str, Any]] = json.loads(profile.read_text(encoding="utf-8"))
        ran = {
            event["args"]["node_index"]: Placement(
                event["args"]["op_name"], event["args"]["provider"], _has_floats(event["args"])
            )
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DsLoraError(
            f"{profile.name}: not a profile that onnxruntime wrote ({type(error).__name__}), so it is not known which "
            "provider ran which node. Use the onnxruntime of requirements.lock."
        ) from error
    return list(ran.values())


def _has_floats(arguments: dict[str, Any]) -> bool:
    # [{"float": [2, 7, 64]}, …]
    return any(kind in _FLOATS for output in arguments["output_type_shape"] for kind in output)


def elsewhere(placements: Iterable[Placement], provider: str) -> Counter[str]:
    """Kinds of nodes that fell back from a provider, with how often: those that compute or copy floats elsewhere."""
    wanted = RUNTIME_NAMES[provider]
    return Counter(each.op for each in placements if each.floats and (each.provider != wanted or each.op in _COPIES))


def check_placements(file: str, placements: Sequence[Placement], provider: str) -> None:
    """Refuses a graph that the provider runs only in part.

    Args:
        file: Of the graph, for the message.
        placements: As :func:`read_placements` returns them.
        provider: Name in a manifest.

    Raises:
        DsLoraError: With the kinds that fell back.
    """
    fallen = elsewhere(placements, provider)
    if fallen or not placements:
        what = ", ".join(f"{count} {op}" for op, count in fallen.most_common()) or "no node was seen to run"
        raise DsLoraError(
            f"{file}: {sum(fallen.values())} of {len(placements)} nodes do not run on {provider} but beside it: "
            f"{what}. It would be slow. Export with another --layout, or leave --provider {provider} out to write it "
            "unchecked."
        )
