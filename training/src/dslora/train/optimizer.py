"""The optimizer and its schedule: separate groups for adapter, gate and head."""

import math

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from dslora.classifier import Classifier
from dslora.train.settings import TrainSettings


def build_optimizer(classifier: Classifier, settings: TrainSettings) -> AdamW:
    """AdamW over the trainable parameters, in groups named ``adapter``, ``gate`` and ``head``.

    A group without parameters is left out (a method without gates has no gate group).
    """
    members: dict[str, list[torch.nn.Parameter]] = {"adapter": [], "gate": [], "head": []}
    for name, parameter in classifier.named_parameters():
        if not parameter.requires_grad:
            continue
        group = "head" if name.startswith("head.") else "gate" if ".lora_gate." in name else "adapter"
        members[group].append(parameter)
    options = {
        "adapter": {"lr": settings.learning_rate, "weight_decay": 0.0},
        "gate": {"lr": settings.gate_learning_rate, "weight_decay": settings.gate_weight_decay},
        "head": {"lr": settings.head_learning_rate, "weight_decay": settings.weight_decay},
    }
    groups = [{"name": name, "params": params, **options[name]} for name, params in members.items() if params]
    # One kernel for all tensors: gates have many small ones, which cost more to visit than to update.
    return AdamW(groups, fused=True)


def build_schedule(optimizer: AdamW, settings: TrainSettings, total_steps: int) -> LambdaLR:
    """Linear warm-up, then linear or cosine decay to zero at ``total_steps``."""
    warmup = max(1, round(settings.warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return max(0.0, 1 - progress)

    return LambdaLR(optimizer, factor)
