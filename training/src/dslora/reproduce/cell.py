"""A cell: one run of one method on one data set and base with one seed."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dslora.classifier import ClassifierSpec, default_pooling
from dslora.data import Dataset
from dslora.methods import find_method
from dslora.ngrams import NAME as NGRAMS
from dslora.ngrams import NgramSettings, NgramSpec
from dslora.normalization import default_steps
from dslora.reproduce.source import settings_of
from dslora.sparsity import L1Settings
from dslora.train.settings import TrainSettings, fingerprint

# Part of every key: raised when a result holds something else than before.
FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """Everything that decides a result, and nothing else.

    Attributes:
        data: Name of a data set, or data of one's own (``dslora.reproduce.source``).
        base: As for ``dslora train``.
        method: Name in ``dslora.methods.METHODS``, or n-grams.
        adapter: Settings of the method that the plan fixes; the others are the method's defaults.
        l1: The same for the penalty; None for a method without.
        training: The same for training, without the seed.
        seed: Of rows, initial weights, order and dropout.
        max_tokens: Longest window.
        transfer_rows: Test rows of each other data set that the model is tried on; 0 takes all.
        tuning: Only the development split is scored: the cell serves to choose settings.
    """

    data: str
    base: str
    method: str
    adapter: dict[str, Any]
    l1: dict[str, Any] | None
    training: dict[str, Any]
    seed: int
    max_tokens: int
    transfer_rows: int
    tuning: bool = False

    @property
    def key(self) -> str:
        """Digest of all of it."""
        return fingerprint(FORMAT, asdict(self))

    @property
    def name(self) -> str:
        """Name of its files: readable, and different for different cells."""
        data = re.sub(r"[^A-Za-z0-9-]+", "-", Path(settings_of(self.data).name).stem)
        return f"{data}-{self.method}-seed{self.seed}-{self.key}"

    def settings(self) -> TrainSettings:
        """How it is trained."""
        return TrainSettings(**self.training, seed=self.seed)

    def spec(self, dataset: Dataset, normalization: tuple[str, ...]) -> ClassifierSpec:
        """What is built for it."""
        method = find_method(self.method)
        return ClassifierSpec(
            base=self.base,
            method=self.method,
            labels=tuple(dataset.labels),
            positive_labels=tuple(dataset.positive_labels),
            normalization=normalization,
            max_tokens=self.max_tokens,
            window_overlap=self.max_tokens // 4,
            pooling=default_pooling(self.base),
            adapter=method.settings(**self.adapter),
            l1=L1Settings(**(self.l1 or {})) if method.sparse else None,
        )

    def ngram_spec(self, dataset: Dataset) -> NgramSpec:
        """The same for n-grams, which have no base."""
        steps = default_steps(dataset.name, True)
        settings = NgramSettings(**self.adapter)
        return NgramSpec(tuple(dataset.labels), tuple(dataset.positive_labels), steps, settings)


def known_settings(method: str, values: dict[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a method's configuration has."""
    settings = NgramSettings if method == NGRAMS else find_method(method).settings
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in values.items() if name in names}
