"""Manifests, good and bad, that `kubectl perennial lint` and the API server have to agree on.

Those of `crd_cases`, the examples, and, made from the schema, a complete object changed in one place: at each bound and just
past it, of another type, null, missing, misspelled. tests/unit/cli asks lint alone, tests/cluster/test_lint.py both.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from crd_cases import BOUNDS, CASES, Manifest, base, deployment, edited
from perennial.api.crd import custom_resource_definitions

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").rglob("*.yaml"))
NOT_OF_THIS_TYPE = {"object": "x", "array": "x", "string": 5, "integer": "x", "number": "x", "boolean": "x"}
Place = tuple[str | int, ...]
Schema = dict[str, Any]


def corpus() -> dict[str, Manifest]:
    """By name; no two are the same."""
    return {**dict(_known()), **{f"{name}": manifest for name, manifest in _made()}}


def _known() -> Iterator[tuple[str, Manifest]]:
    for case in CASES:
        yield f"{case.reason}: accepted", edited(base(case.kind), case.accepted)
        if not case.update:
            yield f"{case.reason}: refused", edited(base(case.kind), case.refused)
    for reason, edits, _ in BOUNDS:
        yield reason, edited(deployment(), edits)
    yield from _metadata()
    for path in EXAMPLES:
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "ModelDeployment":
                manifest["metadata"].pop("namespace", None)
                folder = "" if path.parent.name == "examples" else f"{path.parent.name}/"
                yield f"example {folder}{path.stem}", manifest


def _metadata() -> Iterator[tuple[str, Manifest]]:
    for name in ("a" * 36, "a" * 37, "delays-v2", "2fast", "Delays", "de.lays", "", "delays-"):
        yield f"the name {name!r}", edited(deployment(), {"metadata.name": name})
    for key, value in (("team", "risk"), ("team", 5), ("team", "a b"), ("te am", "risk"), ("a/b/c", "x"), ("team", "x" * 64)):
        yield f"a label {key}: {value!r}", edited(deployment(), {"metadata.labels": {key: value}})
    yield "a label that is null", edited(deployment(), {"metadata.labels": None})
    yield "an annotation of any text", edited(deployment(), {"metadata.annotations": {"note": "a b\nc"}})
    yield "an unknown field of the metadata", edited(deployment(), {"metadata.lables": {}})
    yield "a status that is given", edited(deployment(), {"status": {"stable": 1}})


def _made() -> Iterator[tuple[str, Manifest]]:
    complete = next(manifest for name, manifest in _known() if name == "example complete")
    definition = next(iter(custom_resource_definitions().values()))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for place, field, value in _fields(schema, complete["spec"], ("spec",)):
        words = ".".join(str(part) for part in place)
        for what, other in _others(field, value):
            yield f"{words} {what}", _with(complete, place, other)
        yield f"{words} null", _with(complete, place, None)
        if isinstance(place[-1], str):
            yield f"{words} missing", _without(complete, place)
            yield f"{words} misspelled", _with(_without(complete, place), (*place[:-1], f"{place[-1]}x"), value)


def _fields(schema: Schema, value: Any, place: Place) -> Iterator[tuple[Place, Schema, Any]]:
    """Every field that the object has."""
    yield place, schema, value
    if isinstance(value, dict):
        for name, inner in value.items():
            found = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(found, dict):
                yield from _fields(found, inner, (*place, name))
    if isinstance(value, list) and value:
        for index in range(min(len(value), 2)) if place[-1] != "metrics" else range(len(value)):
            yield from _fields(schema.get("items", {}), value[index], (*place, index))


def _others(schema: Schema, value: Any) -> Iterator[tuple[str, Any]]:
    kind = schema.get("type")
    if kind in NOT_OF_THIS_TYPE:
        yield "of another type", NOT_OF_THIS_TYPE[kind]
    if kind in ("integer", "number"):
        yield from _numbers(schema, 1 if kind == "integer" else 0.001)
    if kind == "string":
        yield from _strings(schema, value)
    if kind == "array" and value:
        yield from _lists(schema, value)


def _numbers(schema: Schema, step: float) -> Iterator[tuple[str, Any]]:
    yield "with a fraction", 1.5
    for bound, over in (("minimum", -step), ("maximum", step)):
        if bound in schema:
            yield f"at its {bound}", schema[bound]
            yield f"past its {bound}", schema[bound] + over


def _strings(schema: Schema, value: str) -> Iterator[tuple[str, Any]]:
    yield "empty", ""
    yield "with a line feed", f"{value}\n"
    if "enum" in schema:
        yield "of no choice", "nothing-of-this"
    if "maxLength" in schema:
        yield "too long", "x" * (schema["maxLength"] + 1)


def _lists(schema: Schema, value: list[Any]) -> Iterator[tuple[str, Any]]:
    yield "of nothing", []
    yield "twice the same", [value[0], copy.deepcopy(value[0])]
    if schema.get("maxItems", 1000) <= 64:
        yield "too many", [_renamed(value[0], number) for number in range(schema["maxItems"] + 1)]


def _renamed(value: Any, number: int) -> Any:
    return {**value, "name": f"n{number}"} if isinstance(value, dict) and "name" in value else copy.deepcopy(value)


def _with(manifest: Manifest, place: Place, value: Any) -> Manifest:
    found = copy.deepcopy(manifest)
    node: Any = found
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    return found


def _without(manifest: Manifest, place: Place) -> Manifest:
    found = copy.deepcopy(manifest)
    node: Any = found
    for part in place[:-1]:
        node = node[part]
    del node[place[-1]]
    return found


def label(name: str) -> str:
    """A test's id: one line."""
    return re.sub(r"\s+", " ", name)[:80]
