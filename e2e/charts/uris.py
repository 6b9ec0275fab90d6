"""uris.py: from a CustomResourceDefinition as JSON on standard input, an object a line for every URI or endpoint in its
spec, with a claim there, and with what the schema requires beside it."""
import json
import sys


def fill(schema):
    """A value that the schema accepts, with everything required."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: fill(schema["properties"][name]) for name in schema.get("required", [])}
    if "pattern" in schema:
        return "0" * 64
    return "a" if kind == "string" else 1


def walk(schema, path):
    for name, field in schema.get("properties", {}).items():
        here = [*path, name]
        if name in ("uri", "endpoint"):
            yield here
        elif field.get("type") == "array":
            yield from walk(field["items"], [*here, 0])
        else:
            yield from walk(field, here)


def put(schema, path, value):
    """The patch that sets `path` to `value`."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if head == 0:
        return [put(schema["items"], rest, value)]
    patch = fill(schema) if schema.get("required") else {}
    patch[head] = put(schema["properties"][head], rest, value)
    return patch


crd = json.load(sys.stdin)["spec"]
spec = crd["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
for number, path in enumerate(walk(spec, [])):
    spec_of_it = put(spec, path, "pvc://data/x")
    print(json.dumps({
        "apiVersion": f"{crd['group']}/{crd['versions'][0]['name']}",
        "kind": crd["names"]["kind"],
        "metadata": {"name": f"place-{number}", "annotations": {"place": ".".join(map(str, path))}},
        "spec": spec_of_it,
    }))
