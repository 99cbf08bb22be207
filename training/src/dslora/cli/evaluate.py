"""``dslora evaluate``: measure a trained run on a split."""

import argparse
from pathlib import Path

from dslora.cli.arguments import add_data, data_settings


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="measure a trained run on a split")
    evaluate.add_argument("run", type=Path, help="folder that dslora train wrote")
    evaluate.add_argument("--split", default="development", help="development, test or train (default: development)")
    add_data(evaluate, required=False)
    evaluate.set_defaults(handler=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from dslora.assess import evaluate
    from dslora.run import load_run

    run = load_run(arguments.run)
    print(evaluate(run, data_settings(arguments, run.data).load(), arguments.split).to_markdown())
