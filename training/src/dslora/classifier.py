"""A text classifier: a frozen base with adapters, a pooled last hidden state and a linear head."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dslora.architectures import ARCHITECTURES, Pooling, canonical_module
from dslora.bases import load_config, outline_encoder, resolve_base
from dslora.errors import DsLoraError
from dslora.methods import Method, MethodSettings, find_method
from dslora.methods.method import target_layers
from dslora.methods.peft_method import ADAPTER
from dslora.sharding import copy_whole, is_sharded, whole
from dslora.sparsity import L1Settings
from dslora.stored_precision import read_in_float32
from dslora.tuner import GatedLinear, capture_gates
from dslora.tuner.context import mean_over_tokens

_SPEC_FILE = "classifier.json"
_HEAD_FILE = "head.safetensors"
_ADAPTER_FOLDER = "adapter"
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "mpnet")


class GateColumn(NamedTuple):
    """What one column of the gates means: canonical names, as in a bundle's manifest."""

    layer: int
    module: str


@dataclass(frozen=True)
class ClassifierSpec:
    """Everything needed to build the classifier again, besides its weights.

    Attributes:
        base: The base as the user named it: packaged name, Hub id or folder.
        method: Name in ``dslora.methods.METHODS``.
        labels: In output order.
        positive_labels: Those that mean offensive.
        normalization: Step names, in order (``docs/bundle.md``).
        adapter: Configuration of the method, of the method's own class.
        max_tokens: Longest window, special tokens included.
        window_overlap: Tokens that neighbouring windows of a long text share.
        pooling: ``mean`` over real tokens or the ``last`` real token.
        l1: The penalty that trained them, if any.
        head_dropout: Dropout on the pooled state while training.
    """

    base: str
    method: str
    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    normalization: tuple[str, ...]
    adapter: MethodSettings
    max_tokens: int = 128
    window_overlap: int = 32
    pooling: Pooling = "mean"
    l1: L1Settings | None = None
    head_dropout: float = 0.1

    def __post_init__(self) -> None:
        settings = find_method(self.method).settings
        if type(self.adapter) is not settings:
            raise DsLoraError(
                f"Method {self.method} is configured by {settings.__name__}, not by {type(self.adapter).__name__}."
            )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ClassifierSpec":
        values = dict(values)
        for name in ("labels", "positive_labels", "normalization"):
            values[name] = tuple(values[name])
        adapter = {k: tuple(v) if isinstance(v, list) else v for k, v in values["adapter"].items()}
        values["adapter"] = find_method(values["method"]).settings(**adapter)
        values["l1"] = L1Settings(**values["l1"]) if values["l1"] else None
        return cls(**values)


class Classifier(nn.Module):
    """``input_ids, attention_mask -> logits, gates``.

    Attributes:
        encoder: The base model with what the method attached to it.
        head: Linear layer from the pooled hidden state to the labels.
        spec: How it was built.
    """

    def __init__(self, encoder: Any, spec: ClassifierSpec, head: nn.Linear | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.spec = spec
        # FSDP divides a model at these layers.
        self._no_split_modules = getattr(encoder, "_no_split_modules", None)
        hidden_size = encoder.config.get_text_config().hidden_size
        self.dropout = nn.Dropout(spec.head_dropout)
        if head is None:
            head = nn.Linear(hidden_size, len(spec.labels))
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        self.head = head.requires_grad_(self.method.trains)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """One pass.

        Args:
            input_ids: int64 ``[batch, sequence]``.
            attention_mask: int64 ``[batch, sequence]``, 1 for real tokens; padding on either side.

        Returns:
            logits ``[batch, labels]`` and gates ``[batch, modules]`` in the order of :meth:`gate_columns`,
            both float32. A method without gates has ``[batch, 0]``.

        Raises:
            ValueError: A row is nothing but padding, while not training: there is no answer for it.
        """
        if not self.training and not torch.compiler.is_exporting() and attention_mask.device.type != "meta":
            _check_rows(attention_mask)
        with capture_gates() as captured:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.spec.pooling == "mean":
            pooled = mean_over_tokens(hidden, attention_mask)
        else:
            pooled = last_token(hidden, attention_mask).float()
        logits = self.head(self.dropout(pooled.to(self.head.weight.dtype))).float()
        columns = [captured[(ADAPTER, path)] for path in self._gated_paths()]
        gates = torch.stack(columns, dim=1).float() if columns else logits.new_zeros((logits.shape[0], 0))
        return logits, gates

    def gated_layers(self) -> list[GatedLinear]:
        """Gated modules in the model's order, which is the order of gate columns."""
        return [module for module in self.encoder.modules() if isinstance(module, GatedLinear)]

    def _gated_paths(self) -> list[str]:
        return [layer.module_path for layer in self.gated_layers()]

    def gate_columns(self) -> list[GateColumn]:
        """One (layer, module) for each column of the gates."""
        return [GateColumn(*canonical_module(path)) for path in self._gated_paths()]

    def trainable_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def can_checkpoint_activations(self) -> bool:
        """Whether the base can compute its layers again in the backward pass instead of keeping what they made."""
        return bool(self.method.base_of(self.encoder).supports_gradient_checkpointing)

    def check_can_checkpoint_activations(self) -> None:
        """Refuses what it cannot do.

        Raises:
            DsLoraError: It cannot.
        """
        if not self.can_checkpoint_activations:
            raise DsLoraError(
                f"Base model {self.spec.base!r} has no gradient checkpointing in transformers. "
                "Leave --gradient-checkpointing out; --accumulation or a smaller --max-tokens save memory too."
            )

    def checkpoint_activations(self) -> None:
        """Makes the base compute its layers again in the backward pass.

        Raises:
            DsLoraError: It cannot.
        """
        self.check_can_checkpoint_activations()
        self.method.base_of(self.encoder).activation_checkpointing_enable()

    def trained_state(self) -> dict[str, Tensor]:
        """All that training changes: adapter, gates with their statistics, head.

        References, not copies; of weights that FSDP has divided, whole copies on the CPU.
        """
        trained = self._trained_names()
        return {name: whole(value) for name, value in self.state_dict().items() if name in trained}

    def _trained_names(self) -> set[str]:
        head = {f"head.{name}" for name in self.head.state_dict()}
        return head | {f"encoder.{name}" for name in self.method.trained_names(self.encoder)}

    @property
    def is_sharded(self) -> bool:
        """Whether FSDP has divided its weights among processes."""
        return is_sharded(self.parameters())

    @property
    def method(self) -> Method:
        return find_method(self.spec.method)

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Sets what :meth:`trained_state` returned.

        Raises:
            DsLoraError: Names differ: it belongs to another configuration.
        """
        if self._trained_names() != state.keys():
            raise DsLoraError(
                "The saved weights belong to another configuration (method, rank, target modules or gate). "
                "Use the settings that they were trained with."
            )
        own = self.state_dict()
        for name, values in state.items():
            copy_whole(own[name], values)

    def save(self, folder: Path, state: dict[str, Tensor] | None = None) -> None:
        """Writes spec, head and what the method keeps (PEFT's own format where it is a PEFT method).

        Args:
            folder: Where to.
            state: What :meth:`trained_state` returned, where this process has only a part of the weights.
        """
        if state is not None and self.is_sharded:
            outline = outline_classifier(self.spec)
            outline.load_state_dict(state, strict=False, assign=True)
            outline.save(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.method.save(self.encoder, folder / _ADAPTER_FOLDER)
        save_file({k: v.detach().contiguous() for k, v in self.head.state_dict().items()}, folder / _HEAD_FILE)
        text = json.dumps(dataclasses.asdict(self.spec), indent=2) + "\n"
        (folder / _SPEC_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Builds the classifier that :meth:`save` wrote, in evaluation mode, on the CPU.

        It computes in float32. A base of fewer bits stays in memory as it is stored, where the method leaves it as it
        is.

        Raises:
            DsLoraError: The folder is not one, or its base cannot be loaded.
        """
        spec_file = folder / _SPEC_FILE
        if not spec_file.is_file():
            raise DsLoraError(f"{folder}: no {_SPEC_FILE}. Expected the folder of a model that dslora train wrote.")
        spec = ClassifierSpec.from_json(json.loads(spec_file.read_text(encoding="utf-8")))
        method = find_method(spec.method)
        source = resolve_base(spec.base)
        # A GGUF file is read as a whole, and its weights are dequantised anyway.
        as_stored = method.keeps_stored_weights and source.gguf_file is None
        base = _load_base(spec, "auto" if as_stored else "float32")
        if as_stored:
            read_in_float32(base)
        targets = _targets(base, spec)
        encoder = method.load(base, spec.adapter, targets, folder / _ADAPTER_FOLDER, source.id)
        classifier = cls(encoder, spec)
        classifier.head.load_state_dict(load_file(folder / _HEAD_FILE))
        # Four-bit weights are packed on a GPU where there is one, and stay there.
        return classifier.cpu().eval()


def _check_rows(attention_mask: Tensor) -> None:
    real = attention_mask.bool().any(dim=1)
    if not bool(real.all()):
        row = int((~real).nonzero()[0])
        raise ValueError(
            f"attention_mask: row {row} of {len(real)} is nothing but padding, so there is no text to classify. "
            "Expected at least one real token in each row; leave the row out."
        )


def last_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden state of each row's last real token, whichever side is padded: ``[batch, features]``."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask * positions).argmax(dim=1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


def build_classifier(spec: ClassifierSpec, base_dtype: str = "float32") -> Classifier:
    """A new classifier with untrained adapters and head.

    Seed torch before the call: initial weights are drawn from its generator.

    Args:
        spec: What to build.
        base_dtype: Of the base's weights, by torch's name. What is trained is float32 in any case.

    Raises:
        DsLoraError: The base, the method or a target module is not known.
    """
    method, source = find_method(spec.method), resolve_base(spec.base)
    if base_dtype != "float32" and not method.adds_weights:
        raise DsLoraError(
            f"Method {method.name} trains the base's own weights, which must be float32. Leave --base-precision out."
        )
    base = _load_base(spec, base_dtype)
    head = method.head(base, source, spec.adapter, spec.labels, spec.positive_labels)
    encoder = method.attach(base, spec.adapter, _targets(base, spec), source.id)
    return Classifier(encoder, spec, head)


def outline_classifier(spec: ClassifierSpec, config: Any = None) -> Classifier:
    """The same without any weights (on the meta device), from the base's configuration alone.

    Args:
        spec: What to build.
        config: The base's configuration, where it need not be looked up.

    Raises:
        DsLoraError: The base, the method or a target module is not known.
    """
    method, source = find_method(spec.method), resolve_base(spec.base)
    with torch.device("meta"):
        base = outline_encoder(config or load_config(source))
        encoder = method.attach(base, spec.adapter, _targets(base, spec), source.id)
        return Classifier(encoder, spec)


def default_pooling(base: str) -> Pooling:
    """The architecture table's pooling for a base; for others the last token of causal decoders, the mean of the rest.

    Of a decoder's tokens, only the last has seen the whole text.
    """
    config = load_config(resolve_base(base))
    row = ARCHITECTURES.get(config.model_type)
    if row is not None:
        return row.pooling
    return "last" if _is_causal_decoder(config) else "mean"


def longest_input(config: Any) -> int | None:
    """Positions that a base of this configuration has, special tokens included; None where it has no limit."""
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None or positions < 1:
        return None
    # RoBERTa and its like number positions from the padding id up.
    padding: int = config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0
    return positions - padding


def _is_causal_decoder(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    # Of most encoders transformers has a causal form too (BERT), but what is trained to fill masks is no decoder. What
    # config.is_decoder says does not tell: it is false of GPT-NeoX.
    return (
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not config.is_encoder_decoder
    )


def _load_base(spec: ClassifierSpec, dtype: str = "float32") -> Any:
    base = find_method(spec.method).load_base(resolve_base(spec.base), spec.adapter, dtype)
    if hasattr(base.config, "use_cache"):
        base.config.use_cache = False
    return base


def _targets(base: Any, spec: ClassifierSpec) -> tuple[str, ...]:
    targets = spec.adapter.target_modules or find_method(spec.method).default_targets(base.config.model_type)
    for target in targets:
        if target_layers(base, (target,)):
            continue
        linear = {name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear)}
        others = {type(m).__name__ for name, m in base.named_modules() if f".{name}".endswith(f".{target}")}
        what = f"is a {others.pop()}, not a linear layer," if others else "is not"
        raise DsLoraError(
            f"Target module {target!r} {what} in the base model. Its linear layers: "
            f"{', '.join(sorted(linear)) or 'none'}."
        )
    return targets
