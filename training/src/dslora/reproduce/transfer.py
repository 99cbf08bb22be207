"""Trained on one data set, tested on the others: offensive or not, whatever the classes are called."""

from functools import lru_cache
from typing import Any, Final

import numpy as np

from dslora import data as datasets
from dslora.data import Dataset, take
from dslora.errors import MissingDataError
from dslora.evaluation.metrics import confusion_counts, is_positive
from dslora.reproduce.source import settings_of
from dslora.run_record import TrainedRun

# HateXplain's three classes and its two are the same posts: one of them is enough.
TARGETS: Final = ("olid", "hatexplain-binary", "jigsaw")
_SAME_POSTS: Final = {"hatexplain": "hatexplain-binary"}
_SEED: Final = 0


def language_of(data: str) -> str:
    """Language of the posts of what a cell calls its data."""
    return datasets.language_of(settings_of(data).name)


@lru_cache(maxsize=8)
def loaded(data: str, data_dir: str | None) -> Dataset:
    """What a cell calls its data, read once a process."""
    return settings_of(data, data_dir).load()


def transfer(run: TrainedRun, data: str, data_dir: str | None, rows: int) -> dict[str, Any]:
    """Counts of the trained model on the other data sets' test splits, positive classes against the rest.

    All of them are English: a model of posts in another language is tested on none. A data set whose files are not
    there is left out. Both are said, and files that are there and damaged are an error.

    Args:
        run: Finished.
        data: What it was trained on.
        data_dir: Where the others are.
        rows: At most this many of each test split, stratified and always the same; 0 takes all.

    Raises:
        DataError: Files are not as they should be.

    Returns:
        By data set: ``confusion`` (true by predicted, [not offensive, offensive]), or ``missing`` with the reason.
    """
    found: dict[str, Any] = {}
    name = settings_of(data).name
    for target in TARGETS:
        if target == _SAME_POSTS.get(name, name):
            continue
        if language_of(data) != language_of(target):
            found[target] = {"missing": "another language"}
            continue
        try:
            dataset = loaded(target, data_dir)
        except MissingDataError:
            found[target] = {"missing": "its files were not there"}
            continue
        if "test" not in dataset.splits:
            found[target] = {"missing": "no test split"}
            continue
        split, _ = dataset.splits["test"].without_refused(run.read)
        if rows and rows < len(split):
            split = take(split, rows, _SEED)
        predicted = run.predict(split.texts).logits.argmax(axis=1)
        truth = is_positive(split.labels, dataset.labels, dataset.positive_labels)
        called = is_positive(predicted, run.spec.labels, run.spec.positive_labels)
        found[target] = {"confusion": confusion_counts(called.astype(np.int64), truth.astype(np.int64), 2).tolist()}
    return found
