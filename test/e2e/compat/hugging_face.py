"""What huggingface_hub reads of the texts on standard input: a list of classes each, and what an error says."""

import json
import sys

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

url = sys.argv[1]
texts = json.load(sys.stdin)
client = InferenceClient(model=f"{url}/models/tiny", token="a-token")
answer = {
    "classes": [[[found.label, found.score] for found in client.text_classification(text)] for text in texts],
    "best": [found.label for found in client.text_classification(texts[0], top_k=1)],
    # On the address of text-embeddings-inference itself this client sees the first class only, there as here.
    "tei": InferenceClient(model=f"{url}/predict").text_classification(texts[0]).label,
}
try:
    client.text_classification("")
except HfHubHTTPError as error:
    answer["error"] = [error.response.status_code, error.response.json()["error_type"]]
json.dump(answer, sys.stdout)
