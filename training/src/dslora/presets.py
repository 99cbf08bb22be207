"""Bases whose shape is known here, so that a plan for them downloads nothing."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """One row of the table.

    Attributes:
        id: On the Hub.
        model_type: transformers' name of the architecture.
        license: SPDX id, or the name of a licence that has none.
        gated: Whether the Hub gives the weights only to who has accepted the licence.
        figures: Of the published configuration, by transformers' names.
        recommended: Settings for training on one device, by their option names.
    """

    id: str
    model_type: str
    license: str
    figures: dict[str, Any]
    recommended: dict[str, Any] = field(default_factory=dict)
    gated: bool = False

    def config(self) -> Any:
        """A configuration with the published figures."""
        from transformers import AutoConfig

        return AutoConfig.for_model(self.model_type, **self.figures)

    def options(self, without: Container[str] = ()) -> str:
        """The recommended settings as they are typed, without those that a method does not take."""
        typed = [
            f"--{name}" if value is True else f"--{name} {value}"
            for name, value in self.recommended.items()
            if value is not False and name not in without
        ]
        return " ".join(typed)


def _encoder(vocabulary: int, hidden: int, layers: int, heads: int, positions: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": positions,
        **more,
    }


def _decoder(
    vocabulary: int, hidden: int, layers: int, heads: int, key_value_heads: int, intermediate: int, **more: Any
) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": 8192,
        **more,
    }


_SMALL = {"batch-size": 16}
_LARGE = {"base-precision": "bf16", "precision": "bf16", "gradient-checkpointing": True, "batch-size": 16}

PRESETS: dict[str, Preset] = {
    "minilm": Preset(
        "sentence-transformers/all-MiniLM-L6-v2", "bert", "Apache-2.0", _encoder(30522, 384, 6, 12, 512), _SMALL
    ),
    "roberta-base": Preset(
        "FacebookAI/roberta-base",
        "roberta",
        "MIT",
        _encoder(50265, 768, 12, 12, 514, type_vocab_size=1, pad_token_id=1),
        _SMALL,
    ),
    "xlm-r-base": Preset(
        "FacebookAI/xlm-roberta-base",
        "xlm-roberta",
        "MIT",
        _encoder(250002, 768, 12, 12, 514, type_vocab_size=1, pad_token_id=1),
        _SMALL,
    ),
    "mdeberta-v3-base": Preset(
        "microsoft/mdeberta-v3-base",
        "deberta-v2",
        "MIT",
        _encoder(
            251000,
            768,
            12,
            12,
            512,
            type_vocab_size=0,
            relative_attention=True,
            position_buckets=256,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type="p2c|c2p",
            position_biased_input=False,
            max_relative_positions=-1,
        ),
        # Its query projection reads relative positions too, which have no gate.
        {**_SMALL, "target-modules": "value_proj"},
    ),
    "modernbert-base": Preset(
        "answerdotai/ModernBERT-base",
        "modernbert",
        "Apache-2.0",
        _encoder(
            50368,
            768,
            22,
            12,
            8192,
            intermediate_size=1152,
            global_attn_every_n_layers=3,
            local_attention=128,
            pad_token_id=50283,
            bos_token_id=50281,
            cls_token_id=50281,
            eos_token_id=50282,
            sep_token_id=50282,
        ),
        # Query, key and value are one matrix, which is adapted as a whole.
        {**_SMALL, "target-modules": "Wqkv"},
    ),
    "smollm2-135m": Preset(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llama",
        "Apache-2.0",
        _decoder(49152, 576, 30, 9, 3, 1536, tie_word_embeddings=True),
        _SMALL,
    ),
    "llama3-8b": Preset(
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "llama",
        "Meta Llama 3 Community License",
        _decoder(128256, 4096, 32, 32, 8, 14336),
        _LARGE,
        gated=True,
    ),
    "gemma-7b": Preset(
        "google/gemma-7b-it",
        "gemma",
        "Gemma Terms of Use",
        _decoder(256000, 3072, 28, 16, 16, 24576, head_dim=256, tie_word_embeddings=True),
        _LARGE,
        gated=True,
    ),
}


def find_preset(name: str) -> Preset | None:
    """The table's row of a short name or a Hub id; None where there is none."""
    return PRESETS.get(name) or next((preset for preset in PRESETS.values() if preset.id == name), None)
