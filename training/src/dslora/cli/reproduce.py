"""``dslora reproduce``: the paper's tables and figures, run again, and a search beyond them."""

import argparse
import sys
from pathlib import Path

from dslora.cli.arguments import add_columns
from dslora.errors import DsLoraError

_OUT = Path("docs/reproduction")
_NAMES = "table1 … table8, figure2, figure3, search, all, or report (only write the report again)"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help=_NAMES)
    parser.add_argument("--preset", required=True, help="paper (needs a GPU), small or tiny (a smoke run)")
    parser.add_argument("--seeds", type=int, help="training seeds of every cell (default: 5)")
    parser.add_argument("--base", help="another base model than the preset's (then --out is needed)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="another precision than the preset's (then --out is needed)"
    )
    parser.add_argument("--data", help="another data set than the paper's: name or path (then --out is needed)")
    parser.add_argument("--data-dir", help="folder with the named data sets (default: DSLORA_DATA_DIR)")
    add_columns(parser)
    parser.add_argument(
        "--cells",
        type=Path,
        default=Path("runs/reproduction"),
        help="folder for runs and checkpoints, which processes may share (default: runs/reproduction)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of report, figures and the cells' results (default: docs/reproduction)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.set_defaults(handler=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from dslora.folder import check_writable
    from dslora.reproduce.presets import find_preset
    from dslora.reproduce.reproduction import RESULTS, reproduce
    from dslora.reproduce.rows import MOST_SEEDS
    from dslora.reproduce.source import source_of
    from dslora.reproduce.study import Study, joined
    from dslora.train.processes import resolve_device
    from dslora.train.settings import TrainSettings

    preset = find_preset(arguments.preset)
    seeds = preset.seeds if arguments.seeds is None else arguments.seeds
    for name, value in (("--seeds", seeds), ("--workers", arguments.workers)):
        if value < 1:
            raise DsLoraError(f"{name} is {value}; expected 1 or more.")
    if seeds > MOST_SEEDS:
        raise DsLoraError(f"--seeds is {seeds}; expected at most {MOST_SEEDS}, as many as a table shows.")
    if (arguments.base or arguments.data or arguments.precision) and not arguments.out:
        raise DsLoraError(
            "With --base, --data or --precision, name a folder by --out: the paper's report is another one."
        )
    said = arguments.text_column, arguments.label_column, arguments.positive_labels
    if any(said) and not arguments.data:
        raise DsLoraError("--text-column, --label-column and --positive-labels say how to read --data. Name it too.")
    out = arguments.out or _OUT
    data = source_of(arguments.data, *said) if arguments.data else None
    names = [name for name in arguments.names if name != "report"]
    asked = Study(arguments.preset, arguments.base, arguments.precision, data)
    asked = replace(asked, names=tuple(each.name for each in asked.experiments(names)))
    study = joined(out, asked, has_results=any((out / RESULTS).glob("*.json")))
    experiments, preset = study.experiments(names), study.applied(preset)
    if experiments:
        check_writable(arguments.cells)
        check_writable(out)
        preset.check_device()
        for remark in TrainSettings(**preset.training).remarks(resolve_device("auto")):
            print(remark, file=sys.stderr)
    reproduce(
        experiments,
        preset,
        study=study,
        seeds=seeds,
        cells=arguments.cells,
        out=out,
        data_dir=arguments.data_dir,
        workers=arguments.workers,
    )
