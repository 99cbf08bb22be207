"""What a data set looks like before anyone trains on it: ``dslora data check``."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dslora.data.dataset import Dataset, Overlap, Split
from dslora.encoding import TextEncoder
from dslora.normalization import normalize

# Percentiles of text lengths that the report shows.
_PERCENTILES = (0, 50, 95, 99, 100)


@dataclass(frozen=True)
class SplitCheck:
    """One split, without its texts.

    Attributes:
        rows: posts.
        classes: posts by label.
        repeated: posts whose text stood in the split before, as it is.
        repeated_normalized: the same once both are normalised.
        contradicting: different normalised texts that stand in the split with more than one label.
        characters: percentiles 0, 50, 95, 99 and 100 of the length in code points.
        tokens: the same in tokens of the base model, special ones included.
        windowed: posts longer than the model reads at once.
        scripts: share of letters by writing system, largest first, those of at least 0.1 %.
    """

    rows: int
    classes: dict[str, int]
    repeated: int
    repeated_normalized: int
    contradicting: int
    characters: tuple[int, ...]
    tokens: tuple[int, ...]
    windowed: int
    scripts: dict[str, float]


@dataclass(frozen=True)
class DataCheck:
    """A whole data set.

    Attributes:
        name: of the data set.
        splits: by name.
        overlaps: identical texts in two splits.
        overlaps_normalized: the same once both are normalised: what the model sees twice.
        dropped: rows that were left out, by reason.
    """

    name: str
    splits: dict[str, SplitCheck]
    overlaps: tuple[Overlap, ...]
    overlaps_normalized: tuple[Overlap, ...]
    dropped: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Tables for people, ending in a line break."""
        names = list(self.splits)
        checks = list(self.splits.values())
        labels = list(checks[0].classes)
        rows: list[list[str]] = [["posts", *(f"{check.rows:,}" for check in checks)]]
        for label in labels:
            rows.append([label, *(f"{c.classes[label]:,} ({c.classes[label] / c.rows:.1%})" for c in checks)])
        rows += [
            ["repeated texts", *(f"{check.repeated:,}" for check in checks)],
            ["repeated once normalised", *(f"{check.repeated_normalized:,}" for check in checks)],
            ["texts with several labels", *(f"{check.contradicting:,}" for check in checks)],
            ["characters: " + _HEADING, *(_spread(check.characters) for check in checks)],
            ["tokens: " + _HEADING, *(_spread(check.tokens) for check in checks)],
            ["longer than the model reads", *(f"{check.windowed:,}" for check in checks)],
            ["scripts", *(", ".join(f"{script} {share:.1%}" for script, share in c.scripts.items()) for c in checks)],
        ]
        parts = [f"# {self.name}", _table(["", *names], rows)]
        shared = {(o.earlier, o.later): o.rows for o in self.overlaps}
        normalized = {(o.earlier, o.later): o.rows for o in self.overlaps_normalized}
        if normalized:
            parts.append("Texts that stand in two splits (models may have seen what they are measured on):")
            parts.append(
                _table(
                    ["later", "also in", "texts", "once normalised"],
                    [[b, a, f"{shared.get((a, b), 0):,}", f"{count:,}"] for (a, b), count in normalized.items()],
                )
            )
        dropped = [f"- {count:,}: {reason}" for reason, count in self.dropped.items() if count]
        parts.append("\n".join(["Left out:", *dropped]) if dropped else "Nothing was left out.")
        return "\n\n".join(parts) + "\n"


_HEADING = "shortest / median / 95 % / 99 % / longest"


def check_dataset(dataset: Dataset, encoder: TextEncoder) -> DataCheck:
    """Look at a data set as a model would.

    Args:
        dataset: As loaded.
        encoder: What the model reads of a text.
    """
    kept = dataset.without_refused(encoder.ids)
    normalized = {
        name: tuple(normalize(text, encoder.steps) for text in split.texts) for name, split in kept.splits.items()
    }
    seen = {name: set(texts) for name, texts in normalized.items()}
    names = list(seen)
    return DataCheck(
        name=dataset.name,
        splits={
            name: _check_split(kept, name, split, normalized[name], encoder) for name, split in kept.splits.items()
        },
        overlaps=kept.overlaps,
        overlaps_normalized=tuple(
            Overlap(earlier, later, count)
            for i, earlier in enumerate(names)
            for later in names[i + 1 :]
            if (count := sum(text in seen[earlier] for text in normalized[later]))
        ),
        dropped=dict(kept.dropped),
    )


def _check_split(
    dataset: Dataset, name: str, split: Split, normalized: tuple[str, ...], encoder: TextEncoder
) -> SplitCheck:
    labels: dict[str, set[int]] = {}
    for text, label in zip(normalized, split.labels.tolist(), strict=True):
        labels.setdefault(text, set()).add(label)
    tokens = [len(encoder.ids(text)) + encoder.special for text in split.texts]
    return SplitCheck(
        rows=len(split),
        classes=dataset.class_counts(name),
        repeated=len(split) - len(set(split.texts)),
        repeated_normalized=len(split) - len(labels),
        contradicting=sum(len(each) > 1 for each in labels.values()),
        characters=_percentiles([len(text) for text in split.texts]),
        tokens=_percentiles(tokens),
        windowed=sum(count > encoder.max_tokens for count in tokens),
        scripts=_scripts(split.texts),
    )


def _percentiles(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.percentile(values, _PERCENTILES, method="inverted_cdf"))


def _scripts(texts: Sequence[str]) -> dict[str, float]:
    """Writing systems by the first word of their letters' Unicode names (LATIN, CYRILLIC, ARABIC, CJK)."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    scripts: Counter[str] = Counter()
    for character, count in letters.items():
        scripts[unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0].capitalize()] += count
    total = max(1, scripts.total())
    return {script: count / total for script, count in scripts.most_common() if count / total >= 0.001}


def _spread(values: Sequence[int]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *(line(row) for row in rows)])
