"""Checks objects of KServe by the models of its own Python SDK: every field known, and of its type.

No package carries the schemas of KServe as npm's carry others. The SDK's models are generated from the same API and
name each field with its type, down into what they take over from Kubernetes.

    python sdk_fields.py KIND=MODEL ... < lists-of-objects.json
"""

import json
import re
import sys

import kserve
from kubernetes import client

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def problems(value: object, kind: str, path: str) -> list[str]:
    """Compares a value with a type as the SDK writes it.

    Args:
        value: Of a parsed document.
        kind: `str`, `list[V1Container]`, `dict(str, str)`, or the name of a model.
        path: Where the value stands.

    Returns:
        One line a problem.
    """
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: expected a list"]
        return [line for i, item in enumerate(value) for line in problems(item, found[1], f"{path}[{i}]")]
    if found := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        if not isinstance(value, dict):
            return [f"{path}: expected a map"]
        return [line for key, item in value.items() for line in problems(item, found[1], f"{path}.{key}")]
    if kind in PLAIN:
        wrong = not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind != "bool")
        return [f"{path}: expected {kind}"] if wrong else []
    model = getattr(kserve, kind, None) or getattr(client, kind, None)
    if model is None:
        # Quantities and the like, which are strings or numbers.
        return [] if isinstance(value, str | int | float) else [f"{path}: {kind} is no known model"]
    if not isinstance(value, dict):
        return [f"{path}: expected {kind}"]
    types = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
    lines = []
    for key, item in value.items():
        if key not in types:
            lines.append(f"{path}.{key}: unknown field of {kind}")
        else:
            lines += problems(item, types[key], f"{path}.{key}")
    return lines


def main() -> None:
    """Reads lists of objects from standard input and prints the problems of each list, as JSON."""
    models = dict(argument.split("=") for argument in sys.argv[1:])
    lists = [
        [line for item in objects for line in problems(item, models[item["kind"]], item["kind"])]
        for objects in json.load(sys.stdin)
    ]
    json.dump(lists, sys.stdout)


if __name__ == "__main__":
    main()
