"""Asks the service through google-api-python-client, which it builds from the service's own discovery document."""

import json
import sys

from googleapiclient import discovery
from googleapiclient.errors import HttpError


def main() -> None:
    url = sys.argv[1]
    given = json.load(sys.stdin)
    client = discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey=given["key"],
        discoveryServiceUrl=f"{url}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )
    request = {"comment": {"text": given["text"]}, "requestedAttributes": {"TOXICITY": {}}, "spanAnnotations": True}
    analysis = client.comments().analyze(body=request).execute()
    try:
        client.comments().analyze(body={**request, "languages": ["fr"]}).execute()
        refusal = None
    except HttpError as error:
        refusal = {"status": error.status_code, "reason": error.reason, "details": error.error_details}
    suggestion = client.comments().suggestscore(
        body={
            "comment": {"text": given["text"]},
            "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}},
            "clientToken": "python",
        }
    )
    print(json.dumps({"analysis": analysis, "refusal": refusal, "suggestion": suggestion.execute()}))


if __name__ == "__main__":
    main()
