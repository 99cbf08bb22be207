"""OLID v1.0, sub-task A: English tweets, offensive (OFF) or not (NOT).

Source: Zampieri et al., "Predicting the Type and Target of Offensive Posts in Social Media", NAACL 2019,
arXiv 1902.09666. Read in the form its authors distribute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dslora.data.assembly import RawDataset, RawRow, RawSplit
from dslora.data.problems import Problems, shown
from dslora.data.records import read_tab_separated, read_text

TRAIN: Final = "olid-training-v1.0.tsv"
TEST_TEXTS: Final = "testset-levela.tsv"
TEST_LABELS: Final = "labels-levela.csv"
FORMS: Final = ((TRAIN, TEST_TEXTS, TEST_LABELS),)
HOME: Final = (
    "OLID's page, https://sites.google.com/site/offensevalsharedtask/olid, has the archive OLIDv1.0.zip: unpack it"
)


def load(folder: Path) -> RawDataset:
    """Read the three official files. The tweets' quotation marks are their own: nothing is unquoted.

    Raises:
        DataError: a file is unreadable, or test texts and test labels do not belong together.
    """
    train = read_tab_separated(folder / TRAIN, ("id", "tweet", "subtask_a", "subtask_b", "subtask_c"))
    rows = [
        RawRow(train.where(row), row.values["id"], row.values["tweet"], row.values["subtask_a"]) for row in train.rows
    ]
    return RawDataset(
        labels=("NOT", "OFF"),
        positive_labels=("OFF",),
        splits={"train": RawSplit(rows, (train.file,)), "test": _test(folder)},
        license="No licence is stated; the authors ask that their paper be cited",
        citation=(
            "Zampieri, Malmasi, Nakov, Rosenthal, Farra and Kumar: Predicting the Type and Target of "
            "Offensive Posts in Social Media. NAACL 2019. arXiv 1902.09666"
        ),
    )


def _test(folder: Path) -> RawSplit:
    problems = Problems()
    answers = read_text(folder / TEST_LABELS)
    labels: dict[str, str] = {}
    for line, content in enumerate(answers.content.split("\n"), start=1):
        if not content.strip():
            continue
        row_id, comma, label = content.strip().partition(",")
        if not comma or row_id in labels:
            problems.add(
                f"{TEST_LABELS}, line {line}",
                "not an id and a label, or an id seen before. Expected 'id,label' once for each test row. "
                "Use the official file.",
            )
        labels[row_id] = label
    texts = read_tab_separated(folder / TEST_TEXTS, ("id", "tweet"))
    rows: list[RawRow] = []
    for row in texts.rows:
        row_id = row.values["id"]
        if row_id not in labels:
            problems.add(
                texts.where(row),
                f"the id {shown(row_id)} has no label in {TEST_LABELS}. Use both official files.",
            )
        else:
            rows.append(RawRow(texts.where(row), row_id, row.values["tweet"], labels.pop(row_id)))
    if labels:
        problems.add(TEST_LABELS, f"{len(labels)} ids have no text in {TEST_TEXTS}. Use both official files.")
    problems.raise_any()
    return RawSplit(rows, (texts.file, answers.source(len(rows))))
