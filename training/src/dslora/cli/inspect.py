"""``dslora inspect``: say what a bundle is."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = commands.add_parser("inspect", help="say what a bundle is: model, graphs, ranks, checks")
    inspect.add_argument("bundle", type=Path, help="folder of a bundle")
    inspect.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.export.inspection import inspect

    print(inspect(arguments.bundle))
