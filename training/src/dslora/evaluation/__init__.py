"""How good a classifier is, how far its probabilities can be trusted, and what its gates say."""

from dslora.evaluation.calibration import fit_temperature
from dslora.evaluation.metrics import (
    Measurement,
    Metrics,
    expected_calibration_error,
    is_positive,
    macro_f1_difference,
    measure,
    offensive,
)
from dslora.evaluation.thresholds import Threshold, choose_thresholds, measure_threshold

__all__ = [
    "Measurement",
    "Metrics",
    "Threshold",
    "choose_thresholds",
    "expected_calibration_error",
    "fit_temperature",
    "is_positive",
    "macro_f1_difference",
    "measure",
    "measure_threshold",
    "offensive",
]
