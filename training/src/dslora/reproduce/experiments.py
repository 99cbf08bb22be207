"""The rows of each table and the points of each figure of the paper, and a search beyond them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from dslora.errors import DsLoraError
from dslora.methods import METHODS
from dslora.ngrams import NAME as NGRAMS
from dslora.reproduce.presets import Preset

REFERENCE: Final = "LoRA"
EQUAL: Final = "LoRA, parameters of DS-LoRA"
OURS: Final = "DS-LoRA"

Kind = Literal["comparison", "gates", "cost", "examples", "ranks", "strengths", "search"]


@dataclass(frozen=True)
class Variant:
    """A row: a method with what it does not have from the preset.

    Attributes:
        label: As tables show it.
        method: Name in ``METHODS``, or n-grams.
        adapter, l1, training: What differs from the preset.
        factors: On settings of training, whatever the preset chose them to be.
        equals: The row whose number of parameters this one has: what is chosen of that one's adapter holds here too.
        beyond: Not in the paper's table.
    """

    label: str
    method: str
    adapter: Mapping[str, Any] = field(default_factory=dict)
    l1: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    equals: "Variant | None" = None
    beyond: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes:
        name: What users type.
        title: For the report.
        kind: How it is shown.
        data: Data sets, each with a part of its own.
        rows: By preset; figures have a row for each point of each curve.
    """

    name: str
    title: str
    kind: Kind
    data: tuple[str, ...]
    rows: Callable[[Preset], tuple[Variant, ...]]


_LORA: Final = Variant(REFERENCE, "lora")
_GATED: Final = Variant("LoRA + gate", "lora-gate")
_OURS: Final = Variant(OURS, "ds-lora")
_EQUAL: Final = Variant(EQUAL, "lora-equal", equals=_OURS, beyond=True)
# What decides how many parameters a gate has.
_GATE_SIZE: Final = ("gate_kind", "gate_hidden", "gate_shared")

_LABELS: Final = {
    "lora": REFERENCE,
    "lora-equal": EQUAL,
    "dora": "DoRA",
    "adalora": "AdaLoRA",
    "lora-gate": "LoRA + gate",
    "lora-l1": "LoRA + L1",
    "ds-lora": OURS,
    "full": "full fine-tuning",
    "houlsby": "Houlsby adapters",
    "qlora": "QLoRA",
    "ds-qlora": "DS-QLoRA",
    "ds-dora": "DS-LoRA over DoRA",
}
_IN_PAPER: Final = ("zero-shot", "full", "lora", "dora", "adalora", "qlora", "houlsby", "ds-lora")


def label_of(method: str) -> str:
    """What tables call a method with the preset's settings."""
    return _LABELS.get(method, method)


def _every_method(preset: Preset) -> tuple[Variant, ...]:
    others = [name for name in (NGRAMS, *METHODS) if name not in (_LORA.method, _EQUAL.method)]
    return (
        _LORA,
        _EQUAL,
        *(Variant(label_of(name), name, beyond=name not in _IN_PAPER) for name in others),
    )


def _ablation(preset: Preset) -> tuple[Variant, ...]:
    return (_LORA, Variant("LoRA + L1", "lora-l1"), _GATED, _OURS, _EQUAL)


def _gate_kinds(preset: Preset) -> tuple[Variant, ...]:
    def gate(label: str, beyond: bool = False, **adapter: Any) -> Variant:
        return Variant(label, "ds-lora", adapter, beyond=beyond)

    return (
        _LORA,
        gate("linear gate", gate_hidden=0),
        gate("MLP gate, d = 16"),
        gate("MLP gate, d = 32", gate_hidden=32),
        gate("one gate for all layers", True, gate_shared=True),
        gate("parameter-free gate", True, gate_kind="parameter-free"),
        gate("a gate for each token", True, gate_pooling="token"),
        gate("as the paper prints it: from 0.5, raw input", True, gate_scale=1.0, gate_standardize=False),
    )


def _main_rows(preset: Preset) -> tuple[Variant, ...]:
    return (_LORA, _OURS, _EQUAL)


def _ranks(preset: Preset) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{variant.label}, r = {rank}", variant.method, {"rank": rank})
        for rank in preset.ranks
        for variant in (_LORA, _OURS)
    )


def _strengths(preset: Preset) -> tuple[Variant, ...]:
    # Without L1 DS-LoRA is LoRA with gates: the same run.
    points = [
        Variant(f"λ = {value}", "ds-lora", l1={"strength": value}) if value else Variant("λ = 0", "lora-gate")
        for value in preset.strengths
    ]
    components = [
        Variant(f"λ = {value}, whole components", "ds-lora", l1={"strength": value, "unit": "component"}, beyond=True)
        for value in preset.component_strengths
    ]
    return (_LORA, *points, *components)


def _candidates(preset: Preset) -> tuple[Variant, ...]:
    """Every kind of gate and of penalty in the tables and figures, gates without a penalty, and other ways to train."""

    def gates_alone(label: str, **adapter: Any) -> Variant:
        return Variant(f"{label}, no penalty", "lora-gate", adapter, beyond=True)

    # What differs from DS-LoRA in no setting is DS-LoRA.
    kinds = [variant for variant in _gate_kinds(preset) if variant.adapter]
    default = {"strength": preset.l1.get("strength")}
    penalties = [variant for variant in _strengths(preset) if variant.l1 and variant.l1 != default]
    return (
        _GATED,
        _OURS,
        *kinds,
        *penalties,
        gates_alone("linear gate", gate_hidden=0),
        gates_alone("parameter-free gate", gate_kind="parameter-free"),
        gates_alone("a gate for each token", gate_pooling="token"),
        Variant(
            "gates that learn ten times as fast",
            "ds-lora",
            factors={"gate_learning_rate": 10},
            beyond=True,
        ),
        Variant("gates that start open, at 0.95", "ds-lora", {"gate_bias_init": 3.0, "gate_scale": 1.0}, beyond=True),
        Variant("gates rewarded for spread", "ds-lora", training=_whole_batches(preset, gate_spread=0.3), beyond=True),
        Variant(
            "gates with dropout and weight decay",
            "ds-lora",
            {"gate_dropout": 0.1},
            training={"gate_weight_decay": 0.01},
            beyond=True,
        ),
    )


def _whole_batches(preset: Preset, **training: Any) -> dict[str, Any]:
    """Settings that want every batch in one part."""
    return {**training, "accumulation": 1} if "accumulation" in preset.training else training


def references(variant: Variant) -> tuple[Variant, Variant]:
    """Plain LoRA of a candidate's rank, and plain LoRA with as many trainable parameters as the candidate."""
    size = {name: value for name, value in variant.adapter.items() if name in _GATE_SIZE}
    label = f"LoRA, parameters of {variant.label}" if size else EQUAL
    return _LORA, replace(_EQUAL, label=label, adapter=size, equals=variant)


def unit_of(variant: Variant) -> str:
    """What the penalty of a row makes zero at once; of a row without one, an element."""
    return str(variant.l1.get("unit", "element"))


EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    experiment.name: experiment
    for experiment in (
        Experiment("table1", "Table 1: methods on OLID", "comparison", ("olid",), _every_method),
        Experiment("table2", "Table 2: methods on HateXplain", "comparison", ("hatexplain",), _every_method),
        Experiment("table3", "Table 3: ablation", "comparison", ("olid",), _ablation),
        Experiment("table4", "Table 4: kinds of gates", "comparison", ("olid",), _gate_kinds),
        Experiment("table5", "Table 5: gates by class and layer", "gates", ("hatexplain",), lambda preset: (_OURS,)),
        Experiment("table6", "Table 6: other data sets", "comparison", ("jigsaw", "germeval2018"), _main_rows),
        Experiment("table7", "Table 7: cost", "cost", ("olid",), lambda preset: ()),
        Experiment(
            "table8",
            "Table 8: texts that LoRA gets wrong and DS-LoRA right",
            "examples",
            ("hatexplain",),
            lambda preset: (_LORA, _OURS),
        ),
        Experiment("figure2", "Figure 2: rank", "ranks", ("hatexplain",), _ranks),
        Experiment("figure3", "Figure 3: λ", "strengths", ("olid",), _strengths),
        Experiment("search", "Search: what beats LoRA at equal parameters", "search", ("olid",), _candidates),
    )
}


def find_experiments(name: str) -> tuple[Experiment, ...]:
    """One of that name, or ``all`` that the paper has.

    Raises:
        DsLoraError: There is none of that name.
    """
    if name == "all":
        return tuple(experiment for experiment in EXPERIMENTS.values() if experiment.kind != "search")
    if name not in EXPERIMENTS:
        raise DsLoraError(f"{name!r} is not known. Expected one of: {', '.join(EXPERIMENTS)}, all.")
    return (EXPERIMENTS[name],)
