"""A local base model as a user would have one: a tiny BERT with a word tokenizer, saved to a folder."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_models import DECODER, tiny

WORDS = [f"w{i}" for i in range(40)]


def make_base(folder: Path, model: Any = None) -> str:
    """Writes it, or another model, and returns the folder's path."""
    (model or tiny("bert")).save_pretrained(folder)
    _word_tokenizer().save_pretrained(folder)
    return str(folder)


def make_language_model(folder: Path, *, tied: bool, chat: bool = False) -> str:
    """Writes a tiny Llama with its output layer and returns the folder's path."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**DECODER, tie_word_embeddings=tied))
    for parameter in model.parameters():
        if parameter.dim() == 2:
            # Larger than a fresh model's, so that texts are told apart.
            torch.nn.init.normal_(parameter, std=0.3)
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer = _word_tokenizer()
    if chat:
        tokenizer.chat_template = "{% for m in messages %}[CLS] {{ m['content'] }} [SEP] {% endfor %}"
    tokenizer.save_pretrained(folder)
    return str(folder)


def _word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As all-MiniLM's does: fixed padding and truncation that everything after must reset.
    backend.enable_truncation(12)
    backend.enable_padding(length=12)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
