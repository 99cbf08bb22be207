"""The tuner that PEFT builds for a ``DsLoraConfig``."""

from typing import Any, NoReturn

from peft.tuners.lora import LoraModel
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from dslora.architectures import canonical_module, default_target_modules
from dslora.errors import DsLoraError
from dslora.tuner.context import install_hooks
from dslora.tuner.gate import Gate
from dslora.tuner.layer import MERGE_REFUSED, GatedLinear


def _share_gates(model: nn.Module, adapter_name: str) -> None:
    """Modules of one name and width read their weights from the gate of the first of them."""
    first: dict[tuple[str, int], Gate] = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, GatedLinear) or adapter_name not in layer.lora_gate:
            continue
        gate = layer.lora_gate[adapter_name]
        assert isinstance(gate, Gate)
        original = first.setdefault((canonical_module(path)[1], layer.in_features), gate)
        gate.hidden, gate.output = original.hidden, original.output


def _refuse_ungated(model: nn.Module, adapter_name: str) -> None:
    """PEFT gives a layer of a kind that has no gated form plain LoRA, which would go unnoticed.

    Raises:
        DsLoraError: There is such a layer.
    """
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and not isinstance(layer, GatedLinear) and adapter_name in layer.r:
            kind = type(layer.get_base_layer()).__name__
            raise DsLoraError(f"{path} is a {kind}, which has no gated form. Target linear layers (nn.Linear) alone.")


class DsLoraModel(LoraModel):
    """A base model whose target modules are :class:`GatedLinear`, with hooks that hand them the mask.

    Without ``target_modules`` in the configuration the table of ``dslora.architectures`` decides: query and
    value projections of every layer.
    """

    tuner_layer_cls = GatedLinear

    def __init__(self, model: nn.Module, config: Any, adapter_name: str, **kwargs: Any) -> None:
        super().__init__(model, config, adapter_name, **kwargs)
        self._hooks = install_hooks(self.model)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        _refuse_ungated(model, adapter_name)
        if self.peft_config[adapter_name].gate_shared:
            _share_gates(model, adapter_name)

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
