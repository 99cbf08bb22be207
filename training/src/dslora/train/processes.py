"""The processes that share a training: one, or those that ``accelerate launch`` has started.

Accelerate joins them, picks each one's device and wraps the model (DDP, or FSDP 2 where its configuration says so).
What a batch is, and which process computes which part of it, is decided here by position alone, so that any number of
processes takes the same optimizer steps.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, broadcast_object_list, gather_object
from torch import Tensor, nn

from dslora.errors import DsLoraError

Value = TypeVar("Value")


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        DsLoraError: CUDA was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise DsLoraError("Device cuda was asked for, but torch finds no CUDA device. Use --device cpu or auto.")
    return torch.device(name)


def is_main_process() -> bool:
    """Whether this process speaks and writes for all that ``accelerate launch`` has started."""
    return bool(PartialState().is_main_process)


class Processes:
    """This process among those of one training.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DsLoraError: The device is not to be had, or is another than the launcher's.
    """

    def __init__(self, device: str) -> None:
        self._accelerator = Accelerator(
            # Precision is the training's own setting, and so is where tensors lie.
            mixed_precision="no",
            device_placement=False,
            # Buffers (statistics of the gates) are the same everywhere and never change while training.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        )
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        if self.count == 1:
            self.device = resolve_device(device)
            return
        self.device = self._accelerator.device
        if device not in ("auto", self.device.type):
            raise DsLoraError(
                f"--device {device} was asked for, but accelerate gave this process {self.device.type}. "
                "Set ACCELERATE_USE_CPU=true for the CPU, or leave --device out."
            )
        if self.is_fsdp and not self._accelerator.is_fsdp2:
            raise DsLoraError(
                "FSDP 1 flattens trained and frozen weights into one tensor, and L1 needs A and B apart. Set "
                "fsdp_version: 2, as training/launch/fsdp.yaml does."
            )

    @property
    def is_fsdp(self) -> bool:
        """Whether weights and the optimizer's state are divided among the processes."""
        return bool(self._accelerator.distributed_type == DistributedType.FSDP)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def refuse_company(self, method: str) -> None:
        """Refuses more than one process for a method without steps to share, of which each would do all the work.

        Args:
            method: Its name.

        Raises:
            DsLoraError: ``accelerate launch`` has started several.
        """
        if self.count > 1:
            raise DsLoraError(
                f"Method {method} has no steps of training that {self.count} processes could share. Give the "
                "command without accelerate launch."
            )

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model on this process's device, wrapped so that backward passes combine all processes' gradients."""
        if not self.is_fsdp:
            # FSDP moves its parts by itself: the whole may fit on no single device.
            model.to(self.device)
        if self.count == 1:
            return model
        if self.is_fsdp:
            # Accelerate divides a model only beside an optimizer, whose weights it exchanges for their parts. The
            # training's own is made afterwards, of these parts.
            stand_in = torch.optim.SGD([p for p in model.parameters() if p.requires_grad])
            return self._accelerator.prepare(model, stand_in, device_placement=[False, False])[0]  # type: ignore[no-any-return]
        wrapped: nn.Module = self._accelerator.prepare(model, device_placement=[False])
        return wrapped

    def no_sync(self, model: nn.Module) -> Any:
        """Inside, gradients are added up in this process and not combined yet."""
        return self._accelerator.no_sync(model)

    def sum(self, value: Tensor) -> Tensor:
        """Over all processes."""
        if self.count == 1:
            return value
        summed: Tensor = self._accelerator.reduce(value.clone(), reduction="sum")
        return summed

    def gather(self, value: Value) -> list[Value]:
        """Every process's value, by rank. Anything that can be pickled."""
        if self.count == 1:
            return [value]
        gathered: list[Value] = gather_object([value])
        return gathered

    def from_main(self, value: Value) -> Value:
        """The main process's value."""
        if self.count == 1:
            return value
        values = [value]
        broadcast_object_list(values)
        return values[0]

    def from_main_or_raise(self, ask: Callable[[], Value]) -> Value:
        """What ``ask`` returns in the main process, which alone calls it. Its error is raised in all of them."""
        if self.count == 1:
            return ask()
        answer: tuple[Value | None, str] = (None, "")
        if self.is_main:
            try:
                answer = (ask(), "")
            except DsLoraError as error:
                answer = (None, str(error))
        value, problem = self.from_main(answer)
        if problem:
            raise DsLoraError(problem)
        return value  # type: ignore[return-value]

    def wait(self) -> None:
        """Until all processes are here."""
        self._accelerator.wait_for_everyone()

    def parts(self, batch: list[int], part_size: int) -> list[list[int]]:
        """The parts of a batch that this process computes, one after another.

        Every process has the same number of them, since each is a collective; where rows do not go round, a part
        is empty. Neighbours in a batch are of similar length, so taking every n-th row gives all the same work.
        """
        own = batch[self.rank :: self.count]
        largest = len(batch[:: self.count])
        count = -(-largest // part_size)
        return [own[i * part_size : (i + 1) * part_size] for i in range(count)]
