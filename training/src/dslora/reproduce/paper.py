"""What we know of the paper's figures (Symmetry 2025, 17(7), 1076), in points. The rest is lost from our text."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Published:
    """One row of a table of the paper; None where it is not known to us.

    Attributes:
        macro_f1: In points.
        gain: Difference from LoRA in macro-F1, in points.
        f1: By class, in points.
        note: What else is known.
    """

    macro_f1: float | None = None
    gain: float | None = None
    f1: dict[str, float] = field(default_factory=dict)
    note: str = ""


_OLID_LORA: Final = Published(80.1, None, {"OFF": 75.9})
_OLID_DS: Final = Published(81.3, 1.2, {"OFF": 77.7})

# By experiment, data set and row.
PUBLISHED: Final[dict[tuple[str, str, str], Published]] = {
    ("table1", "olid", "LoRA"): _OLID_LORA,
    ("table1", "olid", "DoRA"): Published(81.0, 0.9),
    ("table1", "olid", "DS-LoRA"): _OLID_DS,
    ("table2", "hatexplain", "LoRA"): Published(70.2, None, {"hatespeech": 64.0, "offensive": 67.5}),
    ("table2", "hatexplain", "DS-LoRA"): Published(72.0, 1.8, {"hatespeech": 66.5, "offensive": 70.1}),
    ("table3", "olid", "LoRA"): _OLID_LORA,
    ("table3", "olid", "LoRA + gate"): Published(None, 0.8, note="+1.2 F1 of OFF"),
    ("table3", "olid", "DS-LoRA"): Published(81.3, 1.2, {"OFF": 77.7}, "over 50 % zeros at the best λ"),
    ("table4", "olid", "LoRA"): _OLID_LORA,
    ("table4", "olid", "linear gate"): Published(None, 0.7),
    ("table4", "olid", "MLP gate, d = 16"): _OLID_DS,
    ("table4", "olid", "MLP gate, d = 32"): Published(note="slightly below d = 16"),
    ("table6", "jigsaw", "DS-LoRA"): Published(
        None, None, note="F1 86.1, +1.3 over LoRA (which F1 is not known to us)"
    ),
    ("table6", "germeval2018", "LoRA"): Published(note="F1 78.8 (which F1 we do not know)"),
    ("table6", "germeval2018", "DS-LoRA"): Published(note="F1 80.4 (which F1 we do not know)"),
}

GATES: Final = "Normal < Offensive < Hate, highest in the middle layers"
FIGURE3: Final = "over 50 % zeros at the best λ"
