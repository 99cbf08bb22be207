"""What a cell calls its data: a data set, or data of one's own with what must be known to read them, in one string.

    olid    posts.csv    posts.csv?text-column=post&label-column=verdict&positive-labels=abusive

So it goes wherever the name of a data set goes: into keys, worker processes and the report. A name without a question
mark is what it always was, and so are keys made of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode

from dslora.data.hub import PREFIX
from dslora.run_record import DataSettings

_TEXT: Final = "text-column"
_LABEL: Final = "label-column"
_POSITIVE: Final = "positive-labels"


def source_of(
    data: str, text_column: str | None, label_column: str | None, positive_labels: Sequence[str] | None
) -> str:
    """One string for data and what was said of them; the data's name alone where nothing was."""
    # Their order means nothing, and shall make no other key.
    said = {_TEXT: text_column, _LABEL: label_column, _POSITIVE: sorted(positive_labels or ())}
    query = urlencode({name: value for name, value in said.items() if value}, doseq=True)
    return f"{data}?{query}" if query else data


def options_of(source: str) -> list[str]:
    """What :func:`source_of` was given, as options of the command line."""
    settings = settings_of(source)
    options = ["--data", settings.name]
    options += ["--text-column", settings.text_column] if settings.text_column else []
    options += ["--label-column", settings.label_column] if settings.label_column else []
    return [*options, *(["--positive-labels", *settings.positive_labels] if settings.positive_labels else [])]


def title_of(source: str) -> str:
    """For headings: the name of a data set, or of a file or folder without the way to it."""
    name = settings_of(source).name
    return name if name.startswith(PREFIX) else Path(name).name


def place_of(source: str) -> str | None:
    """The whole path of data in files; None of others."""
    path = Path(settings_of(source).name)
    return str(path.resolve()) if path.exists() else None


def is_same(source: str | None, known: str | None, place: str | None) -> bool:
    """Whether two strings mean the same data, by whatever path.

    Args:
        source: As it is given now.
        known: As it was given, in some folder.
        place: What :func:`place_of` said of it there.
    """
    if source is None or known is None or source == known:
        return source == known
    one, other = settings_of(source), settings_of(known)
    return replace(one, name="") == replace(other, name="") and place is not None and place_of(source) == place


def settings_of(source: str, data_dir: str | None = None) -> DataSettings:
    """What :func:`source_of` was given, to load it.

    Args:
        source: As a cell has it.
        data_dir: Folder with the named data sets.
    """
    name, _, query = source.rpartition("?")
    said = parse_qs(query)
    if not name or not said or not said.keys() <= {_TEXT, _LABEL, _POSITIVE}:
        return DataSettings(source, data_dir)
    text, label = (said.get(key, [None])[0] for key in (_TEXT, _LABEL))
    return DataSettings(name, data_dir, text, label, positive_labels=tuple(said.get(_POSITIVE, ())))
