"""What happens to trained weights between optimizer steps, besides the optimizer's own work."""

from typing import Any, Protocol


class Phase(Protocol):
    """Steps count from 0. A resumed run calls on from the step it stopped at."""

    def before_step(self, step: int) -> None:
        """Before the gradients of optimizer step ``step`` are computed."""

    def add_gradients(self, step: int) -> None:
        """Adds to the gradients of cross-entropy what the loss of this step has besides it."""

    def after_step(self, step: int, learning_rate: float) -> None:
        """After the optimizer's step, with the learning rate that it used and while gradients are still there."""

    def settled(self, step: int) -> bool:
        """Whether a model after ``step`` steps is what the method promises, so that it may count as the best."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beyond the weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Sets what :meth:`state_dict` returned."""
