"""GermEval 2018, task 1: German tweets, offensive (OFFENSE) or not (OTHER).

Source: Wiegand, Siegel and Ruppenhofer, "Overview of the GermEval 2018 Shared Task on the Identification of
Offensive Language". Read in the form its authors distribute: tab-separated, no header, three fields a line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dslora.data.assembly import RawDataset, RawRow, RawSplit
from dslora.data.problems import Problems
from dslora.data.records import read_text

TRAIN: Final = "germeval2018.training.txt"
TEST: Final = "germeval2018.test.txt"
FORMS: Final = ((TRAIN, TEST),)
HOME: Final = (
    "GermEval's repository, https://github.com/uds-lsv/GermEval-2018-Data, has germeval2018.training.txt and "
    "germeval2018.test.txt: download both"
)
# What the distribution has in place of a line break within a tweet.
_LINE_BREAK: Final = "|LBR|"


def load(folder: Path) -> RawDataset:
    """Read both official files; column 2 is task 1, column 3 (the fine label of task 2) is not read.

    Raises:
        DataError: a file is unreadable, or a line has not three fields.
    """
    return RawDataset(
        labels=("OTHER", "OFFENSE"),
        positive_labels=("OFFENSE",),
        splits={"train": _split(folder / TRAIN), "test": _split(folder / TEST)},
        license="CC-BY-4.0",
        citation=(
            "Wiegand, Siegel and Ruppenhofer: Overview of the GermEval 2018 Shared Task on the Identification "
            "of Offensive Language. GermEval 2018, Vienna"
        ),
    )


def _split(path: Path) -> RawSplit:
    text = read_text(path)
    problems = Problems()
    rows: list[RawRow] = []
    for number, line in enumerate(text.content.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        fields = line.rstrip("\r").split("\t")
        if len(fields) != 3:
            problems.add(
                where,
                f"{len(fields)} fields. Expected 3 separated by tabs: tweet, coarse label, fine label. "
                "Use the official file.",
            )
            continue
        # The files have no ids; a line is one row, and the files are fixed.
        rows.append(RawRow(where, f"line {number}", fields[0].replace(_LINE_BREAK, "\n"), fields[1]))
    problems.raise_any()
    return RawSplit(rows, (text.source(len(rows)),))
