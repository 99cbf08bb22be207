"""``dslora layouts``: write a model's graph in every layout, and its base without adapters, to time them elsewhere."""

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="?", help="folder that dslora train wrote")
    parser.add_argument("--base", help="instead of a run: a base model, with random adapters of rank 8 on it")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; graphs that are there are replaced")
    parser.add_argument("--graphs", nargs="+", choices=("fp32", "int8"), default=["fp32", "int8"], help="precisions")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.errors import DsLoraError
    from dslora.export.layout_files import random_adapters, write_layouts
    from dslora.run import load_run

    if (arguments.run is None) == (arguments.base is None):
        raise DsLoraError("Expected either the folder of a run or --base with the name of a base model.")
    classifier = load_run(arguments.run).classifier if arguments.run else random_adapters(arguments.base)
    for file in write_layouts(classifier, arguments.out, tuple(arguments.graphs)):
        print(file, flush=True)
