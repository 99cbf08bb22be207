"""A toy data set with official splits."""

from pathlib import Path

from base_folder import WORDS


def write_splits(folder: Path) -> str:
    """A data set whose class is whether w0 stands in the post."""
    folder.mkdir()
    for number, (split, rows) in enumerate({"train": 96, "development": 40, "test": 60}.items()):
        lines = ["text,label"]
        for row in range(rows):
            words = [WORDS[1 + (row * 7 + i * 3 + number) % 39] for i in range(3 + row % 5)]
            if row % 2:
                words[row % len(words)] = WORDS[0]
            lines.append(f"{' '.join(words)} w{row % 40} w{number},{'OFF' if row % 2 else 'NOT'}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return str(folder)
