"""The configuration of a DS-LoRA adapter, as PEFT saves it in ``adapter_config.json``."""

from dataclasses import dataclass, field
from typing import Literal

from peft import LoraConfig

from dslora.errors import DsLoraError

PEFT_TYPE = "DS_LORA"

# Options of LoraConfig that change what a LoRA layer computes. A gate on top of them is not defined
# by the paper, so they are refused rather than combined in silence.
_UNSUPPORTED = ("use_dora", "lora_bias", "target_parameters", "layer_replication", "trainable_token_indices")


@dataclass
class DsLoraConfig(LoraConfig):
    """LoRA whose contribution is scaled by a learned gate: ``h = W0 x + s * g(x) * (alpha / r) * B A x``.

    ``r``, ``lora_alpha``, ``lora_dropout``, ``target_modules`` and the rest mean what they mean in
    :class:`peft.LoraConfig`.

    Args:
        gate_kind: ``learned`` is the paper's. ``parameter-free`` learns nothing: ``sigmoid`` of how unusual x is to
            the module, ``mean over features of ((x - mean) / std)^2``, standardised over texts. Its statistics come
            from :func:`dslora.tuner.statistics.fit_gate_statistics`; ``gate_hidden`` and what follows do not apply.
        gate_hidden: Width d of the gate's hidden layer. 0 is the linear gate ``sigmoid(Wg x + bg)``;
            above 0 it is ``sigmoid(W2 relu(W1 x + b1) + b2)``. The paper's best is 16.
        gate_pooling: ``instance``: one gate a text and module, from the mean of x over its real tokens
            (our reading of the paper). ``token``: one gate a token, reported as the mean over real tokens.
        gate_scale: Factor s on the gate. 1 is the paper. With 2, a gate that starts at 0.5 starts as LoRA.
        gate_bias_init: Start of the last bias. 0 starts gates at 0.5; 3 starts them at 0.95.
        gate_weight_init_std: Standard deviation of the last layer's weights at the start.
        gate_standardize: Give the gate ``(x - mean) / std`` with statistics of the base model that
            :func:`dslora.tuner.statistics.fit_gate_statistics` measures once. It is an affine map, so the
            exporter folds it into W1. Without it the part of x that all texts share drowns what differs.
        gate_dropout: Dropout on the gate's input and on its hidden layer.
        gate_shared: Modules of one name share one gate over all layers. Statistics stay each module's own.
        magnitude: Learn a magnitude for each output beside the direction, as DoRA does (see ``GatedLinear``).

    Raises:
        DsLoraError: An option is out of range, or one of LoRA's that a gate cannot be combined with.
    """

    gate_kind: Literal["learned", "parameter-free"] = field(
        default="learned", metadata={"help": "learned or parameter-free"}
    )
    gate_hidden: int = field(default=16, metadata={"help": "Hidden width of the gate; 0 is a linear gate."})
    gate_pooling: Literal["instance", "token"] = field(default="instance", metadata={"help": "instance or token"})
    gate_scale: float = field(default=1.0, metadata={"help": "Factor on the gate in the forward pass."})
    gate_bias_init: float = field(default=0.0, metadata={"help": "Start of the gate's last bias."})
    gate_weight_init_std: float = field(default=0.02, metadata={"help": "Start of the gate's last weights."})
    gate_standardize: bool = field(default=False, metadata={"help": "Standardise the gate's input."})
    gate_dropout: float = field(default=0.0, metadata={"help": "Dropout on the gate's input and hidden layer."})
    gate_shared: bool = field(default=False, metadata={"help": "One gate for the modules of one name in all layers."})
    magnitude: bool = field(default=False, metadata={"help": "Learn a magnitude for each output, as DoRA does."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        if self.gate_hidden < 0:
            raise DsLoraError(f"gate_hidden is {self.gate_hidden}; expected 0 (linear gate) or more.")
        if self.gate_kind not in ("learned", "parameter-free"):
            raise DsLoraError(f"gate_kind is {self.gate_kind!r}; expected 'learned' or 'parameter-free'.")
        if self.gate_kind == "parameter-free" and self.gate_shared:
            raise DsLoraError("A parameter-free gate has nothing to share. Leave gate_shared out.")
        if not 0 <= self.gate_dropout < 1:
            raise DsLoraError(f"gate_dropout is {self.gate_dropout}; expected a number from 0 to below 1.")
        if self.gate_pooling not in ("instance", "token"):
            raise DsLoraError(f"gate_pooling is {self.gate_pooling!r}; expected 'instance' or 'token'.")
        if not self.gate_scale > 0:
            raise DsLoraError(f"gate_scale is {self.gate_scale}; expected a number above 0.")
        used = [name for name in _UNSUPPORTED if getattr(self, name, None)]
        if used:
            raise DsLoraError(
                f"DS-LoRA cannot be combined with {', '.join(used)}. Leave these out, or use method lora."
            )
        from dslora.tuner.layer import GATED_LAYERS

        self._register_custom_module(dict(GATED_LAYERS))
