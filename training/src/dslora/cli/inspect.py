"""``dslora inspect``: say what a bundle is."""

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.export.inspection import inspect

    print(inspect(arguments.bundle))
