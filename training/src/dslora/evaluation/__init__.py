"""How good a classifier is, how far its probabilities can be trusted, and what its gates say."""

from dslora.evaluation.calibration import fit_temperature
from dslora.evaluation.distribution import distribution
from dslora.evaluation.gates import GateSummary, gate_quantiles, summarize_gates
from dslora.evaluation.metrics import (
    Measurement,
    Metrics,
    expected_calibration_error,
    is_positive,
    macro_f1_difference,
    measure,
    offensive,
)
from dslora.evaluation.report import Report, build_report
from dslora.evaluation.thresholds import Threshold, choose_thresholds, measure_threshold

__all__ = [
    "GateSummary",
    "Measurement",
    "Metrics",
    "Report",
    "Threshold",
    "build_report",
    "choose_thresholds",
    "distribution",
    "expected_calibration_error",
    "fit_temperature",
    "gate_quantiles",
    "is_positive",
    "macro_f1_difference",
    "measure",
    "measure_threshold",
    "offensive",
    "summarize_gates",
]
