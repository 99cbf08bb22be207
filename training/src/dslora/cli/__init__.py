"""The command ``dslora``: look at data, train, evaluate, export, or all of it (pipeline). One module a command.

dslora pipeline --data olid --data-dir data --out runs/olid --bundle models/olid-minilm
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from dslora.errors import DsLoraError
from dslora.failures import explained
from dslora.workers import quieten_libraries

# Name of the command and of its module here, and what it is for.
COMMANDS: Final = {
    "train": "train a model; resumes a run that was killed",
    "evaluate": "measure a trained run on a split",
    "export": "write the ONNX bundle of a trained run",
    "data": "look at a data set",
    "pipeline": "train, evaluate on development and test, export",
    "reproduce": "run the paper's tables and figures again; resumes",
    "layouts": "write a model's graphs in every layout beside its plain base, for bench/layouts.ts",
    "precisions": "compare a model's graphs of every precision with PyTorch, alone and in batches; time them",
    "inspect": "say what a bundle is: model, graphs, ranks, checks",
    "plan": "parameters, memory and time of a training, before anything is loaded",
    "sweep": "search settings on the development split; resumes, and is shared",
    "bench": "time and peak memory of methods beside LoRA, on the same batches",
}


class _CommandParser(argparse.ArgumentParser):
    """Options of one command, added when it is the one that was asked for.

    Options are fields of configuration classes, whose modules import torch: that takes seconds, which nobody who asks
    what there is should wait.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        name = self.prog.split()[-1]
        import_module(f"{__name__}.{name}").add_options(self)
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dslora", description="Train, evaluate and export DS-LoRA classifiers of offensive posts."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, help=purpose, allow_abbrev=False)
    return parser


def _refuse_company(command: str) -> None:
    """Refuses several processes of a launcher where they would not share one training.

    Those of a sweep or a reproduction would each claim another trial, and then average their gradients.

    Raises:
        DsLoraError: ``accelerate launch`` or ``torchrun`` has started several, and the command is not ``train``.
    """
    # What torch's launcher sets; a cluster may set WORLD_SIZE alone.
    launched = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1
    if command == "train" or not launched:
        return
    several = " Use --workers for several processes." if command in ("sweep", "reproduce") else ""
    raise DsLoraError(
        f"Of all commands only dslora train shares its work among the {os.environ['WORLD_SIZE']} processes of a "
        f"launcher. Give dslora {command} without accelerate launch.{several}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, or 1 after an error that the user can put right."""
    arguments = argparse.Namespace(command=None)
    try:
        arguments = _parser().parse_args(argv)
        _refuse_company(arguments.command)
        quieten_libraries()
        arguments.handler(arguments)
    except DsLoraError as error:
        print(f"dslora: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        overwrites = ", without --overwrite," if arguments.command in ("train", "pipeline") else ""
        resume = overwrites or arguments.command in ("reproduce", "sweep")
        hint = f" Run the same command again{overwrites} to resume." if resume else ""
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
