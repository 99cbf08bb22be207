"""LoRA with as many trainable parameters as DS-LoRA: what its gates would be worth as rank."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peft import PeftConfig
from peft.tuners.lora.layer import LoraLayer

from dslora.architectures import canonical_module
from dslora.methods.low_rank import Lora, LowRankSettings
from dslora.methods.method import target_layers
from dslora.methods.peft_method import ADAPTER


@dataclass(frozen=True)
class EqualSettings(LowRankSettings):
    """DS-LoRA's rank, factor and gates; these count only for their number of parameters.

    Attributes:
        gate_kind: As of the DS-LoRA to equal.
        gate_hidden: As of the DS-LoRA to equal.
        gate_shared: As of the DS-LoRA to equal.
    """

    gate_kind: Literal["learned", "parameter-free"] = "learned"
    gate_hidden: int = 16
    gate_shared: bool = False


class LoraEqual(Lora):
    """Plain LoRA whose ranks differ by module where the number of parameters asks for it; alpha / r does not."""

    name = "lora-equal"
    summary = "plain LoRA with as many trainable parameters as DS-LoRA at the same settings"
    settings = EqualSettings

    def configuration(self, base: Any, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        sides = {path: (m.in_features, m.out_features) for path, m in target_layers(base, targets).items()}
        ranks = equal_ranks(sides, settings)
        config: Any = self.configure(settings, targets)
        # PEFT reads the keys as patterns for a path's end.
        config.rank_pattern = {re.escape(path): rank for path, rank in ranks.items()}
        config.alpha_pattern = {re.escape(path): settings.alpha / settings.rank * rank for path, rank in ranks.items()}
        return config

    def remarks(self, encoder: Any, settings: Any) -> tuple[str, ...]:
        layers = {path: m for path, m in encoder.named_modules() if isinstance(m, LoraLayer)}
        trained = sum(w.weight.numel() for m in layers.values() for w in (m.lora_A[ADAPTER], m.lora_B[ADAPTER]))
        wanted = ds_lora_parameters({path: (m.in_features, m.out_features) for path, m in layers.items()}, settings)
        ranks = sorted({m.r[ADAPTER] for m in layers.values()})
        return (
            f"Ranks {ranks[0]} to {ranks[-1]}: {trained:,} adapter parameters beside DS-LoRA's {wanted:,} "
            f"({trained - wanted:+,}, {(trained - wanted) / wanted:+.2%}).",
        )


def ds_lora_parameters(sides: Mapping[str, tuple[int, int]], settings: EqualSettings) -> int:
    """``sum r (d_in + d_out)`` and the gates: ``d (d_in + 1) + d + 1``, or ``d_in + 1`` for a linear gate.

    Args:
        sides: (d_in, d_out) of every adapted module, by path.
        settings: Rank and gate.
    """
    low_rank = sum(settings.rank * (d_in + d_out) for d_in, d_out in sides.values())
    if settings.gate_kind == "parameter-free":
        return low_rank
    # A shared gate is one for query and one for value, whatever the number of layers.
    gates = [(canonical_module(path)[1] if settings.gate_shared else path, d_in) for path, (d_in, _) in sides.items()]
    d = settings.gate_hidden
    return low_rank + sum(d * (d_in + 2) + 1 if d else d_in + 1 for _, d_in in set(gates))


def equal_ranks(sides: Mapping[str, tuple[int, int]], settings: EqualSettings) -> dict[str, int]:
    """The rank of every module, so that the parameters come closest to DS-LoRA's.

    Each module gets the same rank, the rest is handed out one by one from the last module on; what no module can
    take is left.

    Args:
        sides: (d_in, d_out) of every adapted module, by path.
        settings: Rank and gate of the DS-LoRA to equal.
    """
    costs = {path: d_in + d_out for path, (d_in, d_out) in sides.items()}
    even, left = divmod(ds_lora_parameters(sides, settings), sum(costs.values()))
    ranks = dict.fromkeys(costs, even)
    for path in reversed(costs):
        # Half of a component more is closer than the other half less.
        if left >= costs[path] / 2:
            ranks[path] += 1
            left -= costs[path]
    return ranks
