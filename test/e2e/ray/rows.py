"""Parquet for the test of examples/ray: JSON rows on standard input -> a file; or a folder -> JSON rows on output."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

what, path = sys.argv[1:]
if what == "write":
    pq.write_table(pa.Table.from_pylist(json.load(sys.stdin)), path, row_group_size=10)
else:
    json.dump(pq.read_table(path).to_pylist(), sys.stdout)
