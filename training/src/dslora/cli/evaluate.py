"""``dslora evaluate``: measure a trained run on a split."""

import argparse
from pathlib import Path

from dslora.cli.arguments import add_data, data_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder that dslora train wrote")
    parser.add_argument(
        "--split",
        help="development, test or train; all: every row, of other data than the run's (default: development; of other "
        "data test, or all where they have no test split)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add_data(parser, required=False)
    parser.set_defaults(handler=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from dslora.assess import evaluate
    from dslora.ngram_run import load_any_run
    from dslora.run import Run
    from dslora.train.loop import resolve_device

    device = resolve_device(arguments.device)
    run = load_any_run(arguments.run)
    if isinstance(run, Run):
        run.classifier.to(device)
    print(evaluate(run, data_settings(arguments, run.data).load(), arguments.split).to_markdown())
