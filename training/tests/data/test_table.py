"""A user's own files: what is read, and what is said about files that are wrong."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from dslora.cli import main
from dslora.data import load_dataset
from dslora.errors import DataError, DsLoraError
from dslora.normalization import normalize

SECRET = "words that no message may repeat"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def csv_rows(rows: int = 10, header: str = "text,label") -> str:
    return header + "\n" + "".join(f"{SECRET} {row},{row % 2}\n" for row in range(rows))


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def message_of(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as raised:
        load_dataset(path, **options)
    message = str(raised.value)
    assert SECRET not in message
    return message


def test_csv_tsv_and_json_lines_read_alike(tmp_path: Path) -> None:
    posts = [(f"post {row}, with \"quotes\" and 'more'", str(row % 2)) for row in range(20)]
    quoted = [('"' + text.replace('"', '""') + '"', label) for text, label in posts]
    files = [
        write(tmp_path / "a.csv", "label,text\r\n" + "".join(f"{label},{text}\r\n" for text, label in quoted)),
        write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in posts)),
        write(tmp_path / "a.jsonl", json_lines(*({"text": t, "label": int(label)} for t, label in posts))),
    ]
    datasets = [load_dataset(file, development_fraction=0.2) for file in files]
    for dataset in datasets:
        assert dataset.name == "a"
        assert dataset.labels == ("0", "1")
        assert dataset.positive_labels == ("1",)
        assert dataset.class_counts("development") == {"0": 2, "1": 2}
        train, development = dataset.splits["train"], dataset.splits["development"]
        assert sorted(train.texts + development.texts) == sorted(text for text, _ in posts)
        assert train.files[0].rows == 20


def test_parquet_reads_as_json_lines_do(tmp_path: Path) -> None:
    rows = [{"text": f"post {i}\u2028 end", "label": i % 2, "id": None if i else "first"} for i in range(10)]
    lines = load_dataset(write(tmp_path / "posts.jsonl", json_lines(*rows)))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "posts.parquet")
    table = load_dataset(tmp_path / "posts.parquet")
    for split in ("train", "development"):
        assert table.splits[split].texts == lines.splits[split].texts
        assert table.splits[split].ids == lines.splits[split].ids
        assert table.splits[split].labels.tolist() == lines.splits[split].labels.tolist()
    digest = hashlib.sha256((tmp_path / "posts.parquet").read_bytes()).hexdigest()
    assert table.splits["train"].files[0].sha256 == digest


def test_a_column_of_numbers_has_nan_where_a_value_is_missing(tmp_path: Path) -> None:
    numbers = {"label": [0.0, 1.0, float("nan")] * 4, "id": [*(float(i) for i in range(10)), float("nan"), None]}
    table = pyarrow.table({"text": [f"{SECRET} {i}" for i in range(12)]} | numbers)
    parquet.write_table(table, tmp_path / "posts.parquet")
    message = message_of(tmp_path / "posts.parquet")
    assert "posts.parquet, line 3: no label. Expected one of '0', '1'." in message
    assert message.count("no label") == 4

    parquet.write_table(table.filter([i % 3 < 2 for i in range(12)]), tmp_path / "posts.parquet")
    dataset = load_dataset(tmp_path / "posts.parquet")
    assert dataset.labels == ("0", "1")
    ids = dataset.splits["train"].ids + dataset.splits["development"].ids
    assert sorted(ids) == sorted(["0.0", "1.0", "3.0", "4.0", "6.0", "7.0", "9.0", "line 8"])


def test_wrong_parquet(tmp_path: Path) -> None:
    file = tmp_path / "posts.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "verdict": ["0", "1"]}), file)
    assert "no column 'label'" in message_of(file)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        assert "not a Parquet file that can be read" in message_of(write(file, content))
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array([], "string"), "label": pyarrow.array([], "string")}), file
    )
    assert "the file is empty" in message_of(file)


def test_line_breaks_in_quotes_and_in_posts(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",0\n"a\u2028b",1\n' + csv_rows(8).split("\n", 1)[1]
    dataset = load_dataset(write(tmp_path / "a.csv", "\ufeff" + content))
    texts = dataset.splits["train"].texts + dataset.splits["development"].texts
    assert {"two\nlines", "a\u2028b"} <= set(texts)
    tabs = "text\tlabel\n" + "".join(f"a\u2028b\u0085{row}\t{row % 2}\n" for row in range(8))
    assert len(load_dataset(write(tmp_path / "b.tsv", tabs)).splits["train"]) > 0


def test_folder_with_splits_and_other_files(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", csv_rows(10))
    write(tmp_path / "dev.jsonl", json_lines({"text": "x", "label": 0}, {"text": "y", "label": True}))
    with pytest.raises(DataError, match=r"dev\.jsonl, line 2: unknown label 'true'"):
        load_dataset(tmp_path)
    write(tmp_path / "dev.jsonl", json_lines({"text": "x", "label": 0}, {"text": "y", "label": 1.0}))
    write(tmp_path / "test.tsv", "text\tlabel\nx\t0\nz\t1\n")
    write(tmp_path / "notes.txt", "nothing of ours")
    dataset = load_dataset(tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 10,
        "development": 2,
        "test": 2,
    }
    assert dataset.carving is None
    assert [(each.earlier, each.later, each.rows) for each in dataset.overlaps] == [("development", "test", 1)]


@pytest.mark.parametrize("name", ["valid", "Val", "validation", "dev", "development", "eval"])
def test_a_development_file_has_any_of_its_usual_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.csv", csv_rows(10))
    write(tmp_path / f"{name}.csv", csv_rows(4))
    dataset = load_dataset(tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 10, "development": 4}
    assert dataset.carving is None


def test_ids_come_from_an_id_column_or_the_line(tmp_path: Path) -> None:
    rows = [{"id": None if row == 3 else f"p{row}", "text": f"t{row}", "label": row % 2} for row in range(8)]
    dataset = load_dataset(write(tmp_path / "a.jsonl", json_lines(*rows)))
    ids = dataset.splits["train"].ids + dataset.splits["development"].ids
    assert set(ids) == {"line 4"} | {f"p{row}" for row in range(8) if row != 3}


def test_named_columns_and_positive_labels(tmp_path: Path) -> None:
    content = "post,kind\n" + "".join(f"post {row},{'abc'[row % 3]}\n" for row in range(12))
    path = write(tmp_path / "a.csv", content)
    dataset = load_dataset(path, text_column="post", label_column="kind", positive_labels=["c", "b"])
    assert dataset.positive_labels == ("b", "c")


@pytest.mark.parametrize(
    ("labels", "positive"),
    [("NOT OFF", "OFF"), ("False true", "true"), ("no Yes", "Yes"), ("OTHER OFFENSE", "OFFENSE"), ("off on", None)],
)
def test_positive_label_that_says_so_itself(tmp_path: Path, labels: str, positive: str | None) -> None:
    content = "text,label\n" + "".join(f"post {row},{labels.split()[row % 2]}\n" for row in range(12))
    path = write(tmp_path / "a.csv", content)
    if positive is None:
        assert "--positive-labels" in message_of(path)
    else:
        assert load_dataset(path).positive_labels == (positive,)


def test_folder_gives_its_name(tmp_path: Path) -> None:
    (tmp_path / "posts.v2").mkdir()
    write(tmp_path / "posts.v2" / "train.csv", csv_rows(20))
    assert load_dataset(tmp_path / "posts.v2").name == "posts.v2"


def test_written_split_can_be_read_back(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "a.csv", csv_rows(40)), seed=3)
    dataset.write_split(tmp_path / "run" / "development.json")
    written = json.loads((tmp_path / "run" / "development.json").read_text(encoding="utf-8"))
    assert written["ids"] == list(dataset.splits["development"].ids)
    assert (written["seed"], written["rows"], written["dataset"]) == (3, 4, "a")
    assert "SHA-256" in written["method"]
    assert SECRET not in json.dumps(written)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["development.json"]


def test_rows_that_the_service_would_refuse_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"text": "\u200b" if row == 2 else f"Post {row}", "label": row % 2} for row in range(40)]
    dataset = load_dataset(write(tmp_path / "a.jsonl", json_lines(*rows)))
    kept = dataset.without_refused(lambda text: normalize(text, ["invisible", "lowercase"]))
    assert sum(len(split) for split in kept.splits.values()) == 39
    assert sum(kept.dropped.values()) == 1
    assert all(text.startswith("Post") for split in kept.splits.values() for text in split.texts)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("wrong column", csv_rows(header="body,label"), "no column 'text'.*'body', 'label'.*--text-column"),
        ("no header", csv_rows().split("\n", 1)[1], r"line 1: no column 'text'.*a value of \d+ characters"),
        (
            "semicolons",
            csv_rows(header="text;label").replace(",0\n", ";0\n"),
            "line 1: the header has one column, and seems to be separated by semicolons. Expected commas. Save",
        ),
        ("quoted, with semicolons", f'\n"text";"label"\n"{SECRET}";"1"\n', "line 2: .* separated by semicolons"),
        ("tabs", f"text\tlabel\n{SECRET}, yes\t1\n", "separated by tabs. Expected commas.*or as .tsv or .jsonl"),
        ("one column", "text\nx\n", "line 1: no column 'label'.*'text'"),
        ("column twice", csv_rows(header="text,text"), "line 1: the header has"),
        ("ragged", csv_rows(3) + f"{SECRET}\n", r"line 5: 1 fields.*header has 2"),
        ("too many fields", csv_rows(3) + f"{SECRET},more,1\n", r"line 5: 3 fields"),
        ("open quote", csv_rows(3) + f'"{SECRET},1\n', r"line 5: the quotation marks"),
        ("empty text", csv_rows(3) + "  ,1\n", "line 5: the text is empty"),
        ("no label", csv_rows(3) + f"{SECRET},\n", "line 5: no label"),
        ("one class", f"text,label\n{SECRET},0\n{SECRET},0\n", "every row has the label '0'.*two classes"),
        (
            "a class with one row",
            csv_rows(3),
            r"the class '1' \(posts.csv, line 3\) has a single row.*at least 2 rows of each.*by label: '0' 2, '1' 1\.$",
        ),
        ("posts as labels", "text,label\n" + "".join(f"x,{SECRET} {r}\n" for r in range(60)), "60 different"),
        ("not UTF-8", csv_rows(3).encode() + b"caf\xe9 " + SECRET.encode() + b",1\n", "line 5: byte 0xe9"),
        ("empty", " \n", "the file is empty"),
        ("header only", "text,label\n", "0 different values"),
        (
            "unclear labels",
            csv_rows().replace(",1\n", ",b\n").replace(",0\n", ",a\n"),
            r"--positive-labels\. Rows by label: 'a' 5, 'b' 5\.$",
        ),
        (
            "id twice",
            "id,text,label\np,x,0\np,y,1\nq,z,0\nr,w,1\n",
            r"line 3: the id 'p' was already used \(.*line 2\)",
        ),
    ],
)
def test_wrong_csv(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    message = message_of(write(tmp_path / "posts.csv", content))
    assert message.startswith("posts.csv")
    assert re.search(expected, message), name


def labelled(path: Path, *labels: tuple[str, int]) -> Path:
    """A file with so many rows of each label."""
    rows = [f"{SECRET} {row}\t{label}\n" for label, count in labels for row in range(count)]
    return write(path, "text\tlabel\n" + "".join(rows))


def test_labels_are_named_whatever_letters_they_have(tmp_path: Path) -> None:
    path = labelled(tmp_path / "uni.tsv", ("grob – übel", 6), ("très gentil", 1200), ("x" * 60, 3))
    message = message_of(path)
    assert message.endswith(f"Rows by label: 'grob – übel' 6, 'très gentil' 1,200, '{'x' * 40}…' 3.")
    assert load_dataset(path, positive_labels=["grob – übel"]).positive_labels == ("grob – übel",)
    with pytest.raises(DsLoraError, match=r"'grob - übel' is no label of this data.*of 'grob – übel', 'très gentil'"):
        load_dataset(path, positive_labels=["grob - übel"])
    # With a space that is none, it is seen what has to be typed.
    assert r"'a\xa0b' 4" in message_of(labelled(path, ("a\u00a0b", 4), ("c", 4)))
    assert "every row has the label 'grob – übel'" in message_of(labelled(path, ("grob – übel", 2)))


def test_a_class_of_one_row_is_named_or_its_place_is(tmp_path: Path) -> None:
    path = labelled(tmp_path / "posts.tsv", ("übel", 1), ("0", 120), ("1", 3))
    assert "the class 'übel' (posts.tsv, line 2) has a single row" in message_of(path, positive_labels=["1"])
    # Two columns that changed places make a post a label.
    path = labelled(path, ("0", 120), (f"{SECRET} 7", 1), ("1", 1))
    message = message_of(path, positive_labels=["1"])
    assert "(a value of 34 characters) (posts.tsv, line 122), '1' (posts.tsv, line 123) have a single row" in message
    assert message.endswith("see whether --label-column names the labels.")


def test_what_may_be_posts_is_not_shown(tmp_path: Path) -> None:
    posts = [(f"{SECRET} {row}", 1 + row % 2) for row in range(15)]
    message = message_of(labelled(tmp_path / "few.tsv", *posts))
    assert "(a value of 35 characters) 2" in message
    assert message.endswith("What is not shown may be a post: see whether --label-column names the labels.")
    message_of(labelled(tmp_path / "many.tsv", *((f"{SECRET} {row}", 3) for row in range(21))))


def test_a_tsv_with_another_separator(tmp_path: Path) -> None:
    message = message_of(write(tmp_path / "posts.tsv", csv_rows()))
    assert "line 1: the header has one column, and seems to be separated by commas. Expected tabs." in message


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            json_lines({"text": "x", "label": 0}, {"text": "y"}),
            "line 2: no column 'label'. The columns there are 'text'",
        ),
        (
            json_lines({"text": "x", "label": 0}, {"text": 5, "label": 1}),
            "line 2: the value of 'text' is no string",
        ),
        (json_lines({"text": "x", "label": 0}, {"text": None, "label": 1}), "line 2: the text is empty"),
        (
            json_lines({"text": "x", "label": 0}, {"text": "\ud800", "label": 1}),
            "line 2: the text holds a lone surrogate",
        ),
        (json_lines({"text": "x", "label": 0}) + f"{{{SECRET}\n", "line 2: not a JSON object"),
        (json_lines({"text": "x", "label": 0}, [SECRET]), "line 2: not a JSON object"),
        (json_lines({"text": "x", "label": 0}) + '{"a":' * 100_000 + "\n", "line 2: not a JSON object"),
        (json_lines({"text": "x", "label": 0}, {"text": "y", "label": float("nan")}), "line 2: no label"),
        (json_lines({"text": "x", "label": 0}, {"text": "y", "label": float("inf")}), "line 2: the label is infinite"),
        (json_lines({"text": "x", "label": -float("inf")}), "line 1: the label is infinite"),
    ],
)
def test_wrong_json_lines(tmp_path: Path, rows: str, expected: str) -> None:
    assert f"posts.jsonl, {expected}" in message_of(write(tmp_path / "posts.jsonl", rows))


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    message = message_of(write(tmp_path / "posts.csv", csv_rows(4) + " ,1\n" * 8))
    assert message.count("the text is empty") == 5
    assert "3 more" in message


def test_class_missing_in_a_split(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", csv_rows(10))
    write(tmp_path / "test.csv", "text,label\nx,0\n")
    assert "test.csv: no row of test has the label '1'" in message_of(tmp_path)


def test_folder_that_is_not_one(tmp_path: Path) -> None:
    assert "no training file" in message_of(tmp_path)
    write(tmp_path / "train.csv", csv_rows())
    write(tmp_path / "validation.csv", csv_rows())
    write(tmp_path / "dev.csv", csv_rows())
    assert "dev.csv and validation.csv are both" in message_of(tmp_path)
    (tmp_path / "dev.csv").rename(tmp_path / "val.csv")
    assert "val.csv and validation.csv are both" in message_of(tmp_path)


def test_an_empty_name_is_not_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train.csv", csv_rows())
    monkeypatch.chdir(tmp_path)
    assert load_dataset(".").name == tmp_path.name
    assert main(["data", "check", "--data", ""]) == 1
    assert "dslora: The data set has an empty name. Expected olid, hatexplain" in capsys.readouterr().err


def test_name_that_is_neither_data_set_nor_path(tmp_path: Path) -> None:
    assert "olid, hatexplain" in message_of(tmp_path / "nowhere")
    assert ".csv, .tsv" in message_of(write(tmp_path / "posts.xlsx", "x"))


def test_positive_labels_must_be_some_of_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", csv_rows())
    for wrong in (["2"], ["0", "1"], []):
        with pytest.raises(DsLoraError, match="'0', '1'"):
            load_dataset(path, positive_labels=wrong)
