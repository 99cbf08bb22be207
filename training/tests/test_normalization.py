"""Normalisation against the shared vectors, the contract and the forms that data sets come in."""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from dslora.errors import DsLoraError
from dslora.normalization import STEPS, NormalizationError, default_steps, normalize

REPOSITORY = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((REPOSITORY / "test/vectors/normalization.json").read_text(encoding="utf-8"))
CONTRACT = (REPOSITORY / "docs/bundle.md").read_text(encoding="utf-8")
EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["case"] for vector in VECTORS])
def test_shared_vector(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(NormalizationError) as refused:
            normalize(vector["text"], vector["steps"])
        assert refused.value.code == vector["error"]
    else:
        assert normalize(vector["text"], vector["steps"]) == vector["normalized"]


def test_vectors_try_every_step_by_itself() -> None:
    alone = {vector["steps"][0] for vector in VECTORS if len(vector["steps"]) == 1}
    assert alone == set(STEPS)


def test_steps_are_those_of_the_manifest() -> None:
    schema = json.loads((REPOSITORY / "src/bundle/manifest.schema.json").read_text(encoding="utf-8"))
    items = schema["properties"]["input"]["properties"]["normalization"]["items"]["anyOf"]
    assert list(STEPS) == [item["const"] for item in items]


def _code_points(listed: str) -> set[str]:
    found: set[str] = set()
    for first, last in re.findall(r"U\+([0-9A-F]{4,5})(?:–U\+([0-9A-F]{4,5}))?", listed):
        found |= {chr(code) for code in range(int(first, 16), int(last or first, 16) + 1)}
    return found


def test_invisible_deletes_what_the_contract_lists_and_nothing_else() -> None:
    row = next(line for line in CONTRACT.splitlines() if line.startswith("| `invisible`"))
    left = set(normalize("".join(EVERY_CHARACTER), ["invisible"]))
    assert set(EVERY_CHARACTER) - left == _code_points(row)


def test_white_space_is_what_the_contract_lists_and_nothing_else() -> None:
    row = next(line for line in CONTRACT.splitlines() if line.startswith("`U+0009"))
    single = {character for character in EVERY_CHARACTER if STEPS["whitespace"](f"a{character}b") == "a b"}
    assert single == _code_points(row)


def test_punctuation_replaces_what_the_contract_lists_and_nothing_else() -> None:
    replaced = {character for character in EVERY_CHARACTER if STEPS["punctuation"](character) == " "}
    ascii_punctuation = {chr(code) for code in range(33, 127) if not chr(code).isalnum()}
    others = _code_points("U+2010–U+2015 U+2018–U+201F U+2026 U+02BC")
    assert replaced - {" "} == ascii_punctuation | others


@pytest.mark.parametrize("step", STEPS)
def test_a_step_leaves_plain_words_alone(step: str) -> None:
    assert normalize("plain words", [step]) == "plain words"


def test_nfkc_result_is_nfkc() -> None:
    text = "".join(EVERY_CHARACTER)
    assert unicodedata.is_normalized("NFKC", normalize(text, ["nfkc"]))


def test_unknown_step_lists_the_known_ones() -> None:
    with pytest.raises(DsLoraError, match=r"'stem'.*html-entities.*whitespace"):
        normalize("text", ["stem"])


def test_refusal_does_not_quote_the_text() -> None:
    with pytest.raises(NormalizationError) as refused:
        normalize("secret\ud800", ["nfkc"])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("natural", "as_in_dataset"),
    [
        ("@bob have a look: https://example.org/x", "@USER have a look: URL"),
        ("@ann_1 @bob &amp; @cem\u2019s", "@USER @USER &amp; @USER\u2019s"),
        ("Read www.example.org\tnow", "Read URL now"),
    ],
)
@pytest.mark.parametrize("uncased", [True, False])
def test_natural_posts_come_to_the_form_of_olid(natural: str, as_in_dataset: str, uncased: bool) -> None:
    steps = default_steps("olid", uncased)
    assert normalize(natural, steps) == normalize(as_in_dataset, steps)


@pytest.mark.parametrize(
    ("natural", "as_in_dataset"),
    [
        ("Hey @bob, don’t be late!", "hey <user> don ’ t be late"),
        ("We paid $5.50 (10%) at 10:30 on 2024-01-31.", "we paid <money> <percent> at <time> on <date>"),
        ("I’m SURE they'll call 555-0100…", "im sure they ’ ll call <phone>"),
        ("“Look”: https://example.org, 3 new!", "look <url> <number> new"),
        ("It's a well-known_fact 😂", "its a well known fact 😂"),
    ],
)
def test_natural_posts_come_to_the_form_of_hatexplain(natural: str, as_in_dataset: str) -> None:
    steps = default_steps("hatexplain", uncased=True)
    assert normalize(natural, steps) == normalize(as_in_dataset, steps)


def test_own_data_is_normalised_as_olid() -> None:
    assert default_steps("posts", uncased=False) == default_steps("olid", uncased=False)
    assert default_steps("hatexplain-binary", uncased=True) == default_steps("hatexplain", uncased=True)


@pytest.mark.parametrize(
    "text",
    [" ", "\u0301", "a ", "@a", "1.", "1", "http://", "& ", "<", " '", "@a.", "@a@b", "-", "&amp;"],
)
def test_time_grows_with_the_text_and_not_faster(text: str) -> None:
    steps = default_steps("hatexplain", uncased=True)
    start = time.perf_counter()
    normalize("x" + text * 100_000 + "x", steps)
    assert time.perf_counter() - start < 5
