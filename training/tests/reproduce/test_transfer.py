"""What is counted on other data sets and on neutral sentences, against counts by hand."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from dslora.errors import DataError
from dslora.inference import Predictions
from dslora.normalization import NormalizationError, normalize
from dslora.reproduce import transfer as module
from dslora.reproduce.identity import TEMPLATES, TERMS, identity_swaps
from dslora.reproduce.transfer import loaded, transfer
from dslora.run_record import TrainedRun

LABELS, POSITIVE = ("rude", "fine", "vile"), ("rude", "vile")


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    loaded.cache_clear()
    yield
    loaded.cache_clear()


def run_of(probabilities: Callable[[str], tuple[float, ...]], asked: list[str] | None = None) -> TrainedRun:
    """A finished run of a model that follows a rule.

    Args:
        probabilities: Of each label, for a text.
        asked: Gets the texts.
    """

    def predict(texts: Sequence[str], temperature: float = 1.0) -> Predictions:
        if asked is not None:
            asked.extend(texts)
        logits = np.array([[math.log(each) for each in probabilities(text)] for text in texts], dtype=np.float32)
        none = np.zeros((len(texts), 0), dtype=np.float32)
        return Predictions(logits, none, np.ones(len(texts), np.int64), np.ones(len(texts), np.int64))

    def read(text: str) -> None:
        if not normalize(text, ("invisible", "whitespace")).strip("\ufffd"):
            raise NormalizationError("empty_after_normalization", "no token", "Its tokenizer drops U+FFFD.")

    spec = SimpleNamespace(labels=LABELS, positive_labels=POSITIVE)
    return cast(TrainedRun, SimpleNamespace(spec=spec, predict=predict, read=read))


def by_word(text: str) -> tuple[float, ...]:
    """The most probable class is the one that the text names; a text that names none is fine."""
    return (
        0.7 if "rude" in text else 0.1,
        0.7 if "rude" not in text and "vile" not in text else 0.2,
        0.7 if "vile" in text else 0.1,
    )


def write_target(folder: Path, test: Sequence[tuple[str, str]]) -> str:
    folder.mkdir()
    train, development = (
        [(f"{label} {row}", label) for row in rows for label in ("NOT", "OFF")] for rows in ("ab", "cd")
    )
    for split, rows in {"train": train, "development": development, "test": test}.items():
        lines = ["text,label", *(f"{text},{label}" for text, label in rows)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


# By hand: of six NOT the model calls two offensive, of four OFF it misses one. The last two rows are left out: nothing
# is left of a zero-width space once it is normalised, and nothing of U+FFFD once it is tokenised.
TEST = [
    *[(f"all good {row}", "NOT") for row in range(4)],
    ("so vile", "NOT"),
    ("how rude", "NOT"),
    ("vile again", "OFF"),
    ("rude too", "OFF"),
    ("very rude", "OFF"),
    ("missed", "OFF"),
    ("\u200b", "OFF"),
    ("\ufffd", "OFF"),
]


def test_counts_on_another_data_set_are_those_of_a_hand_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_target(tmp_path / "target", TEST)
    monkeypatch.setattr(module, "TARGETS", (target,))
    asked: list[str] = []
    # Rows are those that are true, columns those that the model says: a class of ours is counted as what it means.
    assert transfer(run_of(by_word, asked), "olid", None, 0) == {target: {"confusion": [[4, 2], [1, 3]]}}
    assert len(asked) == 10
    # Nothing is said of the data set that the model was trained on.
    assert transfer(run_of(by_word), target, None, 0) == {}


def test_a_part_of_the_rows_is_stratified_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_target(tmp_path / "target", TEST)
    monkeypatch.setattr(module, "TARGETS", (target,))
    first: list[str] = []
    second: list[str] = []
    found = transfer(run_of(by_word, first), "olid", None, 5)[target]["confusion"]
    assert np.sum(found, axis=1).tolist() == [3, 2]
    transfer(run_of(by_word, second), "olid", None, 5)
    assert first == second
    transfer(run_of(by_word, first), "olid", None, 10)
    assert len(first) == 15


def test_what_is_left_out_is_said_and_damage_is_not_taken_for_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"missing": "its files were not there"}
    empty = str(tmp_path)
    for trained, missing in {
        "olid": {"hatexplain-binary": gone, "jigsaw": gone},
        # The same posts with three classes are no other data set.
        "hatexplain": {"olid": gone, "jigsaw": gone},
        "germeval2018": {name: {"missing": "another language"} for name in ("olid", "hatexplain-binary", "jigsaw")},
    }.items():
        assert transfer(run_of(by_word), trained, empty, 0) == missing
    folder = tmp_path / "olid"
    folder.mkdir()
    (folder / "olid-training-v1.0.tsv").write_text("id\ttweet\tsubtask_a\n1\tcut o")
    with pytest.raises(DataError, match=r"olid-training-v1\.0\.tsv"):
        transfer(run_of(by_word), "hatexplain", empty, 0)


def test_false_positives_are_counted_by_term_and_over_all() -> None:
    """One term is always called offensive, and so is one sentence whatever the term."""
    asked: list[str] = []

    def offended(text: str) -> tuple[float, ...]:
        return (0.5, 0.1, 0.4) if "Muslim" in text or "piano" in text else (0.05, 0.9, 0.05)

    terms, sentences = TERMS["en"], len(TEMPLATES["en"])
    found = identity_swaps(run_of(offended, asked), "en")
    assert found["sentences"] == sentences == 12
    others = len(terms) - 1
    assert found["rate"] == pytest.approx((12 + others) / (12 * len(terms)))
    # 0.9 in one sentence of twelve and 0.1 in eleven.
    usual = [round(1 / 12, 4), round((0.9 + 11 * 0.1) / 12, 4)]
    assert found["byTerm"] == {term: [1.0, 0.9] if term == "Muslim" else usual for term in terms}
    # One rate is 1 and the others 1/12: the mean squared distance from their mean is p (1 - p) (11/12)^2.
    share = 1 / len(terms)
    assert found["sd"] == pytest.approx(math.sqrt(share * (1 - share)) * 11 / 12)
    # The term moves a sentence from 0.1 to 0.9, except for the one that is 0.9 for all.
    assert found["swing"] == pytest.approx(11 * 0.8 / 12)
    assert len(asked) == len(set(asked)) == 12 * len(terms)
    assert "An atheist nurse showed us the way to the second floor." in asked
    assert "As a Hindu person I enjoyed the concert a lot." in asked


def test_german_sentences_are_asked_of_german_models() -> None:
    asked: list[str] = []
    found = identity_swaps(run_of(by_word, asked), "de")
    assert found["rate"] == found["sd"] == found["swing"] == 0
    assert len(asked) == len(TERMS["de"]) * len(TEMPLATES["de"])
    assert "Sie ist muslimisch und spielt sonntags Klavier." in asked
