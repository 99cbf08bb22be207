"""What the package knows of model architectures: which projections to adapt, how to name and pool them."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from dslora.errors import DsLoraError

Pooling = Literal["mean", "last"]


@dataclass(frozen=True)
class Architecture:
    """One row of the table, by transformers' ``model_type``.

    Attributes:
        targets: Suffixes of the query and value projections' names.
        outputs: Suffixes of the names of the projections that end attention and feed-forward.
        pooling: Hidden state that the head reads: ``mean`` over real tokens, or the ``last`` real token.
    """

    targets: tuple[str, ...]
    outputs: tuple[str, ...]
    pooling: Pooling


# "output.dense" is both attention.output.dense and the feed-forward's own.
_ENCODER = Architecture(("query", "value"), ("output.dense",), "mean")
_DECODER = Architecture(("q_proj", "v_proj"), ("o_proj", "down_proj"), "last")

ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra", "xlm-roberta-xl", "roberta-prelayernorm"),
        _ENCODER,
    ),
    "distilbert": Architecture(("q_lin", "v_lin"), ("out_lin", "lin2"), "mean"),
    "mpnet": Architecture(("attn.q", "attn.v"), ("attn.o", "output.dense"), "mean"),
    "deberta-v2": Architecture(("query_proj", "value_proj"), ("output.dense",), "mean"),
    # A mixture of experts has its feed-forward in one tensor: attention's output is what can be adapted.
    "mixtral": Architecture(("q_proj", "v_proj"), ("o_proj",), "last"),
    "starcoder2": Architecture(("q_proj", "v_proj"), ("o_proj", "c_proj"), "last"),
    "phi": Architecture(("q_proj", "v_proj"), ("self_attn.dense", "fc2"), "last"),
    "opt": Architecture(("q_proj", "v_proj"), ("out_proj", "fc2"), "last"),
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "olmo2",
            "smollm3",
            "cohere",
        ),
        _DECODER,
    ),
}

# Families whose projections are one matrix: a gate of query alone would need slices of it.
FUSED: dict[str, str] = {
    "modernbert": "Wqkv",
    "phi3": "qkv_proj",
    "gpt2": "c_attn",
    "gpt_neox": "query_key_value",
}

# What ends attention and feed-forward there: these are matrices of their own.
_OUTPUTS_OF_FUSED: dict[str, tuple[str, ...]] = {
    "modernbert": ("Wo",),
    "phi3": ("o_proj", "down_proj"),
    "gpt_neox": ("attention.dense", "dense_4h_to_h"),
}

# Of these, the ones whose matrix is no nn.Linear but stored the other way round.
_CONV1D = frozenset({"gpt2"})

_CANONICAL = {
    "query": ("query", "q_lin", "q_proj", "query_proj", "q"),
    "key": ("key", "k_lin", "k_proj", "key_proj", "k"),
    "value": ("value", "v_lin", "v_proj", "value_proj", "v"),
    "qkv": ("Wqkv", "qkv_proj", "c_attn", "query_key_value", "in_proj"),
    "output": ("out_lin", "o_proj", "o", "Wo"),
    "up": ("up_proj", "lin1"),
    "gate": ("gate_proj",),
    "down": ("down_proj", "lin2"),
}
_NAME_OF = {name: canonical for canonical, names in _CANONICAL.items() for name in names}


def default_target_modules(model_type: str) -> tuple[str, ...]:
    """Name suffixes of the query and value projections of a family.

    Raises:
        DsLoraError: The family is not in the table, or has one fused projection.
    """
    return architecture(model_type).targets


def output_projections(model_type: str) -> tuple[str, ...]:
    """Name suffixes of the projections that end attention and feed-forward of a family.

    Raises:
        DsLoraError: The family is not in the table.
    """
    return _OUTPUTS_OF_FUSED.get(model_type) or architecture(model_type).outputs


def architecture(model_type: str) -> Architecture:
    """The table's row of a ``model_type``.

    Raises:
        DsLoraError: The family is not in the table, or has one fused projection.
    """
    row = ARCHITECTURES.get(model_type)
    if row is not None:
        return row
    if model_type in FUSED:
        layer = FUSED[model_type]
        remedy = (
            "a Conv1D, which is not adapted. Use another base model."
            if model_type in _CONV1D
            else f"so there is no query and value to adapt apart. Adapt all three as one module with one gate "
            f"(--target-modules {layer}), or use a base model with projections of their own."
        )
        raise DsLoraError(f"Model type {model_type!r} computes query, key and value in one matrix ({layer}), {remedy}")
    raise DsLoraError(
        f"Model type {model_type!r} has no default target modules. Name them (--target-modules), or use one of: "
        f"{', '.join(sorted(ARCHITECTURES))}."
    )


def reads_positions(config: Any, path: str) -> bool:
    """Whether a projection reads relative positions beside the texts, as DeBERTa's do.

    Args:
        config: The base's.
        path: Of the projection.
    """
    if config.model_type != "deberta-v2":
        return False
    shared = ("query_proj", "key_proj") if getattr(config, "share_att_key", False) else ()
    return path.rsplit(".", 1)[-1] in (*shared, "pos_query_proj", "pos_key_proj")


def canonical_module(path: str) -> tuple[int, str]:
    """``encoder.layer.3.attention.self.query`` -> ``(3, "query")``: what manifests and answers call a module.

    The layer is the first number in the path; 0 where there is none. A projection that the table does not
    know keeps its own last name.
    """
    number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    last = path.rsplit(".", 1)[-1]
    if last == "dense":
        # BERT's names: attention.output.dense, intermediate.dense, output.dense.
        last = "output" if "attention.output" in path else ("up" if "intermediate" in path else "down")
    return int(number.group(1)) if number else 0, _NAME_OF.get(last, last)
