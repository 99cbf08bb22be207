"""``dslora precisions``: compare every precision and every way to int8 of a trained run."""

import argparse
from pathlib import Path

from dslora.cli.arguments import add_data, data_settings


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    precisions = commands.add_parser(
        "precisions",
        help="compare a model's graphs of every precision with PyTorch, alone and in batches; time them",
    )
    precisions.add_argument("run", type=Path, help="folder that dslora train wrote")
    add_data(precisions, required=False)
    precisions.add_argument("--layout", default="auto", help="arrangement of the graphs, as in dslora export (auto)")
    precisions.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.export.comparison import table
    from dslora.publish import compare_precisions
    from dslora.run import load_run

    trained = load_run(arguments.run)
    dataset = data_settings(arguments, trained.data).load()
    print(table(compare_precisions(trained, dataset, layout=arguments.layout)))
