"""What a field looks like: a short example that its schema and rules accept. Read by `validation`, for values of another type."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

Schema = Mapping[str, Any]
Accepts = Callable[[Schema, Any], bool]
"""Whether a value keeps a schema and its rules."""

LONGEST: Final = 100
"""Characters of an example; a longer one is none."""
MOST: Final = 200
"""Values that are tried for one field."""
TEXTS: Final = ("example", "1h")
"""For a text of which the schema tells nothing else: a name, and a duration."""
NUMBERS: Final = (0.5, 2)
PLAIN: Final = re.compile(r"true|false|-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
"""Texts that are a switch or a number in quotes."""


def words(schema: Schema, name: str, found: Any, accepts: Accepts) -> str:
    """`field: example`, as YAML on one line; empty where there is none that is short. `found` is what stands there now; `name` is
    empty for an entry of a list."""
    example = next((one for one in itertools.islice(_examples(schema, found), MOST) if accepts(schema, one)), None)
    if example is None:
        return ""
    text = yaml.safe_dump({name: example} if name else example, default_flow_style=True, width=10**6, sort_keys=False)
    text = text.removesuffix("...\n").strip()
    text = text[1:-1] if name else text  # the braces of the map that the field stands in
    return text if len(text) <= LONGEST else ""


def _examples(schema: Schema, found: Any = None) -> Iterator[Any]:
    """What may be an example, the best first; which of them is accepted has to be asked."""
    yield from _meant(schema, found)
    kind = schema.get("type")
    told = str(schema.get("description", "")).partition("Example: ")[2]
    if told:
        yield told if kind == "string" else yaml.safe_load(told)
    if "default" in schema:
        yield schema["default"]
    yield from schema.get("enum", ())
    yield from _of_kind(schema)


def _of_kind(schema: Schema) -> Iterator[Any]:
    """Where the schema tells no value, by its type."""
    match schema.get("type"):
        case "object":
            yield from _objects(schema)
        case "array":
            yield from ([one] for one in _examples(schema.get("items", {})))
        case "boolean":
            yield True
        case "integer":
            yield from (1, schema.get("minimum", 0))
        case "number":
            yield from (*NUMBERS, schema.get("minimum", 0))
        case "string":
            yield from TEXTS
        case _:
            return


def _meant(schema: Schema, found: Any) -> Iterator[Any]:
    """The value itself, where quotes are too many or missing."""
    kind = schema.get("type")
    if kind in ("integer", "number", "boolean") and isinstance(found, str) and PLAIN.fullmatch(found):
        yield json.loads(found)
    if kind == "string" and isinstance(found, int | float):
        yield str(found).lower() if isinstance(found, bool) else str(found)


def _objects(schema: Schema) -> Iterator[Any]:
    """What must be there alone, or with one more field; of a map, one entry; {} where nothing else is right."""
    fields, needed = schema.get("properties", {}), list(schema.get("required", ()))
    for values in itertools.product(*(itertools.islice(_examples(fields[name]), 4) for name in needed)):
        least = dict(zip(needed, values, strict=True))
        if least:
            yield least
        for name, field in fields.items():
            if name not in least:
                yield from ({**least, name: value} for value in itertools.islice(_examples(field), 4))
    every = schema.get("additionalProperties")
    if every is None:
        yield {}
    elif every.get("type") == "string":  # which numbers and quantities a map takes only an example of its own can tell
        yield from ({"name": one} for one in _examples(every))
