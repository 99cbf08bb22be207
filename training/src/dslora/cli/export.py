"""``dslora export``: write the ONNX bundle of a trained run."""

import argparse
from pathlib import Path

from dslora.cli.arguments import add_bundle, add_data, data_settings, graphs, languages


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder that dslora train wrote")
    add_data(parser, required=False)
    add_bundle(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.export.session import check_provider
    from dslora.publish import publish, summary
    from dslora.run import load_run

    check_provider(arguments.provider)
    trained = load_run(arguments.run)
    data = data_settings(arguments, trained.data)
    report = publish(
        trained,
        data.load(),
        arguments.bundle,
        name=arguments.name or arguments.bundle.name,
        version=arguments.model_version,
        precisions=graphs(arguments),
        languages=languages(arguments, data.name),
        license=arguments.license,
        splits=tuple(arguments.splits),
        layout=arguments.layout,
        provider=arguments.provider,
        replace=arguments.replace,
    )
    print(summary(report))
