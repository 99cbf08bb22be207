"""Windows, their batches and their combination: docs/bundle.md, "From text to tokens"."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from base_folder import WORDS, make_base
from dslora.bases import load_tokenizer, resolve_base
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.encoding import TextEncoder, text_encoder, window_starts
from dslora.errors import DsLoraError
from dslora.inference import predict, predict_windows, softmax
from dslora.methods import GatedSettings
from dslora.normalization import NormalizationError
from tiny_models import randomize

STEPS = ("nfkc", "whitespace")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, TextEncoder]:
    base = make_base(tmp_path_factory.mktemp("base"))
    torch.manual_seed(0)
    spec = ClassifierSpec(
        base, "ds-lora", ("no", "yes", "very"), ("yes", "very"), STEPS, GatedSettings(), max_tokens=12, window_overlap=3
    )
    classifier = build_classifier(spec).eval()
    randomize(classifier)
    return classifier, text_encoder(load_tokenizer(resolve_base(base)), STEPS, 12, 3)


@pytest.mark.parametrize("ids", range(1, 60))
@pytest.mark.parametrize(("capacity", "overlap"), [(10, 3), (8, 0), (9, 7)])
def test_windows_cover_every_id_and_are_full(ids: int, capacity: int, overlap: int) -> None:
    starts = window_starts(ids, capacity, overlap)
    covered = set()
    for start in starts:
        assert start >= 0
        assert start + capacity <= max(ids, capacity)
        covered |= set(range(start, min(start + capacity, ids)))
    assert covered == set(range(ids))
    for left, right in itertools.pairwise(starts):
        assert left < right <= left + capacity - overlap


def test_encoder_resets_fixed_padding_and_truncation(model: tuple[Classifier, TextEncoder]) -> None:
    encoder = model[1]
    assert (encoder.prefix_ids, encoder.suffix_ids, encoder.capacity) == ((2,), (3,), 10)
    assert encoder.ids("w0 w1") == [4, 5]
    assert len(encoder.ids(" ".join(WORDS))) == 40
    assert encoder.windows(encoder.ids("w0")) == [[2, 4, 3]]
    assert [len(window) for window in encoder.windows(encoder.ids(" ".join(WORDS[:25])))] == [12, 12, 12, 12]


@pytest.mark.parametrize(("text", "code"), [(" \u2003", "empty_after_normalization"), ("a\ud800", "invalid_unicode")])
def test_texts_that_cannot_be_classified(model: tuple[Classifier, TextEncoder], text: str, code: str) -> None:
    with pytest.raises(NormalizationError) as caught:
        model[1].ids(text)
    assert caught.value.code == code


def test_padding_alone_is_refused(model: tuple[Classifier, TextEncoder]) -> None:
    classifier, encoder = model
    with pytest.raises(DsLoraError, match=r"window \d of 2 has no token\. Expected at least one"):
        predict_windows(classifier, encoder, [[5, 6], []])
    with pytest.raises(DsLoraError, match="there is no window"):
        encoder.pad([])
    ids = torch.full((3, 4), 5)
    mask = torch.ones_like(ids)
    mask[2] = 0
    with pytest.raises(ValueError, match="row 2 of 3 is nothing but padding"):
        classifier(ids, mask)
    mask[2, 3] = 1
    assert torch.isfinite(classifier(ids, mask)[0]).all()


def test_a_window_without_room_is_refused(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_base(make_base(tmp_path)))
    with pytest.raises(DsLoraError, match="leaves 4 ids a window"):
        text_encoder(tokenizer, STEPS, 6, 0)


def test_long_texts_take_the_most_offensive_window_and_mean_gates(model: tuple[Classifier, TextEncoder]) -> None:
    classifier, encoder = model
    texts = [" ".join(WORDS[:25]), "w3 w4", " ".join(WORDS[5:17])]
    found = predict(classifier, encoder, texts)
    assert found.windows.tolist() == [4, 1, 2]
    assert found.tokens.tolist() == [27, 4, 14]
    for row, text in enumerate(texts):
        windows = encoder.windows(encoder.ids(text))
        with torch.no_grad():
            answers = [classifier(torch.tensor([w]), torch.ones((1, len(w)), dtype=torch.long)) for w in windows]
        logits = np.stack([answer[0][0].numpy() for answer in answers])
        offensive = softmax(logits)[:, 1:].sum(axis=1)
        np.testing.assert_allclose(found.logits[row], logits[offensive.argmax()], atol=1e-5)
        gates = np.average(
            [answer[1][0].numpy() for answer in answers], axis=0, weights=[len(window) for window in windows]
        )
        np.testing.assert_allclose(found.gates[row], gates, atol=1e-5)
