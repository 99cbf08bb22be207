"""Methods that are PEFT tuners: PEFT attaches, saves and loads them in its own format."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from dslora.architectures import architecture
from dslora.errors import DsLoraError
from dslora.methods.method import Method, target_layers
from dslora.stored_precision import become_float32

ADAPTER = "default"


class PeftMethod(Method):
    """A configuration for PEFT is all that a method of this kind has to give."""

    keeps_stored_weights = True

    @abstractmethod
    def configure(self, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        """PEFT's configuration."""

    def configuration(self, base: Any, settings: Any, targets: tuple[str, ...]) -> PeftConfig:
        """The same where it depends on the base's shapes."""
        return self.configure(settings, targets)

    def default_targets(self, model_type: str) -> tuple[str, ...]:
        return architecture(model_type).targets

    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        _check_ranks(base, settings, targets)
        encoder = get_peft_model(base, self.configuration(base, settings, targets))
        # What is saved and published must name the base, not a folder of this machine.
        encoder.peft_config[ADAPTER].base_model_name_or_path = base_id
        return encoder  # type: ignore[no-any-return]

    def save(self, encoder: Any, folder: Path) -> None:
        # False: the base is frozen, and PEFT would otherwise ask the Hub whether its vocabulary changed.
        encoder.save_pretrained(folder, save_embedding_layers=False)
        # PEFT's generated card is a form with nothing filled in.
        (folder / "README.md").unlink(missing_ok=True)

    def load(self, base: Any, settings: Any, targets: tuple[str, ...], folder: Path, base_id: str) -> nn.Module:
        return PeftModel.from_pretrained(base, folder)  # type: ignore[no-any-return]

    def base_of(self, encoder: Any) -> Any:
        return encoder.get_base_model()

    def disabled(self, encoder: Any) -> AbstractContextManager[None]:
        return encoder.disable_adapter()  # type: ignore[no-any-return]

    def trained_names(self, encoder: Any) -> set[str]:
        return {name for name in encoder.state_dict() if "lora_" in name}

    def merged(self, encoder: Any) -> nn.Module:
        for layer in list(encoder.modules()):
            if isinstance(layer, BaseTunerLayer):
                become_float32(layer.get_base_layer())
        return encoder.merge_and_unload()  # type: ignore[no-any-return]


def _check_ranks(base: Any, settings: Any, targets: tuple[str, ...]) -> None:
    """A rank above the smaller side of a layer costs more parameters than the layer has, and adds nothing.

    Raises:
        DsLoraError: Such a rank was asked for.
    """
    rank = max(getattr(settings, name, 0) for name in ("rank", "initial_rank"))
    for path, layer in target_layers(base, targets).items():
        largest = min(layer.in_features, layer.out_features)
        if rank > largest:
            raise DsLoraError(
                f"Rank {rank} is larger than layer {path} ({layer.in_features} to {layer.out_features}), whose rank is "
                f"at most {largest}. Lower --rank{' and --initial-rank' if hasattr(settings, 'initial_rank') else ''}."
            )
