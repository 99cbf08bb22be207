"""Classifies a Parquet data set on a Ray cluster with a bundle: the service's answers, beyond one machine.

    export PYTHONPATH=training/src
    python examples/ray/classify.py models/olid-minilm posts/ scored/ --text-column text

Input and output are folders or files of Parquet, also on S3, GCS or HDFS. Every node must be able to read the bundle.
Rows keep their columns and get those that `dslora-classify` adds; a row without an answer has its code in `error`.
From `dslora` only the rules of normalisation and windows are taken, which need no PyTorch; Ray takes them to the nodes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import ray
from tokenizers import Tokenizer

import dslora
from dslora.encoding import TextEncoder
from dslora.normalization import NormalizationError

# Padded tokens of one run: larger ones fall out of a processor's caches (docs/decisions.md).
BATCH_TOKENS = 192
ROWS = 1024


class Classifier:
    """One process on a node, with one thread."""

    def __init__(self, bundle: str, text_column: str) -> None:
        folder = Path(bundle)
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.text_column = text_column
        rules = self.manifest["input"]
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.encoder = TextEncoder(
            tokenizer,
            steps=tuple(rules["normalization"]),
            prefix_ids=tuple(rules["prefixIds"]),
            suffix_ids=tuple(rules["suffixIds"]),
            pad_id=rules["padId"],
            max_tokens=rules["maxTokens"],
            overlap=rules["windowOverlap"],
        )
        graph = next(graph for graph in self.manifest["graphs"] if "cpu" in graph["executionProviders"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(folder / graph["file"]), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        answers = [self.windows(text) for text in table[self.text_column].to_pylist()]
        # Windows of all texts together, so that each run holds windows of about the same length.
        flat = [window for windows in answers if not isinstance(windows, str) for window in windows]
        found: Iterator[tuple[Any, Any]] = iter(self.run(flat))
        rows = [
            {"error": own} if isinstance(own, str) else self.combine(own, [next(found) for _ in own]) for own in answers
        ]
        for field in self.fields():
            values = pa.array([row.get(field.name) for row in rows], field.type)
            table = table.append_column(field, values)
        return table

    def windows(self, text: str | None) -> list[list[int]] | str:
        """The token ids of each window, or why there are none."""
        if not text:
            return "no_text"
        try:
            return self.encoder.windows(self.encoder.ids(text))
        except NormalizationError as error:
            return error.code

    def run(self, windows: list[list[int]]) -> list[tuple[Any, Any]]:
        """Probabilities and gates of each window."""
        outputs: list[tuple[Any, Any]] = [((), ())] * len(windows)
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        while order:
            longest = len(windows[order[-1]])
            picked = [order.pop() for _ in range(min(len(order), max(1, BATCH_TOKENS // longest)))]
            ids, mask = self.encoder.pad([windows[i] for i in picked])
            feeds = {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64)}
            for i, *row in zip(picked, *self.session.run(["probabilities", "gates"], feeds), strict=True):
                outputs[i] = (row[0], row[1])
        return outputs

    def combine(self, windows: list[list[int]], outputs: list[tuple[Any, Any]]) -> dict[str, Any]:
        """The answer of a text: docs/bundle.md, "From text to tokens", step 6."""
        labels, positive = self.manifest["labels"], self.manifest["positiveLabels"]
        columns = [labels.index(label) for label in positive]
        probabilities = np.array([p for p, _ in outputs], np.float64)
        offensive = probabilities[:, columns].sum(axis=1)
        decides = probabilities[int(offensive.argmax())]
        gates = np.average([g for _, g in outputs], axis=0, weights=[len(window) for window in windows])
        score = round(min(float(offensive.max()), 1.0), 6)
        return {
            "label": labels[int(decides.argmax())],
            "score": round(float(decides.max()), 6),
            "offensive": score,
            "flagged": score >= self.manifest["thresholds"]["balanced"]["value"],
            **{f"probability_{name}": round(float(p), 6) for name, p in zip(labels, decides, strict=True)},
            **({"gate_mean": round(float(np.mean(gates)), 6)} if len(gates) else {}),
        }

    def fields(self) -> list[pa.Field]:
        """The columns that are added."""
        numbers = ["score", "offensive", *(f"probability_{name}" for name in self.manifest["labels"])]
        gates = ["gate_mean"] if self.manifest["gates"] else []
        return [
            pa.field("label", pa.string()),
            *(pa.field(name, pa.float64()) for name in numbers + gates),
            pa.field("flagged", pa.bool_()),
            pa.field("error", pa.string()),
        ]


def main() -> None:
    """Reads the command line and runs the job."""
    parser = argparse.ArgumentParser(description="Classify a Parquet data set on a Ray cluster")
    parser.add_argument("bundle", help="folder of the bundle, the same on every node")
    parser.add_argument("input", help="Parquet file or folder")
    parser.add_argument("output", help="folder that gets the Parquet files")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--address", help="of the cluster; without it one is started on this machine")
    parser.add_argument("--processes", type=int, default=1, help="most processes over the cluster, a processor each")
    arguments = parser.parse_args()

    modules = {"py_modules": [str(Path(dslora.__file__).parent)]}
    # One more than the processes take, or nobody is left to read and write.
    own = {"num_cpus": arguments.processes + 1, "include_dashboard": False} if arguments.address is None else {}
    ray.init(address=arguments.address, runtime_env=modules, **own)
    rows = ray.data.read_parquet(arguments.input).map_batches(
        Classifier,
        fn_constructor_args=(str(Path(arguments.bundle).resolve()), arguments.text_column),
        batch_size=ROWS,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=arguments.processes),
        num_cpus=1,
    )
    rows.write_parquet(arguments.output)


if __name__ == "__main__":
    main()
