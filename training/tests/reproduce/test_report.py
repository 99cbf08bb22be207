"""Intervals against an independent computation, sentences that follow from figures, and the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.reproduce.bootstrap import Difference, Outcomes, difference, draw, macro_f1
from dslora.reproduce.experiments import EXPERIMENTS, find_experiments
from dslora.reproduce.markdown import NOTHING, across, detectable
from dslora.reproduce.plan import make_cell
from dslora.reproduce.presets import PRESETS
from dslora.reproduce.report import render, write_report
from dslora.reproduce.reproduction import RESULTS
from dslora.reproduce.results import Results, pack
from dslora.reproduce.rows import gather
from dslora.reproduce.sections import comparison, examples
from dslora.reproduce.statement import compared, gate_worth, points

TINY = PRESETS["tiny"]


def outcomes(seed: int, accuracy: float, seeds: int = 3, n: int = 300, classes: int = 3) -> Outcomes:
    """Models of a given accuracy that are wrong on texts of their own; the texts are the same for all."""
    truth = np.random.default_rng(0).integers(classes, size=n)
    rng = np.random.default_rng(seed)
    wrong = rng.random((seeds, n)) > accuracy
    shift = rng.integers(1, classes, size=(seeds, n))
    return Outcomes(np.where(wrong, (truth + shift) % classes, truth), truth, classes)


def test_resamples_measure_what_scikit_learn_measures_on_the_drawn_texts() -> None:
    one = outcomes(1, 0.7, n=60)
    draws = draw(60, 3, resamples=25)
    found = draws.over_seeds(macro_f1(draws.confusions(one.predicted, one.truth, one.classes)))
    for resample in range(25):
        texts = np.repeat(np.arange(60), draws.texts[resample])
        expected = np.mean(
            [
                f1_score(
                    one.truth[texts], one.predicted[seed][texts], labels=[0, 1, 2], average="macro", zero_division=0
                )
                for seed in draws.seeds[resample]
            ]
        )
        assert found[resample] == pytest.approx(expected, abs=1e-12)


def test_differences_are_paired() -> None:
    one, other = outcomes(1, 0.75), outcomes(2, 0.7)
    assert difference(macro_f1, one, one) == Difference(0.0, (0.0, 0.0), 0.0, 3)
    found, reverse = difference(macro_f1, one, other), difference(macro_f1, other, one)
    assert found.value == pytest.approx(one.mean(macro_f1) - other.mean(macro_f1))
    assert found.interval95 == pytest.approx((-reverse.interval95[1], -reverse.interval95[0]))
    # Nearly the same answers: far less noise in the difference than in either figure.
    near = replace(one, predicted=one.predicted.copy())
    near.predicted[:, :3] = (near.truth[:3] + 1) % 3
    low, high = difference(macro_f1, near, one).interval95
    alone = one.interval(macro_f1).interval95
    assert high - low < (alone[1] - alone[0]) / 2


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Against the closed form: two classes, balanced, errors equally likely: macro-F1's expectation is the accuracy."""
    inside = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        truth = np.arange(400) % 2
        predicted = np.where(rng.random((5, 400)) < 0.8, truth, 1 - truth)
        low, high = Outcomes(predicted, truth, 2).interval(macro_f1).interval95
        inside += low <= 0.8 <= high
    assert inside >= 50


@pytest.mark.parametrize(
    ("value", "interval", "gain", "said", "unsaid"),
    [
        (0.02, (0.01, 0.03), 1.2, ["2.0 points above LoRA", "+1.0 to +3.0", "it is reproduced"], "no difference"),
        (-0.02, (-0.03, -0.01), 1.2, ["2.0 points below LoRA", "outside the interval"], "no difference"),
        (0.004, (-0.01, 0.018), 1.2, ["no difference from LoRA seen", "1.9 or more", "neither confirms"], "above LoRA"),
        (0.0, (-0.01, 0.01), 1.2, ["no difference from LoRA seen", "outside the interval"], "above LoRA"),
        (-0.004, (-0.01, 0.002), None, ["no difference from LoRA seen (−0.4"], "paper"),
    ],
)
def test_sentences_follow_from_the_figures(
    value: float, interval: tuple[float, float], gain: float | None, said: list[str], unsaid: str
) -> None:
    sentence = compared("DS-LoRA", "LoRA", Difference(value, interval, 0.019, 3), gain)
    assert all(words in sentence for words in said), sentence
    assert unsaid not in sentence


def test_one_seed_says_nothing_of_seeds() -> None:
    found = difference(macro_f1, outcomes(1, 0.75, seeds=1), outcomes(2, 0.7, seeds=1))
    assert found.detectable is None
    assert detectable(found) == NOTHING
    said = compared("DS-LoRA", "LoRA", Difference(0.004, (-0.01, 0.018), None, 1), 1.2)
    assert said == (
        "DS-LoRA: no difference from LoRA seen (+0.4 points, 95 % interval of texts alone, one seed −1.0 to +1.8)."
    )
    assert across([0.25], points) == "25.0"
    assert across([0.25, 0.3, 0.2], points) == "25.0 (20.0 to 30.0)"


def test_a_limit_that_is_printed_as_0_is_not_seen() -> None:
    assert not Difference(-0.018, (-0.038, -0.0004), 0.02, 3).seen
    assert Difference(-0.018, (-0.038, -0.0006), 0.02, 3).seen
    assert not Difference(0.018, (0.0004, 0.038), 0.02, 3).seen


def test_each_combination_of_few_seeds_is_drawn_equally_often() -> None:
    rows, counts = np.unique(draw(10, 3).seeds, axis=0, return_counts=True)
    assert len(rows) == 27
    assert counts.max() - counts.min() <= 1
    # Not in step with the texts, nor all of them where there are too many.
    assert len(np.unique(draw(10, 3).seeds[:27], axis=0)) < 27
    assert draw(10, 20).seeds.shape == (10_000, 20)


def test_sentences_about_gates_follow_from_the_figures() -> None:
    assert "worth 1.0 points" in gate_worth("x", Difference(0.01, (0.005, 0.015), 0.007, 3))
    assert "better with gates fixed to their mean, by 1.0" in gate_worth(
        "x", Difference(-0.01, (-0.015, -0.005), 0.007, 3)
    )


def result(seed: int, accuracy: float, gated: bool, labels: tuple[str, ...]) -> dict[str, Any]:
    """As a cell's file has it, with made-up predictions."""

    def split(n: int) -> dict[str, Any]:
        made = outcomes(seed, accuracy, seeds=1, n=n, classes=len(labels))
        return {
            "n": n,
            "macroF1": made.mean(macro_f1),
            "predicted": pack(made.predicted[0]),
            "truth": pack(made.truth),
            "leftOut": [1],
        }

    row = {"mean": [0.4, 0.5, 0.6][: len(labels)], "sd": [0.1] * len(labels), "spread": 0.1, "aurocOffensive": 0.6}
    return {
        "labels": list(labels),
        "development": split(100),
        "test": split(200),
        "zeros": 0.25,
        "rank": {"left": 90, "of": 96},
        "parameters": 1234,
        "identity": {"sentences": 12, "rate": 0.1, "sd": 0.05, "swing": 0.2, "byTerm": {"young": [0.2, 0.3]}},
        "transfer": {"jigsaw": {"confusion": [[50, 10], [10, 30]]}, "olid": {"missing": "its files were not there"}},
        **(
            {
                "gates": {
                    "split": "test",
                    "overall": {**row, "layers": [0, 5], "aurocError": 0.5},
                    "groups": [{**row, "layers": [2 * i, 2 * i + 1]} for i in range(3)],
                    "modules": [{**row, "spread": 0.01}],
                    "meanGate": pack(np.full(200, 128)),
                },
                "gatesFixed": {"development": split(100), "test": split(200)},
            }
            if gated
            else {}
        ),
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of table 3, 5 and 8 and figure 3 with preset tiny, made up."""
    results = Results(tmp_path / RESULTS)
    labels = {"olid": ("NOT", "OFF"), "hatexplain": ("normal", "offensive", "hatespeech")}
    for name in ("table3", "table5", "table8", "figure3"):
        experiment = EXPERIMENTS[name]
        for number, variant in enumerate(experiment.rows(TINY)):
            for seed in (0, 1):
                cell = make_cell(TINY, TINY.bases[0], experiment.data[0], variant, seed)
                gated = variant.method in ("ds-lora", "lora-gate")
                made = result(10 * number + seed, 0.6 + 0.02 * number, gated, labels[experiment.data[0]])
                results.save(cell, made)
    return tmp_path


def test_the_page_has_every_table_beside_the_paper(out: Path) -> None:
    write_report(out, Results(out / RESULTS), [TINY])
    page = (out / "README.md").read_text()
    for words in (
        "### Table 3: ablation",
        "### Table 5: gates by class",
        "### Table 8: texts that LoRA gets wrong",
        "### Figure 3: λ",
        "81.3; +1.2 over LoRA; F1 OFF 77.7; over 50 % zeros",
        "What the gates are worth",
        "in 2 of 2 seeds",
        "young 20%",
        "smoke run",
        "its files were not there",
        # Modules' spread of 0.01.
        "hardly differ between texts and so explain nothing: LoRA + gate (0.010); DS-LoRA (0.010).",
        "Fixing every gate to its mean changes nothing that could be seen: LoRA + gate; DS-LoRA.",
    ):
        assert words in page, words
    assert "### Table 6" not in page
    missing = page[page.index("### Not run") :]
    assert "- Table 6: other data sets, jigsaw\n- Table 6: other data sets, germeval2018\n- Table 7: cost\n" in missing
    # It shares rows with table 3, which is whole.
    assert "### Table 4: kinds of gates\n\nUnfinished: 2 of 8 rows have been run." in page
    for name in ("tiny-table3", "tiny-figure3"):
        assert f"({name}.svg)" in page
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    write_report(out, Results(out / RESULTS), [TINY])
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_germeval_has_its_own_measure_beside_macro_f1(tmp_path: Path) -> None:
    """F1 of means is neither the mean of F1 nor computed once over all seeds."""
    results, experiment = Results(tmp_path / RESULTS), EXPERIMENTS["table6"]
    made: list[Outcomes] = []
    for data in experiment.data:
        for seed in (0, 1, 2):
            cell = make_cell(TINY, TINY.bases[0], data, experiment.rows(TINY)[0], seed)
            results.save(cell, result(seed, 0.6, False, ("OTHER", "OFFENSE")))
            made.append(outcomes(seed, 0.6, seeds=1, n=200, classes=2))
    by_seed = []
    for each in made[:3]:
        precision = precision_score(each.truth, each.predicted[0], average="macro")
        recall = recall_score(each.truth, each.predicted[0], average="macro")
        by_seed.append(2 * precision * recall / (precision + recall))
    by_data = {
        data: "\n".join(comparison(gather(experiment, TINY, TINY.bases[0], data, results), data)).split("\n")
        for data in experiment.data
    }
    head, row = (
        [cell.strip() for cell in line.split("|")]
        for line in by_data["germeval2018"]
        if line.startswith(("| method", "| LoRA |"))
    )
    found = row[head.index("F1 of means")]
    assert found.startswith(f"{100 * np.mean(by_seed):.1f} [")
    assert found != row[head.index("macro-F1")]
    assert not any("F1 of means" in line for line in by_data["jigsaw"])


def test_row_numbers_are_those_of_the_file(out: Path) -> None:
    results = Results(out / RESULTS)
    rows = gather(EXPERIMENTS["table8"], TINY, TINY.bases[0], "hatexplain", results)
    text = "\n".join(examples(rows))
    # Row 1 was left out before scoring, so no text has that number and all later ones move up.
    lora, ours = (row.outcomes() for row in rows)
    always = np.flatnonzero(((ours.predicted == ours.truth) & (lora.predicted != lora.truth)).all(axis=0))
    assert f"| {always[0] + (1 if always[0] >= 1 else 0)} |" in text
    assert f"holds for {len(always)} texts" in text


def test_the_committed_page_is_what_its_cells_give() -> None:
    folder = Path(__file__).parents[3] / "docs" / "reproduction"
    if not (folder / "README.md").is_file():
        pytest.skip("nothing was committed yet")
    page = render(folder, Results(folder / RESULTS), list(PRESETS.values()))
    assert (folder / "README.md").read_text() == page, "run: dslora reproduce report --preset tiny"


def test_wrong_names_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for arguments, words in {
        ("table9", "--preset", "tiny"): "'table9' is not known. Expected one of: table1",
        ("table3", "--preset", "huge"): "'huge' is not known. Expected one of: paper, small, tiny",
        ("table3", "--preset", "paper"): "needs a CUDA device",
        ("table3", "--preset", "tiny", "--seeds", "0"): "--seeds is 0",
        ("table3", "--preset", "tiny", "--seeds", "21"): "--seeds is 21; expected at most 20",
        ("table3", "--preset", "tiny", "--workers", "0"): "--workers is 0",
        ("table3", "--preset", "tiny"): "'olid' was not found",
        ("table3", "--preset", "tiny", "--data", "posts.csv"): "'posts.csv'",
        ("report", "--preset", "tiny"): "has no results to report",
    }.items():
        assert main(["reproduce", *arguments, *places]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["table5", "table8"])
def test_a_table_of_refusals_says_why(name: str, tmp_path: Path) -> None:
    results, experiment = Results(tmp_path / RESULTS), EXPERIMENTS[name]
    for variant in experiment.rows(TINY):
        cell = make_cell(TINY, TINY.bases[0], experiment.data[0], variant, 0)
        ours = variant.label == "DS-LoRA"
        made = {"refused": "No such module."} if ours else result(0, 0.6, False, ("normal", "offensive", "hatespeech"))
        results.save(cell, made)
    write_report(tmp_path, results, [TINY], [experiment])
    assert "- DS-LoRA: not run: No such module." in (tmp_path / "README.md").read_text()


def test_a_page_with_figures_is_not_replaced_by_one_without(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(out, Results(out / RESULTS), [TINY])
    before = (out / "README.md").read_text()
    with pytest.raises(DsLoraError, match="has no results that `dslora reproduce report --preset tiny` looks for"):
        write_report(out, Results(out / RESULTS), [PRESETS["small"]])
    assert (out / "README.md").read_text() == before
    assert main(["reproduce", "table3", "--preset", "tiny", "--precision", "fp32", "--out", str(out)]) == 1
    assert "they are of the paper's own bases and data" in capsys.readouterr().err


def test_what_a_small_development_split_cannot_say_is_said(out: Path) -> None:
    results = Results(out / RESULTS)
    rows = gather(EXPERIMENTS["table3"], TINY, TINY.bases[0], "olid", results)
    text = "\n".join(comparison(rows, "olid"))
    assert "no test split" not in text
    small = []
    for row in rows:
        by_seed = {}
        for seed, result in row.by_seed.items():
            truth = np.arange(40) % 2
            predicted = np.zeros(40, dtype=int) if row.label == "DS-LoRA" and seed == 0 else truth
            scores = {"n": 40, "truth": pack(truth), "predicted": pack(predicted), "macroF1": 0.5, "leftOut": []}
            fixed = {"development": scores}
            by_seed[seed] = {**result, "development": scores, "gatesFixed": fixed, "labels": ["NOT", "OFF"]}
            del by_seed[seed]["test"]
        small.append(replace(row, by_seed=by_seed))
    text = "\n".join(comparison(small, "own.csv"))
    assert "40 texts of the development split." in text
    assert "no test split: each model's best epoch was chosen on these texts" in text
    assert "One text is 2.5 points of accuracy" in text
    assert f"DS-LoRA never answers OFF with 1 of {len(small[0].by_seed)} seeds" in text
    assert "LoRA + gate never" not in text


def test_all_is_every_table_and_figure() -> None:
    assert {each.name for each in find_experiments("all")} == {
        *(f"table{i}" for i in range(1, 9)),
        "figure2",
        "figure3",
    }
