"""schemas.py DEST: an API server's OpenAPI document on standard input becomes a strict JSON schema for each kind, in the
files DEST/<kind>-<group>-<version>.json where kubeconform looks for them."""

import json
import pathlib
import sys

PREFIX = "#/definitions/"
dest = pathlib.Path(sys.argv[1])
definitions = json.load(sys.stdin)["definitions"]
dest.mkdir(parents=True, exist_ok=True)

# What Kubernetes reads from more than one type, and says only in words.
for name, definition in definitions.items():
    short = name.rsplit(".", 1)[-1]
    if short in ("IntOrString", "Quantity"):
        definition.clear()
        definition["type"] = ["string", "number"]
    elif "properties" in definition and not definition.get("x-kubernetes-preserve-unknown-fields"):
        definition.setdefault("additionalProperties", False)


def referenced(node):
    """Names of the definitions that a schema refers to."""
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith(PREFIX):
            yield node["$ref"][len(PREFIX) :]
        node = node.values()
    elif not isinstance(node, list):
        return
    for child in node:
        yield from referenced(child)


for name, definition in definitions.items():
    for kind in definition.get("x-kubernetes-group-version-kind", []):
        needed, waiting = {}, [name]
        while waiting:
            one = waiting.pop()
            if one not in needed:
                needed[one] = definitions[one]
                waiting += referenced(definitions[one])
        group = kind["group"].split(".")[0]
        parts = [kind["kind"].lower(), *([group] if group else []), kind["version"]]
        schema = {"$ref": PREFIX + name, "definitions": needed}
        (dest / ("-".join(parts) + ".json")).write_text(json.dumps(schema))
