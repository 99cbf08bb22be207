"""Command-line options made from the settings' dataclasses: names, types, defaults and help stand there once."""

import argparse
import dataclasses
import inspect
import math
import re
import typing
from collections.abc import Container
from typing import Any, TypeVar

from dslora.errors import DsLoraError
from dslora.methods import SETTINGS
from dslora.ngrams import NgramSettings
from dslora.sparsity import L1Settings
from dslora.train.settings import TrainSettings

Settings = TypeVar("Settings")

# Class, heading, and what goes before its option names. A name that several classes have is one option.
_GROUPS: tuple[tuple[type, str, str], ...] = (
    *((settings, "adapters and what they train", "") for settings in SETTINGS),
    (NgramSettings, "n-grams", ""),
    (L1Settings, "sparsity (methods ds-lora, ds-dora, ds-qlora and lora-l1)", "l1-"),
    (TrainSettings, "training", ""),
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds one option for each field of the settings' dataclasses. One that is not given stays None."""
    groups: dict[str, Any] = {}
    added: set[str] = set()
    for settings, heading, prefix in _GROUPS:
        group = groups.setdefault(heading, None) or parser.add_argument_group(heading)
        groups[heading] = group
        hints = typing.get_type_hints(settings)
        documentation = _field_help(settings)
        for field in dataclasses.fields(settings):
            destination = _destination(prefix, field.name)
            if destination in added:
                continue
            added.add(destination)
            group.add_argument(
                f"--{prefix}{field.name.replace('_', '-')}",
                dest=destination,
                default=None,
                help=f"{documentation.get(field.name, '')} (default: {_shown(field.default)})".replace("%", "%%"),
                **_kind(hints[field.name]),
            )


def settings_from(arguments: argparse.Namespace, settings: type[Settings]) -> Settings:
    """The settings that the parsed options give, with the class's defaults for the others.

    Raises:
        DsLoraError: A value is out of range.
    """
    prefix = next(prefix for candidate, _, prefix in _GROUPS if candidate is settings)
    values = {
        field.name: getattr(arguments, _destination(prefix, field.name))
        for field in dataclasses.fields(settings)  # type: ignore[arg-type]
    }
    return settings(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if value is not None
        }
    )


def refuse_foreign_options(arguments: argparse.Namespace, settings: type, method: str) -> None:
    """What another method's configuration has, and this one's has not, would be without effect.

    Args:
        arguments: As parsed.
        settings: The method's configuration class.
        method: Its name.

    Raises:
        DsLoraError: Such an option was given.
    """
    own = {field.name for field in dataclasses.fields(settings)}
    foreign = {field.name for other in (*SETTINGS, NgramSettings) for field in dataclasses.fields(other)} - own
    _refuse(arguments, foreign, method)


def refuse_training_options(arguments: argparse.Namespace, method: str, *, used: Container[str], sparse: bool) -> None:
    """Settings of training and of L1 that the method has no use for.

    Args:
        arguments: As parsed.
        method: Its name.
        used: Fields of ``TrainSettings`` that it uses.
        sparse: Whether L1 applies.

    Raises:
        DsLoraError: Such an option was given.
    """
    unused = {field.name for field in dataclasses.fields(TrainSettings) if field.name not in used}
    if not sparse:
        unused |= {_destination("l1-", field.name) for field in dataclasses.fields(L1Settings)}
    _refuse(arguments, unused, method)


def _refuse(arguments: argparse.Namespace, names: set[str], method: str) -> None:
    given = sorted(f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) is not None)
    if given:
        raise DsLoraError(f"Method {method} does not use {', '.join(given)}. Leave these out or choose another method.")


def _destination(prefix: str, name: str) -> str:
    return f"{prefix}{name}".replace("-", "_")


def _shown(default: Any) -> str:
    return "chosen for the model" if default in ((), "") else str(default)


def _kind(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is tuple:
        return {"nargs": "+", "metavar": "NAME"}
    return {"type": finite if hint is float else hint}


def finite(text: str) -> float:
    """A number as typed.

    Raises:
        ArgumentTypeError: It is none, infinite or not a number: no setting means anything then.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def _field_help(settings: type) -> dict[str, str]:
    """Field name to its text in the docstring's ``Attributes`` section; one entry may name several fields."""
    inherited = [_field_help(base) for base in settings.__bases__ if dataclasses.is_dataclass(base)]
    found: dict[str, str] = {name: words for each in inherited for name, words in each.items()}
    text = inspect.getdoc(settings) or ""
    section = text.partition("Attributes:\n")[2]
    for match in re.finditer(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        words = " ".join(match.group(2).replace("``", "").split())
        for name in match.group(1).split(", "):
            found[name] = words
    return found
