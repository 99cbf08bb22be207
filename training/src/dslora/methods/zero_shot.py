"""Zero-shot: a language model as it is, with a prompt around the text; a class is as likely as the word for it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dslora.architectures import ARCHITECTURES
from dslora.bases import BaseSource, load_output_embeddings, load_tokenizer
from dslora.encoding import plain_backend, special_ids
from dslora.errors import DsLoraError
from dslora.methods.method import Frame, Method, MethodSettings

Ids = Callable[[str], tuple[int, ...]]

PLACE = "{text}"
# Texts that say nothing, by which the words' own frequency is measured; the last is no text at all.
_CONTENT_FREE = ("N/A", "[MASK]", "")


@dataclass(frozen=True)
class ZeroShotSettings(MethodSettings):
    """What the model is asked, and which words answer.

    Attributes:
        prompt: Question with {text} where the post stands; empty asks which of the labels'
            words the post is, and of two labels without words of their own whether it is offensive or insulting.
        words: Word for each label, in the order of labels; empty: yes and no of two labels, else the labels themselves.
        chat: Put the prompt into the chat form that the base was trained with, where it has one.
        content_free: Divide by the likelihood that the words have for a text without content, so that a word which
            the model always prefers does not win every time.
    """

    prompt: str = ""
    words: tuple[str, ...] = ()
    chat: bool = True
    content_free: bool = True

    def __post_init__(self) -> None:
        if self.target_modules:
            raise DsLoraError("Zero-shot trains nothing. Leave --target-modules out.")
        if self.prompt and self.prompt.count(PLACE) != 1:
            raise DsLoraError(
                f"--prompt holds {PLACE} {self.prompt.count(PLACE)} times; expected once, where the post is to stand."
            )


class Prompt(NamedTuple):
    """A question and its answers.

    Attributes:
        template: With ``{text}`` where the post stands, without chat markup.
        words: One a label.
    """

    template: str
    words: tuple[str, ...]


class ZeroShot(Method):
    """``p(class) ~ p(first token of its word | prompt)``, and with ``content_free`` divided by that of no text.

    A forward pass gives the likelihood of one token, so the words must differ in their first.

    Source: Brown et al. 2020, Language Models are Few-Shot Learners, section 2.4 (scoring answers); Zhao et al. 2021,
    Calibrate Before Use, equation 1 with ``W = diag(p_cf)^-1`` (content-free texts).
    """

    name = "zero-shot"
    summary = "a language model as it is, asked by a prompt; nothing is trained"
    trains = False
    settings = ZeroShotSettings

    def attach(self, base: Any, settings: Any, targets: tuple[str, ...], base_id: str) -> nn.Module:
        _check_decoder(base)
        return base.requires_grad_(False)  # type: ignore[no-any-return]

    def save(self, encoder: Any, folder: Path) -> None:
        """Writes nothing: all that is not the base's is the head."""

    def load(self, base: Any, settings: Any, targets: tuple[str, ...], folder: Path, base_id: str) -> nn.Module:
        return self.attach(base, settings, targets, base_id)

    def base_of(self, encoder: Any) -> Any:
        return encoder

    def disabled(self, encoder: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def trained_names(self, encoder: Any) -> set[str]:
        return set()

    def merged(self, encoder: Any) -> nn.Module:
        return encoder  # type: ignore[no-any-return]

    def frame(self, tokenizer: Any, settings: Any, labels: tuple[str, ...], positive_labels: tuple[str, ...]) -> Frame:
        before, after = _rendered(tokenizer, settings, prompt_of(settings, labels, positive_labels))
        ids = _ids_of(tokenizer)
        # Chat markup mostly begins with it already. What the tokenizer ends a text with would end the question, too.
        begin, _ = special_ids(plain_backend(tokenizer))
        asked = ids(before)
        return asked if asked[: len(begin)] == begin else (*begin, *asked), ids(after)

    def head(
        self, base: Any, source: BaseSource, settings: Any, labels: tuple[str, ...], positive_labels: tuple[str, ...]
    ) -> nn.Linear:
        _check_decoder(base)
        tokenizer = load_tokenizer(source)
        prompt = prompt_of(settings, labels, positive_labels)
        _, after = _rendered(tokenizer, settings, prompt)
        ids = _ids_of(tokenizer)
        tokens = _first_tokens(ids, after, prompt.words)
        head = _rows(load_output_embeddings(source, base), tokens)
        if settings.content_free:
            frame = self.frame(tokenizer, settings, labels, positive_labels)
            with torch.no_grad():
                head.bias.sub_(_content_free(base, head, frame, ids).log())
        return head


def prompt_of(settings: ZeroShotSettings, labels: Sequence[str], positive_labels: Sequence[str]) -> Prompt:
    """The question and the words, with defaults filled in.

    Raises:
        DsLoraError: Not one word for each label.
    """
    binary = len(labels) == 2
    words = settings.words or tuple(
        ("Yes" if label in positive_labels else "No") if binary else label.lower() for label in labels
    )
    if len(words) != len(labels):
        raise DsLoraError(
            f"--words names {len(words)} words for {len(labels)} labels. Expected one for each, in this order: "
            f"{', '.join(labels)}."
        )
    if settings.prompt:
        return Prompt(settings.prompt, words)
    if binary and not settings.words:
        question = "Is the following post offensive or insulting? Answer Yes or No."
    else:
        question = f"Which is the following post: {', '.join(words[:-1])} or {words[-1]}? Answer with one word."
    return Prompt(f"{question}\n\nPost: {PLACE}\n\nAnswer:", words)


def _check_decoder(base: Any) -> None:
    family = base.config.model_type
    row = ARCHITECTURES.get(family)
    if row is None or row.pooling != "last":
        decoders = sorted(name for name, each in ARCHITECTURES.items() if each.pooling == "last")
        raise DsLoraError(
            f"Method zero-shot asks a language model for the next word, and model type {family!r} is none that is "
            f"known. Use a base of one of: {', '.join(decoders)} (for example --base smollm2)."
        )


def _rendered(tokenizer: Any, settings: ZeroShotSettings, prompt: Prompt) -> tuple[str, str]:
    """What stands before and after the post, chat markup included."""
    text = prompt.template
    if settings.chat and tokenizer.chat_template:
        # The model begins the answer by itself where its turn is marked.
        turn = {"role": "user", "content": text.removesuffix("Answer:").rstrip()}
        text = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    before, _, after = text.partition(PLACE)
    return before, after


def _ids_of(tokenizer: Any) -> Ids:
    backend = plain_backend(tokenizer)
    return lambda text: tuple(backend.encode(text, add_special_tokens=False).ids)


def _first_tokens(ids_of: Ids, before: str, words: Sequence[str]) -> list[int]:
    """The token that begins each word after the prompt.

    Raises:
        DsLoraError: Two words begin with the same.
    """
    joined = before if not before or before[-1].isspace() else before + " "
    given = ids_of(before)
    found = []
    for word in words:
        ids = ids_of(joined + word)
        # What stands before is cut as it is by itself, so that the text's windows can be framed by it.
        found.append(ids[len(given)] if ids[: len(given)] == given else ids_of(" " + word)[0])
    if len(set(found)) < len(words):
        raise DsLoraError(
            f"Of the words {', '.join(words)} two begin with the same token of the base's vocabulary, so one forward "
            "pass cannot tell them apart. Name others with --words."
        )
    return found


def _rows(output: nn.Linear, tokens: Sequence[int]) -> nn.Linear:
    head = nn.Linear(output.in_features, len(tokens))
    with torch.no_grad():
        head.weight.copy_(output.weight[list(tokens)])
        head.bias.zero_()
        if output.bias is not None:
            head.bias.copy_(output.bias[list(tokens)])
    return head


@torch.no_grad()
def _content_free(base: Any, head: nn.Linear, frame: Frame, ids_of: Ids) -> Tensor:
    """Mean probability of each class over texts without content, ``[labels]``."""
    before, after = frame
    rows = []
    for text in _CONTENT_FREE:
        ids = torch.tensor([[*before, *ids_of(text), *after]])
        hidden = base(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        rows.append(torch.softmax(head(hidden[0, -1].to(head.weight.dtype)), dim=-1))
    return torch.stack(rows).mean(dim=0)
