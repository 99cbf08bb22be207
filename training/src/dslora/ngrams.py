"""Word and character n-grams with logistic regression: what every other method must beat.

There is no base model, nothing that PyTorch computes and so no bundle. A run has the same folder as any other, with
the model as plain numbers and names: nothing in it is executed when it is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from dslora.errors import DsLoraError
from dslora.files import replacing, write_json
from dslora.inference import Predictions
from dslora.normalization import normalize

NAME: Final = "n-grams"
SUMMARY: Final = "word and character n-grams with logistic regression; what others must beat, not exported"
# Settings of training that it knows too.
TRAINING_OPTIONS: Final = frozenset({"class_weighting", "seed", "train_rows"})

_SPEC_FILE: Final = "n-grams.json"
_WEIGHTS_FILE: Final = "n-grams.npz"
_ITERATIONS: Final = 1000


@dataclass(frozen=True)
class NgramSettings:
    """Which n-grams count, and how freely they are weighed.

    Attributes:
        word_ngrams: Runs of up to so many words.
        character_ngrams: Runs of up to so many characters inside words, from two on; 0 for none.
        least_posts: An n-gram must stand in so many posts.
        inverse_penalty: C of the logistic regression: larger fits the training posts more closely.
    """

    word_ngrams: int = 2
    character_ngrams: int = 5
    least_posts: int = 2
    inverse_penalty: float = 3.0

    def __post_init__(self) -> None:
        if self.word_ngrams < 1 or self.least_posts < 1:
            raise DsLoraError(
                f"--word-ngrams is {self.word_ngrams} and --least-posts {self.least_posts}; expected 1 or more."
            )
        if self.character_ngrams != 0 and self.character_ngrams < 2:
            raise DsLoraError(f"--character-ngrams is {self.character_ngrams}; expected 0, or 2 and more.")
        if not self.inverse_penalty > 0:
            raise DsLoraError(f"--inverse-penalty is {self.inverse_penalty}; expected a number above 0.")


@dataclass(frozen=True)
class NgramSpec:
    """What the model is besides its weights; field names as in ``ClassifierSpec``."""

    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    normalization: tuple[str, ...]
    adapter: NgramSettings
    method: str = NAME


@dataclass(frozen=True, eq=False)
class Weights:
    """A fitted model.

    Attributes:
        terms: The n-grams of each kind (words, characters), in the order of their columns.
        idf: ``ln((1 + n) / (1 + df)) + 1`` of each, n posts in all, df with the n-gram.
        coefficients: ``[labels, n-grams]``; ``[1, n-grams]`` for two labels.
        intercepts: ``[labels]``, or ``[1]``.
    """

    terms: Mapping[str, list[str]]
    idf: Mapping[str, NDArray[np.float64]]
    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]


class NgramModel:
    """``softmax(W x + b)`` of the TF-IDF x of a post: ``(1 + ln tf) idf``, each kind of n-gram scaled to length 1."""

    def __init__(self, spec: NgramSpec, weights: Weights) -> None:
        self.spec = spec
        self._weights = weights

    @classmethod
    def fit(
        cls, spec: NgramSpec, texts: Sequence[str], labels: Sequence[int], balanced: bool, seed: int
    ) -> "NgramModel":
        """Learns from posts.

        Args:
            spec: What to build.
            texts: Posts; normalised here.
            labels: Indices of ``spec.labels``, every one of them at least once.
            balanced: Weigh a class by the inverse of its frequency.
            seed: Of the solver.

        Raises:
            DsLoraError: No n-gram stands in enough posts.
        """
        normalized = [normalize(text, spec.normalization) for text in texts]
        vectorizers = _vectorizers(spec.adapter)
        try:
            features = hstack([each.fit_transform(normalized) for each in vectorizers.values()]).tocsr()
        except ValueError as error:
            raise DsLoraError(
                f"No n-gram stands in {spec.adapter.least_posts} posts or more. "
                "Lower --least-posts, or give more posts."
            ) from error
        regression = LogisticRegression(
            C=spec.adapter.inverse_penalty,
            class_weight="balanced" if balanced else None,
            max_iter=_ITERATIONS,
            random_state=seed,
        ).fit(features, labels)
        return cls(
            spec,
            Weights(
                {kind: each.get_feature_names_out().tolist() for kind, each in vectorizers.items()},
                {kind: each.idf_ for kind, each in vectorizers.items()},
                regression.coef_,
                regression.intercept_,
            ),
        )

    @property
    def parameters(self) -> int:
        return int(self._weights.coefficients.size + self._weights.intercepts.size)

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Logits as of any other model; ``tokens`` are words."""
        normalized = [normalize(text, self.spec.normalization) for text in texts]
        features = hstack([each.transform(normalized) for each in self._fitted.values()]).tocsr()
        scores = np.asarray(features @ self._weights.coefficients.T) + self._weights.intercepts
        if len(self.spec.labels) == 2:
            # One number decides between two labels: the logit of the second.
            scores = np.hstack([np.zeros_like(scores), scores])
        return Predictions(
            scores.astype(np.float32),
            np.zeros((len(texts), 0), dtype=np.float32),
            np.array([len(text.split()) for text in normalized], dtype=np.int64),
            np.ones(len(texts), dtype=np.int64),
        )

    @cached_property
    def _fitted(self) -> dict[str, Any]:
        fitted = _vectorizers(self.spec.adapter)
        for kind, each in fitted.items():
            each.vocabulary_ = {term: column for column, term in enumerate(self._weights.terms[kind])}
            each.idf_ = self._weights.idf[kind]
        return fitted

    def save(self, folder: Path) -> None:
        """Writes specification and n-grams as JSON, numbers as arrays."""
        weights = self._weights
        write_json(folder / _SPEC_FILE, {"spec": asdict(self.spec), "terms": dict(weights.terms)})
        with replacing(folder / _WEIGHTS_FILE) as temporary, temporary.open("wb") as file:
            arrays = {"coefficients": weights.coefficients, "intercepts": weights.intercepts}
            arrays |= {f"idf_{kind}": values for kind, values in weights.idf.items()}
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, folder: Path) -> "NgramModel":
        """Reads what :meth:`save` wrote.

        Raises:
            DsLoraError: The files are missing or damaged.
        """
        try:
            stored = json.loads((folder / _SPEC_FILE).read_text(encoding="utf-8"))
            with np.load(folder / _WEIGHTS_FILE, allow_pickle=False) as arrays:
                numbers = dict(arrays)
            said = stored["spec"]
            spec = NgramSpec(
                labels=tuple(said["labels"]),
                positive_labels=tuple(said["positive_labels"]),
                normalization=tuple(said["normalization"]),
                adapter=NgramSettings(**said["adapter"]),
            )
            idf = {kind: numbers[f"idf_{kind}"] for kind in stored["terms"]}
            weights = Weights(stored["terms"], idf, numbers["coefficients"], numbers["intercepts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DsLoraError(f"{folder}: the n-gram model cannot be read ({error}). Train it again.") from error
        return cls(spec, weights)


def _vectorizers(settings: NgramSettings) -> dict[str, Any]:
    # Normalisation has seen to letter case.
    shared = {"lowercase": False, "sublinear_tf": True, "min_df": settings.least_posts}
    words = TfidfVectorizer(analyzer="word", token_pattern=r"\S+", ngram_range=(1, settings.word_ngrams), **shared)
    if not settings.character_ngrams:
        return {"words": words}
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, settings.character_ngrams), **shared)
    return {"words": words, "characters": characters}
