"""What the processes of a launch cannot train together: refused before a base is loaded."""

from dslora.classifier import ClassifierSpec
from dslora.errors import DsLoraError
from dslora.methods import Method, find_method
from dslora.train.processes import Processes
from dslora.train.settings import TrainSettings


def check_launch(spec: ClassifierSpec, settings: TrainSettings, processes: Processes) -> None:
    """Refuses what these processes cannot train together.

    Raises:
        DsLoraError: A batch cannot be divided among them, or FSDP would divide what is needed whole.
    """
    settings.part_size(processes.count)
    if processes.is_fsdp and processes.count > 1:
        _check_sharding(spec)


def _check_sharding(spec: ClassifierSpec) -> None:
    method = find_method(spec.method)
    # What a method does between steps reads and changes weights as they are.
    if type(method).phase is not Method.phase:
        raise DsLoraError(f"Method {method.name} needs whole weights between steps. Train it with DDP, not with FSDP.")
    if method.sparse and spec.l1 is not None and spec.l1.unit == "component":
        raise DsLoraError(
            "L1 by component needs whole rows of A and columns of B, and FSDP divides both among processes. "
            "Train it with DDP, or with --l1-unit element."
        )
    if method.gated and getattr(spec.adapter, "gate_shared", False):
        raise DsLoraError(
            "With --gate-shared one gate belongs to all layers, and FSDP divides a model layer by layer. "
            "Train it with DDP, or leave --gate-shared out."
        )
