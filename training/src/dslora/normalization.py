"""Text normalisation: named steps in the order that the bundle's manifest lists.

Contract: docs/bundle.md, "Normalisation steps". The TypeScript service implements the same table, and
`test/vectors/normalization.json` holds both to it. So patterns spell their code points out: no character
class of the language, no locale. Every pattern takes time linear in the text: where a run could be entered
from each of its characters, a look-behind admits the first alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from dslora.errors import DsLoraError

RefusalCode = Literal["invalid_unicode", "empty_after_normalization"]


class NormalizationError(DsLoraError):
    """A text that cannot be classified.

    `code` is the error code that the service answers for the same text, `reason` what rows that are left out for it
    are counted under.
    """

    def __init__(self, code: RefusalCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.code: Final = code
        self.reason: Final = reason


_WORD = r"A-Za-z0-9_"
_WS = "\\u0009-\\u000D\\u0020\\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000"
_APOSTROPHES = "'\\u2018\\u2019\\u02BC"

_ENTITIES: Final = {
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&apos;": "'",
    "&#39;": "'",
    "&nbsp;": " ",
}
_ENTITY = re.compile("|".join(re.escape(entity) for entity in _ENTITIES))
_INVISIBLE = re.compile(
    "[\\u0000-\\u0008\\u000E-\\u001F\\u007F-\\u0084\\u0086-\\u009F\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5"
    "\\u180B-\\u180F\\u200B-\\u200F\\u202A-\\u202E\\u2060-\\u206F\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFFB"
    "\\U0001BCA0-\\U0001BCA3\\U0001D173-\\U0001D17A\\U000E0000-\\U000E0FFF]"
)
_URL = re.compile(f'<url>|(?<![{_WORD}])(?:URL(?![{_WORD}])|(?:[Hh][Tt][Tt][Pp][Ss]?://|[Ww][Ww][Ww]\\.)[^{_WS}<>"]*)')
_MENTION = re.compile(f"<user>|(?<![{_WORD}])@[{_WORD}]+(?:@[A-Za-z0-9-]+(?:\\.[A-Za-z0-9-]+)+)?")
_NUMBER = re.compile(f"<(?:number|percent|money|time|date|phone)>|(?<![{_WORD}])[0-9]+(?:[.,:/-][0-9]+)*(?![{_WORD}])")
_INNER_APOSTROPHE = re.compile(f"(?<=[A-Za-z])[{_APOSTROPHES}](?=[A-Za-z])")
_SPACED_APOSTROPHE = re.compile(
    f"(?<![{_WS}])[{_WS}]+[{_APOSTROPHES}][{_WS}]+(?=(?:[Ss]|[Tt]|[Rr][Ee]|[Vv][Ee]|[Ll][Ll]|[Dd]|[Mm])(?![{_WORD}]))"
)
_PUNCTUATION = re.compile(f"@(?!user(?![{_WORD}]))|[!-/:-?\\[-`{{-~\\u02BC\\u2010-\\u2015\\u2018-\\u201F\\u2026]")
_WHITESPACE = re.compile(f"[{_WS}]+")
_SURROGATE = re.compile("[\\uD800-\\uDFFF]")

STEPS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "html-entities": lambda text: _ENTITY.sub(lambda found: _ENTITIES[found.group()], text),
        "nfkc": lambda text: unicodedata.normalize("NFKC", text),
        "invisible": lambda text: _INVISIBLE.sub("", text),
        "urls": lambda text: _URL.sub("url", text),
        "mentions": lambda text: _MENTION.sub("@user", text),
        "numbers": lambda text: _NUMBER.sub("number", text),
        "lowercase": str.lower,
        "apostrophes": lambda text: _SPACED_APOSTROPHE.sub("", _INNER_APOSTROPHE.sub("", text)),
        "punctuation": lambda text: _PUNCTUATION.sub(" ", text),
        "whitespace": lambda text: _WHITESPACE.sub(" ", text).strip(" "),
    }
)
"""Every step by the name that the manifest gives it."""

_POST_STEPS: Final = ("html-entities", "nfkc", "invisible", "urls", "mentions")
# HateXplain comes lower-cased, tokenised and all but free of punctuation, with its numbers masked: a natural
# post has to be brought to that form, or the model reads at serving time what it never saw in training.
_HATEXPLAIN_STEPS: Final = (
    *_POST_STEPS,
    "numbers",
    "lowercase",
    "apostrophes",
    "punctuation",
    "whitespace",
)


def default_steps(dataset: str, uncased: bool) -> tuple[str, ...]:
    """Steps for a data set, in order.

    Args:
        dataset: name as in `dslora.data`; a name that is not known is taken for posts as people write them.
        uncased: whether the base model's tokenizer ignores case.
    """
    if dataset in ("hatexplain", "hatexplain-binary"):
        return _HATEXPLAIN_STEPS
    return (*_POST_STEPS, "lowercase", "whitespace") if uncased else (*_POST_STEPS, "whitespace")


def normalize(text: str, steps: Sequence[str]) -> str:
    """Apply `steps` to `text` in order.

    Raises:
        NormalizationError: the text holds a lone surrogate (`invalid_unicode`), or nothing is left of it
            (`empty_after_normalization`).
        DsLoraError: a step is not in `STEPS`.
    """
    if _SURROGATE.search(text):
        raise NormalizationError(
            "invalid_unicode",
            "no well-formed Unicode",
            "The text holds a lone surrogate, which stands for no character. Send well-formed Unicode.",
        )
    for step in steps:
        apply = STEPS.get(step)
        if apply is None:
            raise DsLoraError(
                f"There is no normalisation step {step!r}. Known steps: {', '.join(STEPS)}. Correct the list of steps."
            )
        text = apply(text)
    if not text:
        raise NormalizationError(
            "empty_after_normalization",
            "nothing left after normalisation",
            "Nothing is left of the text after normalisation. Send a text with a visible character.",
        )
    return text
