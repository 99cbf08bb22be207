"""``dslora bench``: what methods cost beside LoRA."""

import argparse
import sys
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    from dslora.bases import DEFAULT_BASE
    from dslora.methods import TRAINED

    parser.add_argument("--base", default=DEFAULT_BASE, help=f"as for dslora train (default: {DEFAULT_BASE})")
    parser.add_argument(
        "--methods", nargs="+", choices=sorted(TRAINED), default=["lora", "dora", "ds-lora"], metavar="METHOD"
    )
    parser.add_argument("--rows", type=int, default=640, help="texts an epoch (default: 640)")
    parser.add_argument("--batch-size", type=int, default=16, help="texts a step (default: 16)")
    parser.add_argument("--max-tokens", type=int, default=128, help="longest text (default: 128)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="as for dslora train")
    parser.add_argument("--base-precision", choices=("fp32", "bf16"), default="fp32", help="as for dslora train")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="as for dslora train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result as JSON to this file")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> None:
    from dslora.bench import BenchSettings, run_bench, table
    from dslora.errors import DsLoraError
    from dslora.files import write_json

    if arguments.rows < 4 * arguments.batch_size or arguments.batch_size < 1:
        raise DsLoraError(f"--rows is {arguments.rows}; expected at least four batches of {arguments.batch_size}.")
    settings = BenchSettings(
        base=arguments.base,
        methods=tuple(arguments.methods),
        rows=arguments.rows,
        batch_size=arguments.batch_size,
        max_tokens=arguments.max_tokens,
        device=arguments.device,
        seed=arguments.seed,
        precision=arguments.precision,
        base_precision=arguments.base_precision,
        gradient_checkpointing=arguments.gradient_checkpointing,
    )
    result = run_bench(settings, lambda text: print(text, file=sys.stderr))
    print(table(result))
    if arguments.out:
        write_json(arguments.out, result)
