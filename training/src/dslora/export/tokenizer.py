"""A tokenizer as the bundle holds it: read by the service through ``@huggingface/tokenizers``.

``tokenizer.json`` is the encoder's own backend, so what the service reads is what training used: fixed padding and
truncation, which all-MiniLM's file carries, are already reset there. ``tokenizer_config.json`` is written from
scratch with the few entries that readers look at: what transformers saves also holds paths and switches of its
version 5.
"""

import json
from pathlib import Path
from typing import Any, Final

from dslora.encoding import TextEncoder
from dslora.files import write_json, write_text

TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json")

# Classes that transformers.js 4 has; any other name it answers with a warning and the base class.
_KNOWN_CLASSES: Final = frozenset(
    f"{name}Tokenizer"
    for name in (
        *("Albert", "Bart", "Bert", "Bloom", "Camembert", "CLIP", "CodeGen", "CodeLlama", "Cohere", "ConvBert"),
        *("Deberta", "DebertaV2", "DistilBert", "Electra", "Esm", "Falcon", "Gemma", "GPT2", "GPTNeoX", "Herbert"),
        *("Llama", "MBart", "MobileBert", "MPNet", "Qwen2", "Roberta", "RoFormer", "SqueezeBert", "T5", "XLMRoberta"),
    )
)
_FALLBACK_CLASS: Final = "PreTrainedTokenizer"
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def write_tokenizer(folder: Path, tokenizer: Any, encoder: TextEncoder) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json``.

    Args:
        folder: Where to.
        tokenizer: The transformers tokenizer that ``encoder`` was made from.
        encoder: Whose backend is written.
    """
    backend = json.loads(encoder.tokenizer.to_str())
    # Compact: the vocabulary is most of the file, and indentation a fifth of that.
    write_text(folder / "tokenizer.json", json.dumps(backend, ensure_ascii=False, separators=(",", ":")) + "\n")
    name = type(tokenizer).__name__.removesuffix("Fast")
    config: dict[str, Any] = {
        "tokenizer_class": name if name in _KNOWN_CLASSES else _FALLBACK_CLASS,
        "model_max_length": encoder.max_tokens,
        "clean_up_tokenization_spaces": False,
    }
    for token in _SPECIAL_TOKENS:
        value = getattr(tokenizer, token, None)
        if value is not None:
            config[token] = str(value)
    write_json(folder / "tokenizer_config.json", config)
