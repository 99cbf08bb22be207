import json
import re
from collections.abc import Sequence

import numpy as np
import pytest

from dslora.encoding import TextEncoder
from dslora.errors import DsLoraError
from dslora.export.golden import LEAST_ITEMS, GoldenVectors
from dslora.export.golden_texts import golden_texts
from dslora.export.outcome import Scores
from dslora.normalization import NormalizationError

from .conftest import TEMPERATURE, Build


def flat(windows: Sequence[Sequence[int]]) -> Scores:
    """The same answer for everything."""
    return Scores(np.tile([0.3, 0.7], (len(windows), 1)), np.tile([0.5], (len(windows), 1)))


def test_texts_are_many_varied_and_harmless() -> None:
    texts = golden_texts(128)
    assert len(texts) == len(set(texts)) >= LEAST_ITEMS
    everything = "".join(texts)
    for script in ("\u0430-\u044f", "一-龥", "ぁ-ん", "가-힣", "؀-ۿ", "֐-׿", "ऀ-ॿ", "ก-๛", "α-ω"):
        assert re.search(f"[{script}]", everything), script
    assert "😀" in everything
    assert any(re.search("[\ud800-\udfff]", text) for text in texts)
    assert "" in texts


@pytest.mark.parametrize("max_tokens", [16, 32, 128, 512])
def test_some_texts_are_longer_than_any_window(max_tokens: int) -> None:
    assert sum(len(text.split()) > max_tokens for text in golden_texts(max_tokens)) >= 3


def test_the_document(build: Build, encoder: TextEncoder) -> None:
    classifier = build()

    def score(windows: Sequence[Sequence[int]]) -> Scores:
        from dslora.export.parity import pytorch_scores

        return pytorch_scores(classifier, TEMPERATURE, encoder, windows, range(4))

    golden = GoldenVectors(encoder, score, (1,))
    document = golden.document({"int8": {"probabilities": 0.02, "gates": 0.02}})

    # What a reader sees: a lone surrogate must survive the file.
    items = json.loads(json.dumps(document))["items"]
    assert len(items) >= LEAST_ITEMS
    codes = [item.get("error") for item in items]
    assert codes.count("empty_after_normalization") >= 4
    assert codes.count("invalid_unicode") == 2
    for item in items:
        if "error" in item:
            with pytest.raises(NormalizationError) as caught:
                encoder.ids(item["text"])
            assert caught.value.code == item["error"]
            continue
        windows = [window["ids"] for window in item["windows"]]
        assert windows == encoder.windows(encoder.ids(item["text"]))
        assert all(len(window["gates"]) == 4 for window in item["windows"])
        offensive = [window["probabilities"][1] for window in item["windows"]]
        assert item["combined"]["probabilities"][1] == max(offensive)
        assert sum(item["combined"]["probabilities"]) == pytest.approx(1, abs=1e-6)
    assert any(len(item.get("windows", [])) > 2 for item in items)


def test_tolerance_is_twice_what_was_measured(encoder: TextEncoder) -> None:
    golden = GoldenVectors(encoder, flat, (1,))
    graph = flat(golden.windowed.windows)
    assert golden.tolerance("int8", graph, (0.0311, 0.0201)) == {"probabilities": 0.063, "gates": 0.041}
    # The golden texts themselves may be the worst.
    graph.gates[3] += 0.1
    assert golden.tolerance("int8", graph, (0.0311, 0.0201))["gates"] == pytest.approx(0.2, abs=2e-3)
    assert golden.tolerance("int8", flat(golden.windowed.windows), (0.0, 0.0))["gates"] == 0.01


def test_fp32_is_held_to_the_contract(encoder: TextEncoder) -> None:
    golden = GoldenVectors(encoder, flat, (1,))
    graph = flat(golden.windowed.windows)
    assert golden.tolerance("fp32", graph, (1e-7, 1e-7)) == {"probabilities": 1e-4, "gates": 1e-4}
    graph.probabilities[0, 0] = float("nan")
    with pytest.raises(DsLoraError, match="golden texts"):
        golden.tolerance("fp32", graph, (1e-7, 1e-7))


def test_a_text_whose_deciding_window_is_not_sure_is_left_out(encoder: TextEncoder) -> None:
    def score(windows: Sequence[Sequence[int]]) -> Scores:
        scores = flat(windows)
        # Neighbouring windows are equally offensive, split differently over two labels.
        probabilities = np.tile([0.2, 0.4, 0.4], (len(windows), 1))
        probabilities[::2] = [0.2, 0.8, 0.0]
        return Scores(probabilities, scores.gates)

    undecided = GoldenVectors(encoder, score, (1, 2))
    with pytest.raises(DsLoraError, match="none of several windows"):
        undecided.document({"int8": {"probabilities": 0.05, "gates": 0.05}})
