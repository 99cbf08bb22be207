"""AdaLoRA: ranks are taken from modules that need them least while training goes on."""

from dataclasses import dataclass
from typing import Any

import torch
from peft import AdaLoraConfig, PeftConfig
from torch import Tensor

from dslora.errors import DsLoraError
from dslora.methods.low_rank import LowRankSettings
from dslora.methods.peft_method import ADAPTER, PeftMethod

# PEFT wants a schedule before anyone knows how many steps there will be; AdaLoraBudget sets the real one.
_UNKNOWN_STEPS = 1_000_000


@dataclass(frozen=True)
class AdaLoraSettings(LowRankSettings):
    """``rank`` is the average rank that is left; AdaLoRA starts with more.

    Its scale is ``alpha / initial_rank`` from beginning to end, as PEFT has it: smaller than LoRA's of the same alpha.

    Attributes:
        initial_rank: Rank of every module at the start.
        budget_warmup: Share of training before ranks are taken away.
        budget_final: Share of training at the end with the final ranks.
        budget_interval: Steps between two allocations.
        orthogonality: Weight of the penalty that keeps the singular vectors orthogonal.
    """

    initial_rank: int = 12
    budget_warmup: float = 0.1
    budget_final: float = 0.4
    budget_interval: int = 10
    orthogonality: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_rank <= self.rank:
            raise DsLoraError(
                f"AdaLoRA starts with rank {self.initial_rank} and is to end with {self.rank} on average: "
                "--initial-rank must be larger than --rank."
            )
        if min(self.budget_warmup, self.budget_final) < 0 or self.budget_warmup + self.budget_final >= 1:
            raise DsLoraError(
                f"AdaLoRA's warm-up {self.budget_warmup} and final phase {self.budget_final} are shares of training: "
                "each at least 0, together below 1."
            )
        if self.budget_interval < 1:
            raise DsLoraError(f"--budget-interval is {self.budget_interval}; expected 1 or more.")


class AdaLora(PeftMethod):
    """``h = W0 x + s P diag(E) Q x``. Source: Zhang et al. 2023, AdaLoRA, equations 3 and 4."""

    name = "adalora"
    summary = "AdaLoRA, ranks divided among modules while training, merged at export"
    settings = AdaLoraSettings

    def configure(self, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        return AdaLoraConfig(
            init_r=settings.initial_rank,
            target_r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(targets),
            deltaT=settings.budget_interval,
            orth_reg_weight=settings.orthogonality,
            total_step=_UNKNOWN_STEPS,
        )

    def phase(self, encoder: Any, settings: Any, total_steps: int) -> "AdaLoraBudget":
        return AdaLoraBudget(encoder, settings, total_steps)


class AdaLoraBudget:
    """Allocates ranks by sensitivity between optimizer steps, with PEFT's allocator.

    Raises:
        DsLoraError: The training is too short for a phase in which ranks are taken away.
    """

    def __init__(self, encoder: Any, settings: AdaLoraSettings, total_steps: int) -> None:
        self._tuner = encoder.base_model
        self._config = encoder.peft_config[ADAPTER]
        self._orthogonality = settings.orthogonality
        self._config.total_step = total_steps
        self._config.tinit = round(settings.budget_warmup * total_steps)
        self._config.tfinal = round(settings.budget_final * total_steps)
        self._last: int = total_steps - self._config.tfinal
        if self._config.tinit >= self._last or self._config.tfinal < 1:
            raise DsLoraError(
                f"{total_steps} steps are too few for AdaLoRA's three phases. Train longer, or take another share for "
                "the last one (--budget-final)."
            )

    def before_step(self, step: int) -> None:
        pass

    def add_gradients(self, step: int) -> None:
        self._orthogonality_loss().backward()

    def _orthogonality_loss(self) -> Tensor:
        """``weight * mean |P^T P - I|_F`` over both factors of every module.

        As PEFT has it; equation 4 squares the norms.
        """
        factors = [(n, p) for n, p in self._tuner.model.named_parameters() if ".lora_A." in n or ".lora_B." in n]
        norms = []
        for name, factor in factors:
            gram = factor @ factor.T if ".lora_A." in name else factor.T @ factor
            norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype)))
        return self._orthogonality * torch.stack(norms).mean()

    def after_step(self, step: int, learning_rate: float) -> None:
        self._tuner.update_and_allocate(step)

    def settled(self, step: int) -> bool:
        # The ranks are final after optimizer step number `last`, counted from 0.
        return step > self._last

    def state_dict(self) -> dict[str, Any]:
        allocator = self._tuner.rankallocator
        return {
            "ipt": allocator.ipt,
            "exp_avg_ipt": allocator.exp_avg_ipt,
            "exp_avg_unc": allocator.exp_avg_unc,
            "rank_pattern": self._config.rank_pattern,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        allocator = self._tuner.rankallocator
        # A checkpoint is read into memory, and sensitivities are added to those of weights where these are.
        device_of = {name: weight.device for name, weight in self._tuner.model.named_parameters()}
        for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            setattr(allocator, name, {key: value.to(device_of[key]) for key, value in state[name].items()})
        self._config.rank_pattern = state["rank_pattern"]
