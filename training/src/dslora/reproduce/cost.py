"""Table 7: what training and answering cost beside LoRA, as ``dslora bench`` measures it.

Timings mean something on a machine that does nothing else. A measurement is kept like a cell: delete its file to
measure again. What could not be measured is kept with the reason, and tried again by the next command.
"""

import json
import time
from pathlib import Path
from typing import Any, Final

import torch

from dslora.bases import load_tokenizer, resolve_base
from dslora.bench import BARE, BenchSettings, check_memory, ratio, run_bench, take_turns
from dslora.classifier import Classifier, ClassifierSpec, build_classifier, default_pooling
from dslora.encoding import text_encoder
from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.methods import find_method
from dslora.reproduce.identity import TEMPLATES
from dslora.reproduce.markdown import NOTHING, bullets, over, percent, table
from dslora.reproduce.presets import Preset
from dslora.train.settings import TrainSettings

METHODS: Final = ("lora", "dora", "lora-l1", "lora-gate", "ds-lora")
MERGED: Final = "lora, merged"
# The paper's, over LoRA.
_PAPER: Final = {"ds-lora": ("+12.4 %", "+2.2 %", "+9.4 %")}
_ROWS: Final = 640
_ANSWERS: Final = 200
_WARM_UP: Final = 10


def cost_file(out: Path, preset: Preset, base: str) -> Path:
    """Where a measurement is kept."""
    return out / f"cost-{preset.name}-{base.rpartition('/')[2]}.json"


def measure_cost(out: Path, preset: Preset, rows: int = _ROWS, answers: int = _ANSWERS) -> None:
    """Measures each base that has no measurement yet; says why not of one whose models do not fit into memory.

    Args:
        out: Folder of the report.
        preset: Its bases, batch size and window.
        rows: Texts of the epoch that is timed.
        answers: Texts that are answered one by one.
    """
    for base in preset.bases:
        path = cost_file(out, preset, base)
        if _measurement(path) is not None:
            continue
        settings = BenchSettings(base, METHODS, rows, preset.training["batch_size"], preset.max_tokens)
        try:
            # Before hours are spent on what comes first.
            _check_latency(base, preset.max_tokens)
            measured = {**run_bench(settings), "latency": measure_latency(base, preset.max_tokens, answers)}
        except (DsLoraError, MemoryError, torch.OutOfMemoryError) as error:
            reason = str(error) if isinstance(error, DsLoraError) else "Memory ran out while it was measured."
            write_json(path, {"base": base, "refused": reason})
            print(f"{path.stem}: refused: {reason}")
        else:
            write_json(path, measured)


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept of a base; None where nothing is."""
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def _measurement(path: Path) -> dict[str, Any] | None:
    """The same, where it was measured."""
    found = _read(path)
    return None if found is None or "refused" in found else found


def _check_latency(base: str, max_tokens: int) -> None:
    specs = [_spec(base, method, max_tokens) for method in (*METHODS, "lora")]
    # Nothing is trained there, but what training adds to adapters is little beside their bases.
    check_memory(specs, TrainSettings(batch_size=1), "cpu")


@torch.inference_mode()
def measure_latency(base: str, max_tokens: int, answers: int) -> dict[str, dict[str, float]]:
    """Time of one forward pass of one text over LoRA's, methods taking turns, on the CPU.

    LoRA is measured as it is trained, beside the base's weights, and merged into them, as it is served.
    """
    models = {method: _untrained(base, method, max_tokens) for method in METHODS}
    merged = _untrained(base, "lora", max_tokens)
    merged.encoder = merged.method.merged(merged.encoder)
    models[MERGED] = merged
    encoder = text_encoder(load_tokenizer(resolve_base(base)), ("nfkc",), max_tokens, max_tokens // 4)
    windows = [encoder.windows(encoder.ids(text.format(term="", a="a", A="A")))[0] for text in TEMPLATES["en"]]

    def timed(name: str, number: int) -> float:
        ids, mask = (torch.tensor(part) for part in encoder.pad([windows[number % len(windows)]]))
        started = time.perf_counter()
        models[name](ids, mask)
        return time.perf_counter() - started

    seconds = take_turns(list(models), _WARM_UP + answers, _WARM_UP, timed)
    return {name: ratio(values, seconds["lora"], 0) for name, values in seconds.items()}


def _untrained(base: str, method: str, max_tokens: int) -> Classifier:
    return build_classifier(_spec(base, method, max_tokens)).eval()


def _spec(base: str, method: str, max_tokens: int) -> ClassifierSpec:
    return ClassifierSpec(
        base=base,
        method=method,
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=(),
        max_tokens=max_tokens,
        pooling=default_pooling(base),
        adapter=find_method(method).settings(),
    )


def cost(out: Path, preset: Preset) -> list[str]:
    """Lines of the section; none where nothing was measured."""
    lines: list[str] = []
    for base in preset.bases:
        found = _read(cost_file(out, preset, base))
        if found is None:
            continue
        lines += bullets([f"{base}: not measured: {found['refused']}"]) if "refused" in found else _shown(found)
    return lines


def _shown(found: dict[str, Any]) -> list[str]:
    settings = found["settings"]
    names = dict.fromkeys((*found["methods"], *found["latency"]))
    return [
        f"{settings['base']}, {settings['rows']} texts of random ids in batches of {settings['batch_size']}, "
        f"{found['device']}. Over LoRA, as medians of neighbouring steps with 95 % intervals; memory is the peak of "
        "one process a method; latency is one forward pass of PyTorch on the CPU for one text.",
        "",
        *table(
            ["method", "paper: time, memory, latency", "training time", "peak memory", "latency at batch 1"],
            [
                [
                    name,
                    ", ".join(_PAPER.get(name, (NOTHING,))),
                    over(found["methods"].get(name, {}).get("time")),
                    percent(found["methods"].get(name, {}).get("memory")),
                    over(found["latency"].get(name)),
                ]
                for name in names
                if name != "lora"
            ],
        ),
        *bullets(
            [
                f"Rows a second of the training loop over those of a {BARE}, both with LoRA: "
                f"{over(found['loopOverBare'])}."
            ]
        ),
    ]
