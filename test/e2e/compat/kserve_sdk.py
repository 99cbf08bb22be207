"""What the KServe SDK reads of the texts on standard input, in JSON and in binary."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url = sys.argv[1]
texts = json.load(sys.stdin)


def request(binary: bool) -> InferRequest:
    """The texts as a request."""
    tensor = InferInput(name="text", shape=[len(texts)], datatype="BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_), binary_data=binary)
    return InferRequest("tiny", [tensor], request_id="id-7", parameters={"binary_data_output": binary})


async def main() -> None:
    """Prints what was read."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answer = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "modelReady": [await client.is_model_ready(url, name) for name in ("tiny", "no")],
        "results": [],
    }
    for binary in (False, True):
        found = await client.infer(url, request(binary), model_name="tiny")
        outputs = {output.name: output.as_numpy() for output in found.outputs}
        answer["results"].append(
            {
                "id": found.id,
                "probabilities": outputs["probabilities"].tolist(),
                "gates": outputs["gates"].tolist(),
                "label": [value.decode() if isinstance(value, bytes) else value for value in outputs["label"].tolist()],
            }
        )
    try:
        await client.infer(url, request(False), model_name="no")
    except httpx.HTTPStatusError as error:
        answer["error"] = str(error).split(",")[0]
    json.dump(answer, sys.stdout)


asyncio.run(main())
