"""What PyTorch says of texts: the run's folder as the argument, a JSON list on standard input, JSON on output."""

import json
import sys
from pathlib import Path

from dslora.inference import predict, softmax
from dslora.run import load_run

folder = Path(sys.argv[1])
run = load_run(folder)
temperature = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))["temperature"]
found = predict(run.classifier, run.encoder, json.load(sys.stdin))
names = [f"{column.layer}/{column.module}" for column in run.classifier.gate_columns()]
answer = {
    "labels": list(run.classifier.spec.labels),
    "probabilities": softmax(found.logits, temperature).tolist(),
    "gates": [dict(zip(names, row, strict=True)) for row in found.gates.tolist()],
    "windows": found.windows.tolist(),
}
json.dump(answer, sys.stdout)
