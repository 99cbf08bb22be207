"""``dslora precisions``: compare every precision and every way to int8 of a trained run."""

import argparse
from pathlib import Path

from dslora.cli.arguments import add_data, data_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder that dslora train wrote")
    add_data(parser, required=False)
    parser.add_argument("--layout", default="auto", help="arrangement of the graphs, as in dslora export (auto)")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.export.comparison import table
    from dslora.publish import compare_precisions
    from dslora.run import load_run

    trained = load_run(arguments.run)
    dataset = data_settings(arguments, trained.data).load()
    print(table(compare_precisions(trained, dataset, layout=arguments.layout)))
