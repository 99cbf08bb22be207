"""What tritonclient reads: server, model, and outputs of the texts on standard input in JSON and in binary."""

import json
import sys
from collections.abc import Callable

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

url = sys.argv[1].removeprefix("http://")
given = json.load(sys.stdin)
texts, key = given["texts"], given["key"]
admin = {"Authorization": f"Bearer {key}"}
client = triton.InferenceServerClient(url, concurrency=2)


def tensor(shape: list[int], binary: bool) -> triton.InferInput:
    """The texts as an input."""
    found = triton.InferInput("text", shape, "BYTES")
    data = np.array([text.encode() for text in texts], dtype=np.object_).reshape(shape)
    return found.set_data_from_numpy(data, binary_data=binary)


def read(result: triton.InferResult) -> dict:
    """Outputs as lists."""
    return {
        "probabilities": result.as_numpy("probabilities").tolist(),
        "offensive": result.as_numpy("offensive").tolist(),
        "gates": result.as_numpy("gates").tolist(),
        "label": [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("label")],
    }


def wanted(binary: bool) -> list[triton.InferRequestedOutput]:
    """Every output by name."""
    names = ["probabilities", "offensive", "gates", "label"]
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def fails(call: Callable[[], object]) -> list[str | None]:
    """Status and message of what the server refuses."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return ["nothing", None]


count = len(texts)
flat, column = [count], [count, 1]
named = client.infer("tiny", [tensor(flat, True)], request_id="id-7", model_version="1.0.0")
best = [triton.InferRequestedOutput("probabilities", class_count=1)]
ranked = client.infer("tiny", [tensor(flat, True)], outputs=best)
answer = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "modelReady": [client.is_model_ready("tiny"), client.is_model_ready("tiny", "1.0.0"), client.is_model_ready("no")],
    "extensions": client.get_server_metadata()["extensions"],
    "inputs": client.get_model_metadata("tiny")["inputs"],
    "platform": client.get_model_config("tiny")["platform"],
    "results": [
        read(client.infer("tiny", [tensor(flat, False)], outputs=wanted(False))),
        read(client.infer("tiny", [tensor(flat, True)], outputs=wanted(True))),
        read(client.infer("tiny", [tensor(column, False)], outputs=wanted(True))),
        read(client.infer("tiny", [tensor(column, True)])),
        read(client.infer("tiny", [tensor(flat, True)], request_compression_algorithm="gzip")),
        read(client.infer("tiny", [tensor(flat, True)], request_compression_algorithm="deflate")),
        read(client.infer("tiny", [tensor(flat, True)], response_compression_algorithm="gzip")),
        read(client.async_infer("tiny", [tensor(flat, True)]).get_result()),
    ],
    "echo": [named.get_response()[field] for field in ("id", "model_name", "model_version")],
    "classes": [value.decode() for value in ranked.as_numpy("probabilities")[:, 0]],
    "unknown": fails(lambda: client.infer("no", [tensor(flat, True)])),
    "statistics": fails(lambda: client.get_inference_statistics("tiny")),
    "index": [[entry["name"], entry["state"]] for entry in client.get_model_repository_index()],
    "noKey": fails(lambda: client.load_model("tiny")),
    "withConfig": fails(lambda: client.load_model("tiny", headers=admin, config="{}")),
    "needed": fails(lambda: client.unload_model("tiny", headers=admin)),
}
client.load_model("tiny", headers=admin)
answer["afterLoad"] = client.is_model_ready("tiny")
json.dump(answer, sys.stdout)
