"""``dslora data``: look at a data set."""

import argparse
import json

from dslora.cli.arguments import add_data, add_reading, data_settings, normalization


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=argparse.ArgumentParser
    )
    purpose = "counts, classes, repeated texts, lengths, and what is left out and why"
    check = actions.add_parser("check", help=purpose, allow_abbrev=False)
    add_data(check)
    add_reading(check)
    check.add_argument("--json", action="store_true", help="print JSON instead of tables")
    check.set_defaults(handler=_check)


def _check(arguments: argparse.Namespace) -> None:
    from dslora.bases import load_tokenizer, resolve_base
    from dslora.data.check import check_dataset
    from dslora.encoding import text_encoder

    dataset = data_settings(arguments).load()
    tokenizer = load_tokenizer(resolve_base(arguments.base))
    steps = normalization(arguments, dataset.name, tokenizer)
    check = check_dataset(dataset, text_encoder(tokenizer, steps, arguments.max_tokens, overlap=0))
    print(json.dumps(check.to_json(), indent=2) if arguments.json else check.to_markdown(), end="")
