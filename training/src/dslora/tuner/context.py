"""How the attention mask reaches the gates, and the gates reach whoever wants to read them.

A PEFT layer is called with x alone. Hooks on the adapted model put the mask of the running forward pass
where its gated layers find it. The place is a stack for each thread: data-parallel replicas run in threads
of their own, and one adapted model may call another.

Gradient checkpointing runs a layer a second time during backward, when the forward pass is over and another
may have run since. So the checkpoint function of each layer is wrapped once, and carries the mask of the
forward pass that it belongs to.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class GateContext:
    """What the gated layers of one forward pass share.

    Args:
        mask: ``[batch, sequence]``, 1 for real tokens; None when every token is real.
    """

    def __init__(self, mask: Tensor | None) -> None:
        self.mask = mask
        self._pooled_input: Tensor | None = None
        self._pooled: Tensor | None = None

    def pooled(self, x: Tensor) -> Tensor:
        """Mean of x ``[batch, sequence, features]`` over real tokens, in float32: ``[batch, features]``.

        Query and value projections read the same x, so the last result is kept. A row without any real
        token gives zeros.
        """
        if self._pooled is None or self._pooled_input is not x:
            self._pooled_input, self._pooled = x, mean_over_tokens(x, self.mask)
        return self._pooled


def mean_over_tokens(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over real tokens. x ``[batch, sequence, features]``, mask ``[batch, sequence]`` -> ``[batch, features]``."""
    values = x.float()
    if mask is None:
        return values.mean(dim=1)
    weights = mask.to(values.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
    if torch.is_autocast_enabled(x.device.type):
        # Autocast would run the product in bfloat16, too coarse for a mean that a gate must tell apart.
        return (values * weights.unsqueeze(-1)).sum(dim=1)
    # One product with the mask: no masked copy of x is made.
    return torch.matmul(weights.unsqueeze(1), values).squeeze(1)


class _Threads(threading.local):
    def __init__(self) -> None:
        self.contexts: list[GateContext] = []
        self.captures: list[dict[tuple[str, str], Tensor]] = []


_threads = _Threads()


def current_context() -> GateContext | None:
    return _threads.contexts[-1] if _threads.contexts else None


@contextmanager
def _using(context: GateContext) -> Iterator[None]:
    _threads.contexts.append(context)
    try:
        yield
    finally:
        _threads.contexts.pop()


@contextmanager
def capture_gates() -> Iterator[dict[tuple[str, str], Tensor]]:
    """Collects gates of the forward passes inside: ``{(adapter, module path): [batch]}``.

    Values are before ``gate_scale``, in (0, 1), and keep their graph for gradients.
    """
    captured: dict[tuple[str, str], Tensor] = {}
    _threads.captures.append(captured)
    try:
        yield captured
    finally:
        _threads.captures.pop()


def report_gate(adapter: str, module: str, gate: Tensor) -> None:
    if _threads.captures:
        _threads.captures[-1][(adapter, module)] = gate


def attention_mask_of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The ``attention_mask`` that a call passes, by name or by position; None when it passes none.

    Raises:
        ValueError: The mask is not ``[batch, sequence]``: a gate could not tell real tokens from padding.
    """
    mask = kwargs.get("attention_mask")
    if mask is None and args:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs)
        mask = bound.arguments.get("attention_mask")
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        found = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"attention_mask: expected a tensor [batch, sequence], got {found}. DS-LoRA pools over it.")
    return mask


def _enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    mask = attention_mask_of(module, args, kwargs)
    if module.training:
        for layer in module.modules():
            _carry_context_through_checkpoint(layer)
    _threads.contexts.append(GateContext(mask))


def _leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if _threads.contexts:
        _threads.contexts.pop()


def _carry_context_through_checkpoint(layer: nn.Module) -> None:
    function = layer.__dict__.get("_gradient_checkpointing_func")
    if function is not None and not hasattr(function, "carries_gate_context"):
        layer._gradient_checkpointing_func = _carrying(function)  # type: ignore[assignment]


def _carrying(checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(checkpoint)
    def with_context(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = current_context()
        if context is None:
            return checkpoint(function, *args, **kwargs)

        def rerunnable(*inner: Any, **inner_kwargs: Any) -> Any:
            # A context of its own: the pooled mean kept in it belongs to one run, not to both.
            with _using(GateContext(context.mask)):
                return function(*inner, **inner_kwargs)

        return checkpoint(rerunnable, *args, **kwargs)

    with_context.carries_gate_context = True  # type: ignore[attr-defined]
    return with_context


def install_hooks(model: nn.Module) -> list[Any]:
    """Makes every forward pass of ``model`` known to its gated layers. Returns the hooks' handles."""
    return [
        model.register_forward_pre_hook(_enter, with_kwargs=True),
        model.register_forward_hook(_leave, with_kwargs=True, always_call=True),
    ]
