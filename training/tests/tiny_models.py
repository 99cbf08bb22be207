"""Tiny random models of several families, so that tests need no download and little time."""

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    Gemma2Config,
    Gemma2Model,
    Gemma3TextConfig,
    Gemma3TextModel,
    GemmaConfig,
    GemmaModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    OPTConfig,
    OPTModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

_ENCODER = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
}
DECODER = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
    "use_cache": False,
}
# The middle layer sees all. By Gemma 3's own pattern the sixth would be the first that does.
_TWO_WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]

ENCODERS: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**_ENCODER), add_pooling_layer=False),
    "roberta": lambda: RobertaModel(RobertaConfig(**_ENCODER), add_pooling_layer=False),
}
DECODERS: dict[str, Any] = {
    "llama": lambda: LlamaModel(LlamaConfig(**DECODER)),
    # Windows are shorter than the texts, or they would hide nothing.
    "mistral": lambda: MistralModel(MistralConfig(**DECODER, sliding_window=16)),
    "qwen2": lambda: Qwen2Model(Qwen2Config(**DECODER)),
    # Random weights make small scores: of a cap of 50 and a scale of 1 / 16, its defaults, nothing would be seen.
    "gemma2": lambda: Gemma2Model(
        Gemma2Config(**DECODER, head_dim=8, query_pre_attn_scalar=8, sliding_window=16, attn_logit_softcapping=0.5)
    ),
}
# Families that only their graphs are tested with: the tuner sees nothing new in them.
MORE_ENCODERS: dict[str, Any] = {
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**_ENCODER), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=24, max_position_embeddings=80)
    ),
    "mpnet": lambda: MPNetModel(MPNetConfig(**_ENCODER), add_pooling_layer=False),
    "camembert": lambda: CamembertModel(CamembertConfig(**_ENCODER), add_pooling_layer=False),
    "electra": lambda: ElectraModel(ElectraConfig(**_ENCODER, embedding_size=16)),
    "deberta-v2": lambda: DebertaV2Model(
        DebertaV2Config(**_ENCODER, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16)
    ),
    # Of four layers, so that there are two with a window of 16 tokens between two that see all.
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(**{**_ENCODER, "num_hidden_layers": 4}, pad_token_id=1, local_attention=16)
    ),
}
MORE_DECODERS: dict[str, Any] = {
    "qwen3": lambda: Qwen3Model(Qwen3Config(**DECODER, head_dim=4)),
    "gemma": lambda: GemmaModel(GemmaConfig(**DECODER, head_dim=4)),
    "gemma3": lambda: Gemma3TextModel(
        Gemma3TextConfig(**DECODER, head_dim=4, sliding_window=16, layer_types=_TWO_WINDOWS)
    ),
}


def tiny(family: str, seed: int = 0) -> Any:
    """A random base model of a family, in evaluation mode."""
    torch.manual_seed(seed)
    return (ENCODERS | DECODERS | MORE_ENCODERS | MORE_DECODERS)[family]().eval()


def tiny_deberta() -> Any:
    """DeBERTa as mDeBERTa and DeBERTa v3 are: relative positions go through the projections of query and key."""
    torch.manual_seed(0)
    relative = {"relative_attention": True, "position_buckets": 16, "pos_att_type": "p2c|c2p", "share_att_key": True}
    shape = {"type_vocab_size": 0, "position_biased_input": False, "norm_rel_ebd": "layer_norm"}
    return DebertaV2Model(DebertaV2Config(**_ENCODER, **relative, **shape)).eval()


def tiny_opt() -> Any:
    """OPT, which registers its last norm before its layers."""
    torch.manual_seed(0)
    return OPTModel(OPTConfig(**{**_ENCODER, "ffn_dim": 24, "word_embed_proj_dim": 16})).eval()


def randomize(model: torch.nn.Module, seed: int = 1) -> None:
    """Gives adapters and gates values as after training: B is zero at the start, so nothing would show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3, generator=generator)


def batch(rows: list[int], seed: int = 2, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids of the given lengths, padded: (input_ids, attention_mask)."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(rows)
    ids = torch.ones((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(rows):
        where = slice(longest - length, longest) if left else slice(0, length)
        ids[row, where] = torch.randint(5, 50, (length,), generator=generator)
        mask[row, where] = 1
    return ids, mask
