"""LoRA and its relatives without gates: one low-rank change of each target's weight, the same for every text."""

from dataclasses import dataclass
from typing import Any, ClassVar

from peft import LoraConfig, PeftConfig

from dslora.errors import DsLoraError
from dslora.methods.method import MethodSettings
from dslora.methods.peft_method import PeftMethod


@dataclass(frozen=True)
class LowRankSettings(MethodSettings):
    """Shape of the low-rank matrices.

    Attributes:
        rank: r of A ``[r, d_in]`` and B ``[d_out, r]``.
        alpha: LoRA's scale is ``alpha / rank``.
        dropout: Dropout on the adapter's input.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise DsLoraError(f"Rank is {self.rank}; expected 1 or more.")
        if not self.alpha > 0:
            raise DsLoraError(f"Alpha is {self.alpha}; expected a number above 0: with 0 an adapter changes nothing.")
        if not 0 <= self.dropout < 1:
            raise DsLoraError(f"Adapter dropout is {self.dropout}; expected a number from 0 to below 1.")


class Lora(PeftMethod):
    """``h = W0 x + (alpha / r) B A x``. Source: Hu et al. 2021, LoRA, equation 3."""

    name = "lora"
    summary = "plain LoRA, merged at export"
    settings: ClassVar[type[MethodSettings]] = LowRankSettings
    dora: ClassVar[bool] = False

    def configure(self, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        return LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(targets),
            use_dora=self.dora,
        )


class LoraL1(Lora):
    """LoRA with the paper's penalty and no gate: a row of the ablation (table 3)."""

    name = "lora-l1"
    summary = "LoRA with L1, without gates"
    sparse = True


class Dora(Lora):
    """``h = m (W0 + s B A) / |W0 + s B A|_c x``: a magnitude for each output. Source: Liu et al. 2024, DoRA, eq. 5."""

    name = "dora"
    summary = "DoRA, magnitude and direction learnt apart, merged at export"
    dora = True
