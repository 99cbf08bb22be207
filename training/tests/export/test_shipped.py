"""The bundles that are committed, ``models/``."""

import json
from pathlib import Path

MODELS = Path(__file__).resolve().parents[3] / "models"
# Bytes; int8 is a quarter of float32.
LARGEST_INT8_MINILM = 25_000_000


def test_int8_graphs_of_minilm_are_small() -> None:
    sizes = {}
    for file in MODELS.glob("*/manifest.json"):
        manifest = json.loads(file.read_text(encoding="utf-8"))
        for graph in manifest["graphs"]:
            if graph["precision"] == "int8" and "MiniLM" in manifest["base"]["id"]:
                parts = [file.with_name(entry["file"]) for entry in (graph, *graph["externalData"])]
                sizes[parts[0]] = sum(part.stat().st_size for part in parts)
    assert len(sizes) >= 2
    assert {graph: size for graph, size in sizes.items() if size > LARGEST_INT8_MINILM} == {}
