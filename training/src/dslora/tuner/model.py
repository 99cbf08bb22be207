"""The tuner that PEFT builds for a ``DsLoraConfig``."""

from typing import Any, NoReturn

from peft.tuners.lora import LoraModel
from torch import nn

from dslora.architectures import default_target_modules
from dslora.tuner.context import install_hooks
from dslora.tuner.layer import MERGE_REFUSED, GatedLinear


class DsLoraModel(LoraModel):
    """A base model whose target modules are :class:`GatedLinear`, with hooks that hand them the mask.

    Without ``target_modules`` in the configuration the table of ``dslora.architectures`` decides: query and
    value projections of every layer.
    """

    tuner_layer_cls = GatedLinear

    def __init__(self, model: nn.Module, config: Any, adapter_name: str, **kwargs: Any) -> None:
        super().__init__(model, config, adapter_name, **kwargs)
        self._hooks = install_hooks(self.model)

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        if peft_config.target_modules is None:
            peft_config.target_modules = set(default_target_modules(model_config["model_type"]))
        return peft_config

    def _check_merge_allowed(self) -> NoReturn:
        raise ValueError(MERGE_REFUSED)

    def unload(self) -> nn.Module:
        """The base model again, without adapters, gates and hooks."""
        base: nn.Module = super().unload()
        for hook in self._hooks:
            hook.remove()
        return base

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises: a sum of adapters with different gates is not an adapter with one gate."""
        raise ValueError("DS-LoRA adapters cannot be combined by weights: each has gates of its own.")
