"""Methods that PEFT does not have: what they train is saved as named weights of the encoder."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from dslora.errors import DsLoraError
from dslora.methods.method import Method

_FILE = "weights.safetensors"


class TrainedWeightsMethod(Method):
    """The encoder is the base model itself, changed in place; what requires gradients is what is kept."""

    def save(self, encoder: Any, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state = encoder.state_dict()
        save_file({name: state[name].contiguous() for name in self.trained_names(encoder)}, folder / _FILE)

    def load(self, base: Any, settings: Any, targets: tuple[str, ...], folder: Path, base_id: str) -> nn.Module:
        encoder = self.attach(base, settings, targets, base_id)
        weights = load_file(folder / _FILE)
        if weights.keys() != self.trained_names(encoder):
            raise DsLoraError(f"{folder / _FILE}: its weights are not those that method {self.name} trains.")
        encoder.load_state_dict(weights, strict=False)
        return encoder

    def base_of(self, encoder: Any) -> Any:
        return encoder

    def trained_names(self, encoder: Any) -> set[str]:
        return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
