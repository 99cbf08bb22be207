"""The command ``dslora``: look at data, train, evaluate, export, or all of it (pipeline). One module a command.

dslora pipeline --data olid --data-dir data --out runs/olid --bundle models/olid-minilm
"""

import argparse
import sys
from collections.abc import Sequence

from dslora.cli import (
    bench,
    data,
    evaluate,
    export,
    inspect,
    layouts,
    pipeline,
    plan,
    precisions,
    reproduce,
    sweep,
    train,
)
from dslora.errors import DsLoraError
from dslora.failures import explained
from dslora.workers import quieten_libraries

_COMMANDS = (train, evaluate, export, data, pipeline, reproduce, layouts, precisions, inspect, plan, sweep, bench)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dslora", description="Train, evaluate and export DS-LoRA classifiers of offensive posts."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, or 1 after an error that the user can put right."""
    arguments = argparse.Namespace(command=None)
    try:
        # Takes seconds: options are those of configuration classes, and their modules import torch.
        arguments = _parser().parse_args(argv)
        quieten_libraries()
        arguments.handler(arguments)
    except DsLoraError as error:
        print(f"dslora: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resume = arguments.command in ("train", "pipeline", "reproduce", "sweep")
        hint = " Run the same command again, without --overwrite, to resume." if resume else ""
        print(f"dslora: interrupted.{hint}", file=sys.stderr)
        return 130
    except Exception as error:
        # A disk or a memory that is full is no fault of the package, wherever it happens.
        explanation = explained(error, vars(arguments))
        if explanation is None:
            raise
        print(f"dslora: {explanation}", file=sys.stderr)
        return 1
    return 0
