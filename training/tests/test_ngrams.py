"""n-grams: a run like any other, kept as plain numbers, against scikit-learn's own predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from base_folder import make_base
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.inference import softmax
from dslora.ngrams import NgramModel, NgramSettings, NgramSpec
from test_commands import write_posts

STEPS = ("nfkc", "lowercase", "whitespace")


def posts(rows: int, classes: int) -> tuple[list[str], list[int]]:
    rng = np.random.default_rng(0)
    words = [f"wörd{i}" for i in range(30)]
    labels = [row % classes for row in range(rows)]
    return [
        " ".join([*rng.choice(words, 6), f"mark{label}"[: 3 + row % 3]]) for row, label in enumerate(labels)
    ], labels


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_scikit_learns_own_before_and_after_saving(classes: int, tmp_path: Path) -> None:
    texts, labels = posts(90, classes)
    spec = NgramSpec(tuple("abc"[:classes]), ("b",), STEPS, NgramSettings(least_posts=2))
    model = NgramModel.fit(spec, texts, labels, balanced=True, seed=0)
    union = make_union(
        TfidfVectorizer(lowercase=False, sublinear_tf=True, min_df=2, token_pattern=r"\S+", ngram_range=(1, 2)),
        TfidfVectorizer(lowercase=False, sublinear_tf=True, min_df=2, analyzer="char_wb", ngram_range=(2, 5)),
    )
    expected = make_pipeline(union, LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000)).fit(
        texts, labels
    )
    others, _ = posts(40, classes)
    found = model.predict(others)
    np.testing.assert_allclose(softmax(found.logits), expected.predict_proba(others), atol=1e-5)
    assert found.gates.shape == (40, 0)
    model.save(tmp_path)
    again = NgramModel.load(tmp_path)
    assert again.spec == spec
    np.testing.assert_array_equal(again.predict(others).logits, found.logits)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    texts, labels = posts(20, 2)
    NgramModel.fit(NgramSpec(("a", "b"), ("b",), STEPS, NgramSettings()), texts, labels, False, 0).save(tmp_path)
    (tmp_path / "n-grams.npz").write_bytes(b"PK nothing")
    with pytest.raises(DsLoraError, match="cannot be read"):
        NgramModel.load(tmp_path)


def test_the_command_trains_evaluates_and_refuses_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    data = write_posts(tmp_path / "posts.csv", 160)
    columns = ["--text-column", "post", "--label-column", "verdict", "--positive-labels", "abusive"]
    train = ["train", "--method", "n-grams", "--data", str(data), *columns, "--out", str(run)]
    assert main(train) == 0
    record = json.loads((run / "run.json").read_text())
    assert record["result"]["macro_f1"] > 0.8
    assert record["spec"]["method"] == "n-grams"
    # Given again, it finds the run; with other settings it does not replace it.
    assert main(train) == 0
    assert json.loads((run / "run.json").read_text()) == record
    capsys.readouterr()
    for more, message in (
        (["--inverse-penalty", "0.1"], "holds a run with other settings"),
        (["--inverse-penalty", "-1"], "expected a number above 0"),
        (["--epochs", "3"], "does not use --epochs"),
        (["--rank", "3"], "does not use --rank"),
        (["--l1-strength", "0.3"], "does not use --l1-strength"),
        (["--least-posts", "1000", "--overwrite"], "No n-gram stands in 1000 posts"),
    ):
        assert main([*train, *more]) == 1, more
        assert message in capsys.readouterr().err
    # Another method is another run, though n-grams leave no checkpoint that would say so.
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    other = ["train", "--method", "lora", "--data", str(data), *columns, "--max-tokens", "24", "--out", str(run)]
    base = make_base(tmp_path / "base")
    assert main([*other, "--base", base, "--window-overlap", "4", "--epochs", "1"]) == 1
    assert "holds a run with other settings" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    assert main(["evaluate", str(run)]) == 0
    report = json.loads((run / "evaluation" / "development.json").read_text())
    assert report["precision"] == "scikit-learn"
    assert json.loads((run / "calibration.json").read_text())["temperature"] > 0
    capsys.readouterr()
    assert main(["export", str(run), "--bundle", str(tmp_path / "bundle")]) == 1
    assert "no PyTorch model that could become a graph" in capsys.readouterr().err
    assert main(["pipeline", *train[1:], "--bundle", str(tmp_path / "bundle")]) == 1
    assert "no PyTorch model" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
