"""HateXplain: English posts from Twitter and Gab, judged by three annotators each.

Source: Mathew et al., "HateXplain: A Benchmark Dataset for Explainable Hate Speech Detection", AAAI 2021,
arXiv 2012.10289. A post's label is the majority of its annotators; posts on which all three differ are
left out, as in the paper. Read in the authors' form (`dataset.json` keyed by post id,
`post_id_divisions.json`) or as JSON Lines with idx, post_id, split, text, label and annotator_labels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dslora.data.assembly import RawDataset, RawRow, RawSplit
from dslora.data.dataset import SourceFile
from dslora.data.problems import Problems, shown
from dslora.data.records import Text, read_json_lines, read_text
from dslora.errors import DataError

POSTS: Final = "dataset.json"
DIVISIONS: Final = "post_id_divisions.json"
JSON_LINES: Final = "hatexplain.jsonl"
FORMS: Final = ((POSTS, DIVISIONS), (JSON_LINES,))
HOME: Final = (
    "HateXplain's repository, https://github.com/hate-alert/HateXplain, has dataset.json and "
    "post_id_divisions.json in its folder Data: download both"
)

_LABELS: Final = ("normal", "offensive", "hatespeech")
_SPLITS: Final[Mapping[str, str]] = {"train": "train", "val": "development", "test": "test"}
_UNDECIDED: Final = "annotators without a majority"
_UNASSIGNED: Final = "in none of the official splits"


@dataclass(frozen=True)
class _Post:
    where: str
    id: str
    split: str | None
    text: str
    votes: Sequence[str]


def load(folder: Path) -> RawDataset:
    """Read the three-class task: normal, offensive, hatespeech.

    Raises:
        DataError: a file is missing, unreadable or not in a known form.
    """
    official = (folder / POSTS).exists()
    posts, files = _official(folder) if official else _json_lines(folder / JSON_LINES)
    dropped: Counter[str] = Counter()
    rows: dict[str, list[RawRow]] = {split: [] for split in _SPLITS.values()}
    problems = Problems()
    for post in posts:
        unknown = [vote for vote in post.votes if vote not in _LABELS]
        if unknown or not post.votes:
            found = f"unknown label {shown(unknown[0])}" if unknown else "no label"
            problems.add(post.where, f"{found}. Expected {', '.join(_LABELS)}. Use the official file.")
            continue
        label = _majority(post.votes)
        if label is None:
            dropped[_UNDECIDED] += 1
        elif post.split is None:
            dropped[_UNASSIGNED] += 1
        else:
            rows[post.split].append(RawRow(post.where, post.id, post.text, label))
    problems.raise_any()
    return RawDataset(
        labels=_LABELS,
        positive_labels=("offensive", "hatespeech"),
        splits={split: RawSplit(members, files) for split, members in rows.items()},
        license="MIT",
        citation=(
            "Mathew, Saha, Yimam, Biemann, Goyal and Mukherjee: HateXplain: A Benchmark Dataset for "
            "Explainable Hate Speech Detection. AAAI 2021. arXiv 2012.10289"
        ),
        dropped=dropped,
    )


def load_binary(folder: Path) -> RawDataset:
    """Read the two-class task: normal against toxic, which is offensive or hatespeech.

    The majority is taken among the three classes first, so both tasks have the same rows.
    """
    raw = load(folder)
    splits = {
        name: RawSplit(
            [RawRow(row.where, row.id, row.text, "normal" if row.label == "normal" else "toxic") for row in split.rows],
            split.files,
        )
        for name, split in raw.splits.items()
    }
    return RawDataset(
        labels=("normal", "toxic"),
        positive_labels=("toxic",),
        splits=splits,
        license=raw.license,
        citation=raw.citation,
        dropped=raw.dropped,
    )


def _majority(votes: Sequence[str]) -> str | None:
    (label, most), *others = Counter(votes).most_common()
    return None if others and others[0][1] == most else label


def _json_lines(path: Path) -> tuple[list[_Post], tuple[SourceFile, ...]]:
    records = read_json_lines(path)
    problems = Problems()
    posts: list[_Post] = []
    for record in records.rows:
        where = records.where(record)
        match record.values:
            case {"idx": int(idx), "text": str(text), "split": split, "annotator_labels": list(votes)} if (
                split is None or split in _SPLITS
            ):
                posts.append(_Post(where, str(idx), split and _SPLITS[split], text, [str(vote) for vote in votes]))
            case _:
                problems.add(
                    where,
                    "not a HateXplain row. Expected idx, text, annotator_labels, and split as train, val, "
                    "test or null. Use the file as distributed.",
                )
    problems.raise_any()
    return posts, (records.file,)


def _official(folder: Path) -> tuple[list[_Post], tuple[SourceFile, ...]]:
    entries_text = read_text(folder / POSTS)
    divisions_text = read_text(folder / DIVISIONS)
    entries = _json_object(entries_text)
    split_of = dict(_divisions(_json_object(divisions_text)))
    missing = split_of.keys() - entries.keys()
    if missing:
        raise DataError(
            f"{DIVISIONS}: {len(missing)} ids are not in {POSTS}. Expected every id there. Use both "
            "official files of one release."
        )
    problems = Problems()
    posts: list[_Post] = []
    for post_id, entry in entries.items():
        where = f"{POSTS}, post {shown(post_id)}"
        match entry:
            case {"post_tokens": list(tokens), "annotators": list(annotators)} if all(
                isinstance(annotator, dict) for annotator in annotators
            ):
                votes = [str(annotator.get("label")) for annotator in annotators]
                text = " ".join(str(token) for token in tokens)
                posts.append(_Post(where, post_id, split_of.get(post_id), text, votes))
            case _:
                problems.add(where, "no post_tokens or annotators. Expected both. Use the official file.")
    problems.raise_any()
    files = (entries_text.source(len(posts)), divisions_text.source(len(split_of)))
    return posts, files


def _divisions(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, split in _SPLITS.items():
        ids = content.get(name)
        if not isinstance(ids, list):
            raise DataError(f"{DIVISIONS}: no list {name!r}. Expected train, val and test. Use the official file.")
        yield from ((str(post_id), split) for post_id in ids)


def _json_object(text: Text) -> dict[str, Any]:
    try:
        value = json.loads(text.content)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{text.name}, line {line}: not JSON. Expected one JSON object. Download the file again."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{text.name}: not a JSON object. Expected one keyed by id. Use the official file.")
    return value
