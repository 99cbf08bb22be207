"""``dslora pipeline``: train, evaluate and export."""

import argparse

from dslora.cli import export, train
from dslora.cli.arguments import add_bundle, add_data, add_training, data_settings, languages


def add_options(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_training(parser)
    add_bundle(parser)
    parser.set_defaults(handler=_pipeline)


def _pipeline(arguments: argparse.Namespace) -> None:
    from dslora.assess import calibrate, evaluate
    from dslora.errors import DsLoraError
    from dslora.export.session import check_provider
    from dslora.folder import check_target
    from dslora.ngrams import NAME as NGRAMS
    from dslora.options import settings_from
    from dslora.publish import check_provable
    from dslora.run import load_run
    from dslora.train import TrainSettings
    from dslora.train.processes import resolve_device

    if arguments.method == NGRAMS:
        raise DsLoraError(
            f"Method {NGRAMS} has no PyTorch model that could become a bundle. "
            "Use dslora train and dslora evaluate, or another method."
        )
    # Asked before hours of training, not after.
    check_target(arguments.bundle, replace=arguments.replace)
    check_provider(arguments.provider)
    data = data_settings(arguments)
    languages(arguments, data.name)
    dataset = data.load()
    check_provable(dataset)
    train.run(arguments)
    run = load_run(arguments.out)
    run.classifier.to(resolve_device(settings_from(arguments, TrainSettings).device))
    calibrate(run, dataset)
    for split in arguments.splits:
        if split in dataset.splits:
            report = evaluate(run, dataset, split)
            print(f"{split}: macro-F1 {report.metrics.macro_f1}, n = {report.metrics.n}")
    # It is loaded again, and may fill the memory.
    del run
    arguments.run = arguments.out
    export.run(arguments)
