"""Every training method, in one table: what it changes in a base model, and how that is trained, kept and merged."""

from dslora.errors import DsLoraError
from dslora.methods.adalora import AdaLora, AdaLoraSettings
from dslora.methods.equal import EqualSettings, LoraEqual
from dslora.methods.full import FullFineTuning, FullSettings
from dslora.methods.gated import DsDora, DsLora, GatedSettings, LoraGate
from dslora.methods.houlsby import Houlsby, HoulsbySettings
from dslora.methods.low_rank import Dora, Lora, LoraL1, LowRankSettings
from dslora.methods.method import MergeError, Method, MethodSettings
from dslora.methods.phase import Phase
from dslora.methods.quantized import DsQLora, DsQLoraSettings, QLora, QLoraSettings
from dslora.methods.zero_shot import ZeroShot, ZeroShotSettings

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        DsLora(),
        DsDora(),
        DsQLora(),
        Lora(),
        LoraEqual(),
        LoraGate(),
        LoraL1(),
        Dora(),
        QLora(),
        AdaLora(),
        Houlsby(),
        FullFineTuning(),
        ZeroShot(),
    )
}

# Names of those that have something to train.
TRAINED: tuple[str, ...] = tuple(name for name, method in METHODS.items() if method.trains)

# Configuration classes, the product's own first: an option that several have is documented by the first.
SETTINGS: tuple[type[MethodSettings], ...] = (
    GatedSettings,
    LowRankSettings,
    EqualSettings,
    AdaLoraSettings,
    QLoraSettings,
    DsQLoraSettings,
    HoulsbySettings,
    FullSettings,
    ZeroShotSettings,
)

__all__ = [
    "METHODS",
    "SETTINGS",
    "TRAINED",
    "AdaLoraSettings",
    "DsQLoraSettings",
    "EqualSettings",
    "FullSettings",
    "GatedSettings",
    "HoulsbySettings",
    "LowRankSettings",
    "MergeError",
    "Method",
    "MethodSettings",
    "Phase",
    "QLoraSettings",
    "ZeroShotSettings",
    "find_method",
]


def find_method(name: str) -> Method:
    """The table's row of a name.

    Raises:
        DsLoraError: There is no such method.
    """
    if name not in METHODS:
        raise DsLoraError(f"Method {name!r} is not known. Expected one of: {', '.join(METHODS)}, n-grams.")
    return METHODS[name]
