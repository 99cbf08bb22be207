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
from dslora.bases import load_config, load_encoder, resolve_base
from dslora.errors import DsLoraError
from dslora.methods import Method, MethodSettings, find_method
from dslora.methods.peft_method import ADAPTER
from dslora.sparsity import L1Settings
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
        adapter = dict(values["adapter"])
        adapter["target_modules"] = tuple(adapter["target_modules"])
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

    def __init__(self, encoder: Any, spec: ClassifierSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.spec = spec
        hidden_size = encoder.config.get_text_config().hidden_size
        self.dropout = nn.Dropout(spec.head_dropout)
        self.head = nn.Linear(hidden_size, len(spec.labels))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """One pass.

        Args:
            input_ids: int64 ``[batch, sequence]``.
            attention_mask: int64 ``[batch, sequence]``, 1 for real tokens; padding on either side.

        Returns:
            logits ``[batch, labels]`` and gates ``[batch, modules]`` in the order of :meth:`gate_columns`,
            both float32. A method without gates has ``[batch, 0]``.
        """
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

    def trained_state(self) -> dict[str, Tensor]:
        """All that training changes: adapter, gates with their statistics, head. References, not copies."""
        trained = {f"encoder.{name}" for name in self.method.trained_names(self.encoder)}
        return {name: value for name, value in self.state_dict().items() if name in trained or name.startswith("head.")}

    @property
    def method(self) -> Method:
        return find_method(self.spec.method)

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Sets what :meth:`trained_state` returned.

        Raises:
            DsLoraError: Names differ: it belongs to another configuration.
        """
        expected = self.trained_state().keys()
        if expected != state.keys():
            raise DsLoraError(
                "The saved weights belong to another configuration (method, rank, target modules or gate). "
                "Use the settings that they were trained with."
            )
        self.load_state_dict(state, strict=False)

    def save(self, folder: Path) -> None:
        """Writes spec, head and what the method keeps (PEFT's own format where it is a PEFT method)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.method.save(self.encoder, folder / _ADAPTER_FOLDER)
        save_file({k: v.detach().contiguous() for k, v in self.head.state_dict().items()}, folder / _HEAD_FILE)
        text = json.dumps(dataclasses.asdict(self.spec), indent=2) + "\n"
        (folder / _SPEC_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Builds the classifier that :meth:`save` wrote, in evaluation mode.

        Raises:
            DsLoraError: The folder is not one, or its base cannot be loaded.
        """
        spec_file = folder / _SPEC_FILE
        if not spec_file.is_file():
            raise DsLoraError(f"{folder}: no {_SPEC_FILE}. Expected the folder of a model that dslora train wrote.")
        spec = ClassifierSpec.from_json(json.loads(spec_file.read_text(encoding="utf-8")))
        base = _load_base(spec.base)
        method = find_method(spec.method)
        targets = _targets(base, spec)
        encoder = method.load(base, spec.adapter, targets, folder / _ADAPTER_FOLDER, resolve_base(spec.base).id)
        classifier = cls(encoder, spec)
        classifier.head.load_state_dict(load_file(folder / _HEAD_FILE))
        return classifier.eval()


def last_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden state of each row's last real token, whichever side is padded: ``[batch, features]``."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask * positions).argmax(dim=1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


def build_classifier(spec: ClassifierSpec) -> Classifier:
    """A new classifier with untrained adapters and head.

    Seed torch before the call: initial weights are drawn from its generator.

    Raises:
        DsLoraError: The base, the method or a target module is not known.
    """
    method = find_method(spec.method)
    base = _load_base(spec.base)
    encoder = method.attach(base, spec.adapter, _targets(base, spec), resolve_base(spec.base).id)
    return Classifier(encoder, spec)


def default_pooling(base: str) -> Pooling:
    """The architecture table's pooling for a base; mean where the table does not know it."""
    row = ARCHITECTURES.get(load_config(resolve_base(base)).model_type)
    return row.pooling if row else "mean"


def longest_input(base: str) -> int | None:
    """Positions that a base has, special tokens included; None where it has no limit of its own."""
    config = load_config(resolve_base(base))
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None or positions < 1:
        return None
    # RoBERTa and its like number positions from the padding id up.
    padding: int = config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0
    return positions - padding


def _load_base(name: str) -> Any:
    base = load_encoder(resolve_base(name))
    if hasattr(base.config, "use_cache"):
        base.config.use_cache = False
    return base


def _targets(base: Any, spec: ClassifierSpec) -> tuple[str, ...]:
    targets = spec.adapter.target_modules or find_method(spec.method).default_targets(base.config.model_type)
    linear = {name for name, module in base.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if not any(name == target or name.endswith("." + target) for name in linear):
            known = sorted({name.rsplit(".", 1)[-1] for name in linear})
            raise DsLoraError(f"Target module {target!r} is not in the base model. It has: {', '.join(known)}.")
    return targets
