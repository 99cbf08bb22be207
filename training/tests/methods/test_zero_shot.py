"""Zero-shot against the language model itself, and what is asked of whom."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM

from base_folder import make_base, make_language_model
from dslora.bases import load_tokenizer, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.cli import main
from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.methods import ZeroShotSettings, find_method
from dslora.run import encoder_of
from test_commands import write_posts

LABELS = ("fine", "rude", "vile")
PROMPT = "w1 w2 {text} w3"


def spec_of(base: str, labels: tuple[str, ...] = LABELS, max_tokens: int = 16, **settings: Any) -> ClassifierSpec:
    return ClassifierSpec(
        base=base,
        method="zero-shot",
        labels=labels,
        positive_labels=labels[1:],
        normalization=("whitespace",),
        max_tokens=max_tokens,
        window_overlap=2,
        pooling="last",
        adapter=ZeroShotSettings(**{"prompt": PROMPT, "words": ("w5", "w6", "w7"), "content_free": False, **settings}),
    )


def made(spec: ClassifierSpec) -> tuple[Classifier, TextEncoder]:
    return build_classifier(spec).eval(), encoder_of(spec, load_tokenizer(resolve_base(spec.base)))


@torch.no_grad()
def probabilities(classifier: Classifier, encoder: TextEncoder, text: str) -> torch.Tensor:
    """Of the first window, in a batch with a longer one."""
    ids, mask = encoder.pad([encoder.windows(encoder.ids(text))[0], [*encoder.prefix_ids, *[9] * 10]])
    logits, gates = classifier(torch.tensor(ids), torch.tensor(mask))
    assert gates.shape == (2, 0)
    return torch.softmax(logits, dim=1)[0]


@torch.no_grad()
def likelihood(base: str, words: list[str]) -> torch.Tensor:
    """Of w5, w6 and w7 after the words, by the whole language model."""
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = load_tokenizer(resolve_base(base))
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(words)])
    answers = tokenizer.convert_tokens_to_ids(["w5", "w6", "w7"])
    result: torch.Tensor = torch.softmax(model(input_ids=ids).logits[0, -1, answers], dim=0)
    return result


@pytest.mark.parametrize("tied", [True, False])
def test_a_class_is_as_likely_as_its_word(tied: bool, tmp_path: Path) -> None:
    base = make_language_model(tmp_path, tied=tied)
    classifier, encoder = made(spec_of(base))
    assert classifier.trainable_parameters() == 0
    expected = likelihood(base, ["[CLS]", "w1", "w2", "w8", "w9", "w3"])
    torch.testing.assert_close(probabilities(classifier, encoder, "w8 w9"), expected, atol=1e-5, rtol=0)
    # Nothing of it is left to chance or to a training.
    classifier.save(tmp_path / "kept")
    again = Classifier.load(tmp_path / "kept")
    assert torch.equal(probabilities(again, encoder, "w8 w9"), probabilities(classifier, encoder, "w8 w9"))


def test_content_free_texts_take_the_words_own_frequency_out(tmp_path: Path) -> None:
    base = make_language_model(tmp_path, tied=True)
    classifier, encoder = made(spec_of(base, content_free=True))
    frames = [["[CLS]", "w1", "w2", *middle, "w3"] for middle in (["[UNK]"] * 3, ["[UNK]"] * 3, [])]
    free = torch.stack([likelihood(base, words) for words in frames]).mean(dim=0)
    expected = likelihood(base, ["[CLS]", "w1", "w2", "w8", "w3"]) / free
    torch.testing.assert_close(probabilities(classifier, encoder, "w8"), expected / expected.sum(), atol=1e-5, rtol=0)


def test_every_window_is_asked_the_whole_question(tmp_path: Path) -> None:
    base = make_language_model(tmp_path, tied=True, chat=True)
    # The tokenizer's own beginning stands there once, with chat markup too, and its end only where that has it.
    for chat, before, after in ((False, ["[CLS]", "w1", "w2"], ["w3"]), (True, ["[CLS]", "w1", "w2"], ["w3", "[SEP]"])):
        _, encoder = made(spec_of(base, chat=chat))
        tokenizer = load_tokenizer(resolve_base(base))
        assert tokenizer.convert_ids_to_tokens(encoder.prefix_ids) == before
        assert tokenizer.convert_ids_to_tokens(encoder.suffix_ids) == after
        windows = encoder.windows(encoder.ids(" ".join(f"w{i}" for i in range(30))))
        assert len(windows) > 1
        for window in windows:
            assert len(window) == 16
            assert tuple(window[: len(before)]) == encoder.prefix_ids
            assert tuple(window[-len(after) :]) == encoder.suffix_ids


def test_a_question_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_base(make_language_model(tmp_path, tied=True)))
    said = "{{ messages[0]['content'] }}"
    # Llama's and Gemma's way, then that of GPT-2 and SmolLM2.
    begins = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    plain = processors.ByteLevel()
    for processor, template, before in (
        (begins, None, ["[CLS]", "w1", "w2"]),
        (begins, f"[CLS] [UNK] {said}", ["[CLS]", "[UNK]", "w1", "w2"]),
        (begins, f"[UNK] {said}", ["[CLS]", "[UNK]", "w1", "w2"]),
        (plain, None, ["w1", "w2"]),
        (plain, f"[UNK] {said}", ["[UNK]", "w1", "w2"]),
    ):
        tokenizer.backend_tokenizer.post_processor = processor
        tokenizer.chat_template = template
        frame = find_method("zero-shot").frame(tokenizer, spec_of("").adapter, LABELS, LABELS[1:])
        assert frame is not None
        assert tokenizer.convert_ids_to_tokens(frame[0]) == before
        assert tokenizer.convert_ids_to_tokens(frame[1]) == ["w3"]


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    base = make_language_model(tmp_path / "llama", tied=True)
    for spec, message in (
        (spec_of(make_base(tmp_path / "bert")), "model type 'bert' is none"),
        (spec_of(base, words=("w5", "w5 w6", "w7")), "begin with the same token"),
        (spec_of(base, words=("w5", "w6")), "2 words for 3 labels"),
    ):
        with pytest.raises(DsLoraError, match=message):
            build_classifier(spec)
    with pytest.raises(DsLoraError, match="leaves 4 ids a window"):
        encoder_of(spec_of(base, max_tokens=8), load_tokenizer(resolve_base(base)))
    for prompt in ("w1 w2", "{text} w1 {text}"):
        with pytest.raises(DsLoraError, match="expected once"):
            ZeroShotSettings(prompt=prompt)


def test_the_command_measures_and_exports_it_with_its_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_language_model(tmp_path / "base", tied=True)
    posts = write_posts(tmp_path / "posts.csv", 320)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    data = ["--data", str(posts), *columns, "--out", str(tmp_path / "run"), "--base", base, "--method", "zero-shot"]
    asked = ["--max-tokens", "24", "--window-overlap", "4", "--prompt", PROMPT, "--words", "w5", "w6"]
    bundle = ["--bundle", str(tmp_path / "bundle"), "--graphs", "fp32"]
    assert main(["train", *data, *asked, "--epochs", "3"]) == 1
    assert "does not use --epochs" in capsys.readouterr().err
    assert main(["pipeline", *data, *asked, *bundle]) == 0
    assert "without training" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["method"]["name"] == "zero-shot"
    assert manifest["gates"] == []
    assert manifest["input"]["prompt"] == {"template": PROMPT, "words": {"abusive": "w5", "fine": "w6"}}
    # [CLS] and the two words.
    assert len(manifest["input"]["prefixIds"]) == 3
    assert len(manifest["input"]["suffixIds"]) == 1
    # With half the memory for the base it is asked the same; evaluation reads weights as they are stored.
    halved = [str(tmp_path / "halved") if each == str(tmp_path / "run") else each for each in data]
    assert main(["train", *halved, *asked, "--base-precision", "bf16"]) == 0
    assert main(["evaluate", str(tmp_path / "halved")]) == 0
    scores = [json.loads((tmp_path / run / "run.json").read_text())["result"]["macro_f1"] for run in ("run", "halved")]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)
    # Given again it is found; asked otherwise it is another run.
    assert main(["train", *data, *asked]) == 0
    capsys.readouterr()
    assert main(["train", *data, *asked[:-2], "w6", "w7"]) == 1
    assert "holds a run with other settings" in capsys.readouterr().err
