"""The report and the manifest's distribution: complete, valid and consistent with what they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from scipy.special import softmax

from dslora.evaluation import (
    Report,
    build_report,
    choose_thresholds,
    distribution,
    fit_temperature,
    is_positive,
    offensive,
)

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "src/bundle/manifest.schema.json").read_text(encoding="utf-8")
)["properties"]
LABELS = ("normal", "offensive|rude", "hate")
POSITIVE = LABELS[1:]
COLUMNS = [(0, "query"), (0, "value"), (1, "query")]
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 400)
LOGITS = (RNG.normal(size=(400, 3)) * 3 + 3 * np.eye(3)[TRUTH]).astype(np.float32)
GATES = RNG.random((400, 3)).astype(np.float32)
TOKENS = RNG.integers(3, 400, 400)
TEMPERATURE = fit_temperature(LOGITS, TRUTH)
PROBABILITIES = softmax(LOGITS / TEMPERATURE, axis=1)


def make_report(gates: bool = True) -> Report:
    scores = offensive(PROBABILITIES, LABELS, POSITIVE)
    return build_report(
        model="tiny",
        dataset="posts",
        split="test",
        precision="pytorch-fp32",
        labels=LABELS,
        positive_labels=POSITIVE,
        logits=LOGITS,
        truth=TRUTH,
        gates=GATES if gates else np.zeros((400, 0)),
        columns=COLUMNS if gates else [],
        temperature=TEMPERATURE,
        thresholds=choose_thresholds(scores, is_positive(TRUTH, LABELS, POSITIVE)),
        resamples=200,
    )


def test_temperature_lowers_the_calibration_error_and_no_answer_changes() -> None:
    report = make_report()
    assert report.metrics.calibration_error < report.calibration_error_raw
    assert report.metrics.accuracy.value == pytest.approx((LOGITS.argmax(axis=1) == TRUTH).mean())


def test_json_is_plain_and_complete(tmp_path: Path) -> None:
    report = make_report()
    report.write(tmp_path / "evaluation", report.split)
    read = json.loads((tmp_path / "evaluation" / "test.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(read["metrics"]) == {
        "macroF1",
        "f1OfMeans",
        "accuracy",
        "aurocOffensive",
        *(f"{measure}:{label}" for measure in ("f1", "precision", "recall") for label in LABELS),
    }
    assert np.array(read["confusion"]).sum() == read["n"] == 400
    assert set(read["thresholds"]) == {"balanced", "high-precision", "high-recall"}
    assert [row["layers"] for row in read["gates"]["modules"]] == [[0], [0], [1]]
    assert (tmp_path / "evaluation" / "test.md").read_text(encoding="utf-8") == report.to_markdown()


def test_markdown_tables_are_rectangular() -> None:
    for block in make_report().to_markdown().split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.split("\n")}) == 1


def test_method_without_gates() -> None:
    report = make_report(gates=False)
    assert report.to_json()["gates"] is None
    assert "## Gates" not in report.to_markdown()


def test_manifest_entries_are_valid() -> None:
    entries = make_report().manifest_entries()
    jsonschema.validate(entries, SCHEMA["evaluation"])
    assert entries[0]["metric"] == "macroF1"


def test_distribution_is_valid_and_counts_every_post() -> None:
    built = distribution("development", PROBABILITIES, TRUTH, LABELS, GATES, COLUMNS, TOKENS)
    jsonschema.validate(built, SCHEMA["distribution"])
    histograms = [*built["probabilities"].values(), built["tokens"]]
    for histogram in histograms:
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert sum(histogram["counts"]) == 400
    assert built["tokens"]["edges"][-1] > TOKENS.max()
    for column, gate in enumerate(built["gates"]):
        for index, label in enumerate(LABELS):
            of_class = GATES[index == TRUTH, column]
            quantiles = gate["quantiles"][label]
            assert quantiles == sorted(quantiles)
            assert quantiles[0] == pytest.approx(of_class.min(), abs=1e-6)
            assert quantiles[50] == pytest.approx(np.median(of_class), abs=1e-6)
            assert quantiles[100] == pytest.approx(of_class.max(), abs=1e-6)
    assert sum(built["classes"].values()) == 400
    for index, label in enumerate(LABELS):
        median = np.median(GATES[index == TRUTH].mean(axis=1))
        assert built["meanGate"][label][50] == pytest.approx(median, abs=1e-6)


def test_distribution_takes_the_mean_of_the_gates_that_a_bundle_keeps() -> None:
    built = distribution("development", PROBABILITIES, TRUTH, LABELS, GATES, COLUMNS, TOKENS, kept=[0])
    assert built["meanGate"] == built["gates"][0]["quantiles"]


def test_distribution_of_certain_answers() -> None:
    certain = np.eye(2)[[0, 1, 1]]
    built = distribution(
        "development", certain, np.array([0, 1, 1]), ("a", "b"), np.zeros((3, 0)), [], np.array([8, 128, 129])
    )
    assert built["gates"] == []
    assert built["meanGate"] is None
    counts = built["probabilities"]["b"]["counts"]
    assert (counts[0], counts[-1]) == (1, 2)
    # A bin holds its lower edge: 8 is in the second bin, 128 in the last.
    assert built["tokens"]["counts"][:2] == [0, 1]
    assert built["tokens"]["counts"][-1] == 2
