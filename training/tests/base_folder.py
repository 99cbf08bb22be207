"""A local base model as a user would have one: a tiny BERT with a word tokenizer, saved to a folder."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tiny_models import tiny

WORDS = [f"w{i}" for i in range(40)]


def make_base(folder: Path) -> str:
    """Writes it and returns the folder's path."""
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
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tiny("bert").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
