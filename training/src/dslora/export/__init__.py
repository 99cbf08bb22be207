"""From a trained classifier to a bundle that the service loads: ``write_bundle``."""

from dslora.export.bundle import BundleReport, write_bundle
from dslora.export.details import (
    ATTRIBUTES,
    BundleDetails,
    Calibration,
    DataTerms,
    LabelledTexts,
    Training,
    TrainingData,
    attributes_for,
)
from dslora.export.graph import build_graph
from dslora.export.layouts import AUTO, LAYOUTS
from dslora.export.parity import Parity
from dslora.export.precisions import PRECISIONS
from dslora.export.ranks import Pruned, prune

__all__ = [
    "ATTRIBUTES",
    "AUTO",
    "LAYOUTS",
    "PRECISIONS",
    "BundleDetails",
    "BundleReport",
    "Calibration",
    "DataTerms",
    "LabelledTexts",
    "Parity",
    "Pruned",
    "Training",
    "TrainingData",
    "attributes_for",
    "build_graph",
    "prune",
    "write_bundle",
]
