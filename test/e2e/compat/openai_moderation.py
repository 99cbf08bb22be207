"""Asks the service through the package openai."""

import json
import sys

import openai


def main() -> None:
    url = sys.argv[1]
    given = json.load(sys.stdin)
    client = openai.OpenAI(api_key=given["key"], base_url=f"{url}/v1", max_retries=0)
    answer = client.moderations.create(model="omni-moderation-latest", input=given["texts"])
    try:
        client.moderations.create(input=[])
        refusal = None
    except openai.APIStatusError as error:
        refusal = {"kind": type(error).__name__, "code": error.code, "param": error.param}
    found = {
        "model": answer.model,
        "flagged": [result.flagged for result in answer.results],
        "scores": [result.category_scores.harassment for result in answer.results],
        "refusal": refusal,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
