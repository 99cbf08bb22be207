"""Every training method, in one table: what it adapts, and how a PEFT configuration follows from settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from peft import LoraConfig, PeftConfig

from dslora.errors import DsLoraError
from dslora.tuner import DsLoraConfig


@dataclass(frozen=True)
class AdapterSettings:
    """Shape and start of the adapters. What a method does not use, it ignores.

    Attributes:
        rank: r of A ``[r, d_in]`` and B ``[d_out, r]``.
        alpha: LoRA's scale is ``alpha / rank``.
        dropout: Dropout on the adapter's input.
        target_modules: Name suffixes of the projections to adapt; empty: the architecture's table.
        gate_hidden: Width of the gate's hidden layer; 0 is a linear gate.
        gate_pooling: One gate for each text (instance) or token.
        gate_scale: Factor on the gate. The paper's is 1; with 2 a gate that starts at 0.5 starts as LoRA.
        gate_bias_init: Start of the gate's last bias; 0 starts gates at 0.5.
        gate_standardize: Give gates standardised inputs, so that they see what differs between texts.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    target_modules: tuple[str, ...] = ()
    gate_hidden: int = 16
    gate_pooling: Literal["instance", "token"] = "instance"
    gate_scale: float = 2.0
    gate_bias_init: float = 0.0
    gate_standardize: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise DsLoraError(f"Rank is {self.rank}; expected 1 or more.")
        if not 0 <= self.dropout < 1:
            raise DsLoraError(f"Adapter dropout is {self.dropout}; expected a number from 0 to below 1.")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: What users type and manifests say.
        summary: One line for help texts.
        gated: Whether answers have gate values.
        sparse: Whether L1 applies.
        configure: Adapter settings and target modules to PEFT's configuration.
    """

    name: str
    summary: str
    gated: bool
    sparse: bool
    configure: Callable[[AdapterSettings, tuple[str, ...]], PeftConfig]


def _lora(settings: AdapterSettings, targets: tuple[str, ...]) -> PeftConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets),
    )


def _gated(settings: AdapterSettings, targets: tuple[str, ...]) -> PeftConfig:
    return DsLoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        gate_hidden=settings.gate_hidden,
        gate_pooling=settings.gate_pooling,
        gate_scale=settings.gate_scale,
        gate_bias_init=settings.gate_bias_init,
        gate_standardize=settings.gate_standardize,
    )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ds-lora", "gated and sparse LoRA (the product's own)", True, True, _gated),
        Method("lora", "plain LoRA, merged at export", False, False, _lora),
        Method("lora-gate", "LoRA with gates, without L1", True, False, _gated),
        Method("lora-l1", "LoRA with L1, without gates", False, True, _lora),
    )
}


def find_method(name: str) -> Method:
    """The table's row of a name.

    Raises:
        DsLoraError: There is no such method.
    """
    if name not in METHODS:
        raise DsLoraError(f"Method {name!r} is not known. Expected one of: {', '.join(METHODS)}.")
    return METHODS[name]
