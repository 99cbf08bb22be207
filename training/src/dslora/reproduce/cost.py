"""Table 7: what training and answering cost beside LoRA, as ``dslora bench`` measures it.

Timings mean something on a machine that does nothing else. A measurement is kept like a cell: delete its file to
measure again. What could not be measured is kept with the reason, and tried again by the next command.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import torch

from dslora.bases import load_tokenizer, resolve_base
from dslora.bench import BARE, BenchSettings, bench_spec, refused, release_memory, run_bench
from dslora.classifier import Classifier, build_classifier
from dslora.encoding import text_encoder
from dslora.errors import DsLoraError
from dslora.files import write_json
from dslora.methods import TRAINED
from dslora.ngrams import NAME as NGRAMS
from dslora.plan import make_plan
from dslora.plan.fit import device_memory
from dslora.reproduce.experiments import label_of
from dslora.reproduce.identity import TEMPLATES
from dslora.reproduce.markdown import NOTHING, bullets, over, percent, table
from dslora.reproduce.presets import Preset
from dslora.reproduce.statement import points
from dslora.train.processes import resolve_device
from dslora.train.settings import TrainSettings
from dslora.turns import groups, ratio, take_turns

MERGED: Final = "lora, merged"
_REFERENCE: Final = "lora"
# The paper's, over LoRA.
_PAPER: Final = {"ds-lora": ("+12.4 %", "+2.2 %", "+9.4 %")}
_ROWS: Final = 640
_ANSWERS: Final = 200
_WARM_UP: Final = 10


def cost_file(out: Path, preset: Preset, base: str) -> Path:
    """Where a measurement is kept."""
    return out / f"cost-{preset.name}-{base.rpartition('/')[2]}.json"


def measure_cost(out: Path, preset: Preset, rows: int = _ROWS, answers: int = _ANSWERS) -> None:
    """Measures each base that has no measurement yet; says why not of what does not run or fit here.

    Args:
        out: Folder of the report.
        preset: Its bases, batch size, window and precision.
        rows: Texts of the epoch that is timed.
        answers: Texts that are answered one by one.
    """
    for base in preset.bases:
        path = cost_file(out, preset, base)
        if _measurement(path) is not None:
            continue
        try:
            measured = _measure(preset, base, rows, answers)
        except (DsLoraError, MemoryError, torch.OutOfMemoryError) as error:
            reason = str(error) if isinstance(error, DsLoraError) else "Memory ran out while it was measured."
            write_json(path, {"base": base, "refused": reason})
            print(f"{path.stem}: refused: {reason}")
        else:
            write_json(path, measured)


def _measure(preset: Preset, base: str, rows: int, answers: int) -> dict[str, Any]:
    training = preset.training
    settings = BenchSettings(
        base,
        TRAINED,
        rows,
        # What is computed at once.
        training["batch_size"] // training.get("accumulation", 1),
        preset.max_tokens,
        precision=training["precision"],
        gradient_checkpointing=training.get("gradient_checkpointing", False),
    )
    reasons = refused(settings)
    if BARE in reasons:
        # Not even two of the reference.
        raise DsLoraError(reasons[BARE])
    settings = replace(settings, methods=tuple(name for name in TRAINED if name not in reasons))
    return {
        **run_bench(settings),
        "refusedMethods": reasons,
        "latency": measure_latency(base, preset.max_tokens, answers, settings.methods),
    }


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept of a base; None where nothing is."""
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def _measurement(path: Path) -> dict[str, Any] | None:
    """The same, where it was measured."""
    found = _read(path)
    return None if found is None or "refused" in found else found


@torch.inference_mode()
def measure_latency(base: str, max_tokens: int, answers: int, methods: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Time of one forward pass of one text over LoRA's, methods taking turns; without those that do not fit.

    LoRA is measured as it is trained, beside the base's weights, and merged into them, as it is served.
    """
    device = resolve_device("auto")
    encoder = text_encoder(load_tokenizer(resolve_base(base)), ("nfkc",), max_tokens, max_tokens // 4)
    windows = [encoder.windows(encoder.ids(text.format(term="", a="a", A="A")))[0] for text in TEMPLATES["en"]]
    method_of = {name: name for name in (_REFERENCE, *methods)} | {MERGED: _REFERENCE}
    # Nothing is trained there, but what training adds to adapters is little beside their bases.
    alone = TrainSettings(batch_size=1)
    plans = {
        name: make_plan(bench_spec(base, method, max_tokens), alone, device.type) for name, method in method_of.items()
    }

    def take(names: tuple[str, ...]) -> dict[str, list[float]]:
        # Its models end with the call: the next group needs their memory.
        models = {name: _untrained(base, method_of[name], max_tokens, name == MERGED).to(device) for name in names}

        def timed(name: str, number: int) -> float:
            ids, mask = (torch.tensor(part, device=device) for part in encoder.pad([windows[number % len(windows)]]))
            started = perf_counter()
            models[name](ids, mask)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return perf_counter() - started

        return take_turns(names, _WARM_UP + answers, _WARM_UP, timed)

    found: dict[str, dict[str, float]] = {}
    for names in groups(plans, _REFERENCE, device_memory(device.type))[0]:
        seconds = take(names)
        found |= {name: ratio(values, seconds[_REFERENCE], 0) for name, values in seconds.items()}
        release_memory()
    return found


def _untrained(base: str, method: str, max_tokens: int, merged: bool) -> Classifier:
    model = build_classifier(bench_spec(base, method, max_tokens)).eval()
    if merged:
        model.encoder = model.method.merged(model.encoder)
    return model


def cost(out: Path, preset: Preset, development: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of the section; none where nothing was measured.

    Args:
        out: Folder of the report.
        preset: Whose bases are looked for.
        development: Macro-F1 on the development split, by base and label, where it is known.
    """
    lines: list[str] = []
    for base in preset.bases:
        found = _read(cost_file(out, preset, base))
        if found is None:
            continue
        if "refused" in found:
            lines += bullets([f"{base}: not measured: {found['refused']}"])
        else:
            lines += _shown(found, development.get(base, {}))
    return lines


def _shown(found: dict[str, Any], development: Mapping[str, float]) -> list[str]:
    settings = found["settings"]
    names = dict.fromkeys((NGRAMS, *found["methods"], *found["latency"]))
    checkpointing = ", gradient checkpointing" if settings["gradient_checkpointing"] else ""
    return [
        f"{settings['base']}, {settings['rows']} texts of random ids in batches of {settings['batch_size']}, "
        f"{settings['precision']}{checkpointing}, {found['device']}. Over LoRA, as medians of neighbouring steps with "
        "95 % intervals; rows/s are of all steps together, which a few slow ones lower; memory is the peak of one "
        "process a method; latency is one forward pass of PyTorch for one text. Development is table 1's macro-F1, in "
        "points.",
        "",
        *table(
            [
                "method",
                "paper: time, memory, latency",
                "development",
                "parameters",
                "rows/s",
                "training time",
                "peak memory",
                "over LoRA",
                "latency at batch 1",
            ],
            [_row(name, found, development) for name in names],
        ),
        *bullets(
            [
                f"Rows a second of the training loop over those of a {BARE}, both with LoRA: "
                f"{over(found['loopOverBare'])}.",
                *(f"{label_of(name)}: not measured: {reason}" for name, reason in found["refusedMethods"].items()),
            ]
        ),
    ]


def _row(name: str, found: dict[str, Any], development: Mapping[str, float]) -> list[str]:
    label = "LoRA, merged" if name == MERGED else label_of(name)
    measured = found["methods"].get(name)
    macro_f1 = development.get(label)
    reference = name == _REFERENCE
    return [
        label,
        ", ".join(_PAPER.get(name, (NOTHING,))),
        NOTHING if macro_f1 is None else points(macro_f1),
        f"{measured['parameters']:,}" if measured else NOTHING,
        f"{measured['rowsPerSecond']:.1f}" if measured else NOTHING,
        over(measured["time"]) if measured and not reference else NOTHING,
        f"{measured['peakBytes'] / 2**20:,.0f} MiB" if measured and "peakBytes" in measured else NOTHING,
        percent(measured.get("memory")) if measured and not reference else NOTHING,
        NOTHING if reference else over(found["latency"].get(name)),
    ]
