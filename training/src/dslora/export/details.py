"""What the exporter is told about a model, beside its weights: everything that training knows and a bundle states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from dslora.evaluation import Threshold

Attributes = Mapping[str, Mapping[str, Sequence[str]]]

# Which attribute or category of each foreign protocol a label of ours counts for. Labels that mean nothing
# offensive have none.
ATTRIBUTES: Final[dict[str, Attributes]] = {
    "olid": {"OFF": {"perspective": ("TOXICITY",), "openai": ("harassment",)}},
    "hatexplain": {
        "hatespeech": {"perspective": ("IDENTITY_ATTACK", "TOXICITY"), "openai": ("hate",)},
        "offensive": {"perspective": ("INSULT", "TOXICITY"), "openai": ("harassment",)},
    },
}


def attributes_for(dataset: str, positive_labels: Sequence[str]) -> Attributes:
    """Attributes of a data set's labels: from the table, else toxicity for every label that means offensive."""
    if dataset in ATTRIBUTES:
        return {label: each for label, each in ATTRIBUTES[dataset].items() if label in positive_labels}
    return {label: {"perspective": ("TOXICITY",), "openai": ("harassment",)} for label in positive_labels}


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """A split, or part of one.

    Attributes:
        dataset: Name of the data set.
        split: train, development, test.
        texts: Posts; normalised or not.
        labels: True classes, as indices of the classifier's labels.
    """

    dataset: str
    split: str
    texts: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True)
class Calibration:
    """Temperature fitted on a split, and the calibration error before and after."""

    split: str
    temperature: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class TrainingData:
    """One split's source, by checksum."""

    name: str
    split: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class DataTerms:
    """Under which terms a data set is published, for the model card."""

    name: str
    license: str
    citation: str


@dataclass(frozen=True)
class Training:
    """How the model came to be.

    Attributes:
        data: Every split that was read.
        seed: Of everything.
        settings: As JSON; no paths.
        libraries: Versions by name.
        commit: Of the package's checkout, if any.
    """

    data: Sequence[TrainingData]
    seed: int
    settings: Mapping[str, Any]
    libraries: Mapping[str, str]
    commit: str | None


@dataclass(frozen=True, eq=False)
class BundleDetails:
    """What a bundle states about its model.

    Attributes:
        name: Of the bundle, as users of the service name the model.
        version: Of this model.
        description: One sentence.
        license: SPDX id of adapter and head.
        languages: BCP 47 tags of the training data.
        calibration: The temperature that goes into the graph.
        thresholds: By use: balanced, high-precision, high-recall.
        distribution: As :func:`dslora.evaluation.distribution` returns it, for all gates of the classifier.
        training: Provenance.
        terms: Of every data set.
        attributes: Label to attributes of foreign protocols; see :func:`attributes_for`.
        base_license: SPDX id; None takes what the package knows of the base.
        created_at: None is now.
    """

    name: str
    version: str
    description: str
    license: str
    languages: Sequence[str]
    calibration: Calibration
    thresholds: Mapping[Any, Threshold]
    distribution: Mapping[str, Any]
    training: Training
    terms: Sequence[DataTerms] = ()
    attributes: Attributes = field(default_factory=dict)
    base_license: str | None = None
    created_at: datetime | None = None

    def created(self) -> str:
        """UTC, to the second: ``2026-01-31T12:00:00Z``."""
        return (self.created_at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
