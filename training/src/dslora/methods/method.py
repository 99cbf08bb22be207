"""What a training method is: how it changes a base model, and how what it learnt is kept."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from dslora.bases import BaseSource, load_encoder
from dslora.errors import DsLoraError
from dslora.methods.phase import Phase

# Token ids before and after a text.
Frame = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class MethodSettings:
    """What every method's configuration has.

    Attributes:
        target_modules: Name suffixes of the projections to change; empty: the method's own for the architecture.
    """

    target_modules: tuple[str, ...] = ()


class Method(ABC):
    """One row of the table ``dslora.methods.METHODS``.

    Attributes:
        name: What users type and manifests say.
        summary: One line for help texts.
        gated: Whether answers have gate values.
        sparse: Whether L1 on A and B applies.
        adds_weights: Whether what it trains stands beside the base's own weights, which then stay as they are.
        trains: Whether there is anything to train.
        keeps_stored_weights: Whether a kept model may leave the base's weights in the precision that they are stored
            in, read as float32 (:mod:`dslora.stored_precision`).
        settings: Its configuration class.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    gated: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    adds_weights: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    keeps_stored_weights: ClassVar[bool] = False
    settings: ClassVar[type[MethodSettings]] = MethodSettings

    def default_targets(self, model_type: str) -> tuple[str, ...]:
        """Name suffixes of the projections that it changes in a family; none where it does not choose.

        Raises:
            DsLoraError: The family is not in the table of architectures.
        """
        return ()

    def check_machine(self) -> None:  # noqa: B027, most run anywhere
        """Refuses a machine that the method cannot run on, before anything is loaded.

        Raises:
            DsLoraError: With what is missing.
        """

    def load_base(self, source: BaseSource, settings: Any, dtype: str = "float32") -> Any:
        """The base model in evaluation mode, with the weights that the method works on.

        Raises:
            DsLoraError: It cannot be found, or not be loaded here.
        """
        return load_encoder(source, dtype=dtype)

    def prepared(self, base: Any, settings: Any) -> Any:
        """What :meth:`load_base` would give for a base that is in memory already, in float32. May change it."""
        return base

    def head(
        self, base: Any, source: BaseSource, settings: Any, labels: tuple[str, ...], positive_labels: tuple[str, ...]
    ) -> nn.Linear | None:
        """The linear layer from the last hidden state to the labels, where the method brings one; else it is learnt."""
        return None

    def frame(
        self, tokenizer: Any, settings: Any, labels: tuple[str, ...], positive_labels: tuple[str, ...]
    ) -> Frame | None:
        """What stands around every text, where that is not what the tokenizer puts there."""
        return None

    @abstractmethod
    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        """The base model made ready to train: what the method trains requires gradients, nothing else does.

        Before the first step the result computes what the base computes.

        Args:
            base: In evaluation mode.
            settings: Of the class ``settings``.
            targets: Name suffixes of the projections to change, each known to be in the base.
            base_id: Name of the base for what is published.
        """

    @abstractmethod
    def save(self, encoder: Any, folder: Path) -> None:
        """Writes what was learnt."""

    @abstractmethod
    def load(self, base: Any, settings: Any, targets: tuple[str, ...], folder: Path, base_id: str) -> nn.Module:
        """What :meth:`save` wrote, on a fresh base, bit for bit.

        Raises:
            DsLoraError: The folder holds something else.
        """

    @abstractmethod
    def base_of(self, encoder: Any) -> Any:
        """The transformers model inside, whatever is attached to it."""

    @abstractmethod
    def disabled(self, encoder: Any) -> AbstractContextManager[None]:
        """Inside, the encoder computes exactly what the base computes.

        Raises:
            DsLoraError: The base's own weights were trained.
        """

    @abstractmethod
    def trained_names(self, encoder: Any) -> set[str]:
        """Entries of the encoder's state that training changes, buffers included."""

    def phase(self, encoder: Any, settings: Any, total_steps: int) -> Phase | None:
        """What has to happen between optimizer steps, if anything."""
        return None

    def exportable(self, encoder: Any) -> nn.Module:
        """The same function made of plain float32 layers and adapters beside them. May change ``encoder``."""
        return encoder  # type: ignore[no-any-return]

    def remarks(self, encoder: Any, settings: Any) -> tuple[str, ...]:
        """What who trains with it should be told of this model, a sentence each."""
        return ()

    @abstractmethod
    def merged(self, encoder: Any) -> nn.Module:
        """A base model with nothing attached that computes the same. May change ``encoder``.

        Raises:
            DsLoraError: What was learnt depends on the input, or is no change of weights.
        """


def target_layers(base: nn.Module, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    """The linear layers whose names end in one of ``targets``, by path, in the model's order."""
    return {
        path: module
        for path, module in base.named_modules()
        if isinstance(module, nn.Linear) and any(path == target or path.endswith("." + target) for target in targets)
    }


class MergeError(DsLoraError):
    """What was learnt cannot be written into the base's weights."""
