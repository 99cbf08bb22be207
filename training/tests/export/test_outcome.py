import numpy as np

from dslora.encoding import TextEncoder
from dslora.export.details import LabelledTexts
from dslora.export.outcome import Scores, WindowedTexts
from dslora.inference import predict, predict_windows, softmax

from .conftest import Build


def test_the_most_offensive_window_answers_and_gates_are_averaged_by_tokens() -> None:
    texts = WindowedTexts(windows=([1, 2], [1] * 6, [1] * 2, [1]), bounds=(0, 1, 4))
    scores = Scores(
        np.array([[0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.1, 0.45, 0.45], [0.1, 0.8, 0.1]]),
        np.array([[0.5], [0.1], [0.4], [1.0]]),
    )
    combined = texts.combine(scores, positive=(1, 2))
    # 0.9 twice: the first of the two windows that are equally offensive.
    np.testing.assert_allclose(combined.probabilities, [[0.9, 0.05, 0.05], [0.1, 0.45, 0.45]])
    np.testing.assert_allclose(combined.gates, [[0.5], [(6 * 0.1 + 2 * 0.4 + 1 * 1.0) / 9]])


def test_the_same_answers_as_evaluation_gives(build: Build, encoder: TextEncoder, texts: LabelledTexts) -> None:
    classifier = build()
    lines = texts.texts[:40]
    windowed = WindowedTexts.of(encoder, lines)
    assert len(windowed.windows) > len(windowed) == 40
    logits, gates = predict_windows(classifier, encoder, windowed.windows)
    combined = windowed.combine(Scores(softmax(logits), gates), (1,))
    expected = predict(classifier, encoder, lines)
    np.testing.assert_allclose(combined.probabilities, softmax(expected.logits), atol=1e-6)
    np.testing.assert_allclose(combined.gates, expected.gates, atol=1e-6)


def test_a_difference_that_is_no_number_is_none() -> None:
    one = Scores(np.array([[0.5, 0.5]]), np.array([[0.5]]))
    other = Scores(np.array([[np.nan, 0.5]]), np.array([[0.25]]))
    probabilities, gates = one.difference(other)
    assert np.isnan(probabilities)
    assert gates == 0.25
    none = Scores(np.ones((1, 2)), np.ones((1, 0)))
    assert none.difference(none) == (0.0, 0.0)
