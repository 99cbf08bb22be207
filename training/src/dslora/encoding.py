"""From a text to the windows of token ids that a model reads: ``docs/bundle.md``, "From text to tokens"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dslora.errors import DsLoraError
from dslora.normalization import NormalizationError, normalize


def window_starts(ids: int, capacity: int, overlap: int) -> list[int]:
    """Where windows of ``capacity`` ids start in a text of ``ids`` ids, neighbours sharing at least ``overlap``.

    The last one is moved back so that every window is full.
    """
    if ids <= capacity:
        return [0]
    step = capacity - overlap
    count = -(-(ids - capacity) // step) + 1
    return [min(k * step, ids - capacity) for k in range(count)]


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with the rules around it.

    Attributes:
        tokenizer: ``tokenizers.Tokenizer`` without padding and truncation.
        steps: Normalisation steps, in order.
        prefix_ids, suffix_ids: Special tokens around every window.
        pad_id: Fills batches on the right.
        max_tokens: Longest window, special tokens included.
        overlap: Ids that neighbouring windows share.
    """

    tokenizer: Any
    steps: tuple[str, ...]
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    pad_id: int
    max_tokens: int
    overlap: int

    @property
    def capacity(self) -> int:
        return self.max_tokens - self.special

    @property
    def special(self) -> int:
        """How many special tokens frame a window."""
        return len(self.prefix_ids) + len(self.suffix_ids)

    def ids(self, text: str) -> list[int]:
        """All ids of one text, without special tokens.

        Raises:
            NormalizationError: A lone surrogate, or nothing left after normalisation or tokenisation.
        """
        ids: list[int] = self.tokenizer.encode(normalize(text, self.steps), add_special_tokens=False).ids
        if not ids:
            raise NormalizationError(
                "empty_after_normalization",
                "no token left after tokenisation",
                "No token is left of the text. Send a text with visible characters.",
            )
        return ids

    def windows(self, ids: Sequence[int]) -> list[list[int]]:
        """Windows of a text's ids, special tokens included."""
        starts = window_starts(len(ids), self.capacity, self.overlap)
        return [[*self.prefix_ids, *ids[s : s + self.capacity], *self.suffix_ids] for s in starts]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Pads rows on the right to the longest: (input_ids, attention_mask).

        Raises:
            DsLoraError: There is no row, or one without any id: a model has no answer for padding alone.
        """
        empty = [number for number, row in enumerate(rows) if not row]
        if empty or not rows:
            which = f"window {empty[0]} of {len(rows)} has no token" if empty else "there is no window"
            raise DsLoraError(f"Nothing to classify: {which}. Expected at least one token in each; leave it out.")
        longest = max(len(row) for row in rows)
        ids = [[*row, *[self.pad_id] * (longest - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return ids, mask


def is_uncased(tokenizer: Any) -> bool:
    """Whether a transformers tokenizer ignores case."""
    return bool(tokenizer.tokenize("A") == tokenizer.tokenize("a"))


def plain_backend(tokenizer: Any) -> Any:
    """A copy of a transformers tokenizer's ``tokenizers.Tokenizer`` that neither pads nor cuts."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend


def special_ids(backend: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the special tokens that a tokenizer puts before and after a text.

    Args:
        backend: As :func:`plain_backend` returns it.

    Raises:
        DsLoraError: They are not a plain frame.
    """
    bare = backend.encode("a", add_special_tokens=False).ids
    framed = backend.encode("a", add_special_tokens=True).ids
    at = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), None)
    if not bare or at is None:
        raise DsLoraError("The tokenizer does not put its special tokens around the text; this is not supported.")
    return tuple(framed[:at]), tuple(framed[at + len(bare) :])


def text_encoder(
    tokenizer: Any,
    steps: Sequence[str],
    max_tokens: int,
    overlap: int,
    frame: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> TextEncoder:
    """Builds a :class:`TextEncoder` from a transformers fast tokenizer.

    Fixed padding and truncation that a ``tokenizer.json`` may carry (all-MiniLM's does) are reset.

    Args:
        tokenizer: Of transformers.
        steps: Normalisation steps, in order.
        max_tokens: Longest window.
        overlap: Ids that neighbouring windows share.
        frame: Ids before and after the text of every window: a prompt. None puts the tokenizer's special tokens there.

    Raises:
        DsLoraError: ``max_tokens`` leaves no room, or the tokenizer's special tokens are not a plain frame.
    """
    backend = plain_backend(tokenizer)
    encoder = TextEncoder(
        backend,
        tuple(steps),
        *(frame or special_ids(backend)),
        int(tokenizer.pad_token_id),
        max_tokens,
        overlap,
    )
    if encoder.capacity < 8 or not 0 <= overlap < encoder.capacity:
        raise DsLoraError(
            f"max_tokens {max_tokens} with an overlap of {overlap} leaves {encoder.capacity} ids a window. "
            "Expected at least 8 ids, and an overlap from 0 to below that."
        )
    return encoder
