"""What the API server would refuse in an object of ours, found without one: schema, CEL rules, and what it asks of every object.

The schemas are those of `perennial.api.crd`, so that this and crds/ cannot differ. The order is the API server's: unknown fields,
nulls and defaults, then the schema, and the rules only where the schema is kept. A rule about a change (`oldSelf`) needs the
object before it and is not asked. tests/cluster/test_lint.py puts the same objects to a real API server.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import jsonschema
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from perennial.api.crd import GROUP, VERSION, custom_resource_definitions
from perennial.api.structural import VALIDATIONS
from perennial.cli import shapes

Schema = Mapping[str, Any]
Place = tuple[str | int, ...]

METADATA: Final = frozenset(
    {
        "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
        "generation", "labels", "managedFields", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
ESCAPED: Final = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
        "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
"""Words of CEL: a field of this name is __name__ in a rule."""
LONGEST: Final = 300
"""Characters of the words about one value."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the API server would refuse."""

    place: Place
    message: str

    @property
    def path(self) -> str:
        """spec.rollout.steps[0].weight."""
        words = ""
        for part in self.place:
            words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
        return words


def is_ours(manifest: Any) -> bool:
    """Whether an object is of one of our kinds, of whatever version."""
    return isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).partition("/")[0] == GROUP


def problems(manifest: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with an object of ours; its rules only where its metadata and schema are right."""
    schemas, kind, version = _schemas(), str(manifest.get("kind", "")), str(manifest.get("apiVersion", ""))
    if version != f"{GROUP}/{VERSION}":
        return [Problem(("apiVersion",), f"{version} is unknown: write {GROUP}/{VERSION}")]
    if kind not in schemas:
        return [Problem(("kind",), f"{kind or 'nothing'} is unknown: {GROUP} has {' and '.join(sorted(schemas))}")]
    schema = schemas[kind]
    wish = {name: value for name, value in manifest.items() if name != "status"}  # which a create drops
    whole = _defaulted(schema, wish)
    named, broken = list(_metadata(wish.get("metadata"))), list(_schema_problems(schema, whole))
    rules = [] if named or broken else list(_rule_problems(schema, whole, ()))
    return [*named, *_unknown(schema, wish, ()), *broken, *rules]


@cache
def _schemas() -> dict[str, Schema]:
    definitions = custom_resource_definitions().values()
    return {one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in definitions}


# ---- what the API server asks of every object ----


def _metadata(metadata: Any) -> Iterator[Problem]:
    if not isinstance(metadata, dict):
        yield Problem(("metadata",), "missing: an object needs metadata with a name")
        return
    for name in metadata.keys() - METADATA:
        yield Problem(("metadata", name), f"unknown field {name}")
    given = metadata.get("name") or metadata.get("generateName")
    if not isinstance(given, str):
        yield Problem(("metadata", "name"), "missing: give the object a name")
    elif "name" in metadata and not _NAME.fullmatch(given):
        yield Problem(("metadata", "name"), f"{given} is no name: use a-z, 0-9 and -, first and last no -")
    for part in ("labels", "annotations"):
        values = metadata.get(part) or {}
        if not isinstance(values, dict):
            yield Problem(("metadata", part), "must be a map of texts")
            continue
        for name, value in values.items():
            yield from _label(part, name, value)


def _label(part: str, name: str, value: Any) -> Iterator[Problem]:
    place: Place = ("metadata", part, name)
    if not isinstance(value, str):
        yield Problem(place, f"{value!r} is no text: put it in quotes")
    elif not _LABEL_NAME.fullmatch(name) or len(name.rpartition("/")[2]) > 63:
        yield Problem(place, f"{name} is no key: use letters, digits, -, _ and ., and a domain with / before them if at all")
    elif part == "labels" and not (_LABEL.fullmatch(value) and len(value) <= 63):
        yield Problem(place, f"{value} is no label: at most 63 letters, digits, -, _ and .")


def _unknown(schema: Schema, value: Any, place: Place) -> Iterator[Problem]:
    """Fields that the schema does not have: kubectl asks the API server to refuse them."""
    if isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        fields, every = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            if place == () and name == "metadata":
                continue
            if name not in fields and every is None:
                yield Problem((*place, name), f"unknown field {name}{_nearest(name, fields)}")
            else:
                yield from _unknown(fields.get(name, every), inner, (*place, name))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown(schema.get("items", {}), inner, (*place, index))


def _nearest(name: str, fields: Mapping[str, Any]) -> str:
    import difflib  # noqa: PLC0415 - only where something is wrong

    near = difflib.get_close_matches(name, list(fields), 1)
    return f": is {near[0]} meant?" if near else ""


def _defaulted(schema: Schema, value: Any) -> Any:
    """Without nulls where the schema allows none, with its defaults, numbers of the kind that the schema says."""
    if isinstance(value, dict):
        fields, every = schema.get("properties", {}), schema.get("additionalProperties") or {}
        known = {name: inner for name, inner in value.items() if name in fields or not fields}  # the others are told apart
        kept = {name: inner for name, inner in known.items() if inner is not None or fields.get(name, every).get("nullable")}
        defaults = {name: field["default"] for name, field in fields.items() if "default" in field and name not in kept}
        return {name: _defaulted(fields.get(name, every), inner) for name, inner in {**kept, **defaults}.items()}
    if isinstance(value, list):
        return [_defaulted(schema.get("items", {}), inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        if schema.get("type") == "number":
            return float(value)
        if schema.get("type") == "integer" and float(value).is_integer():
            return int(value)
    return value


# ---- the schema ----


def _schema_problems(schema: Schema, value: Any) -> Iterator[Problem]:
    for error in _validator()(schema).iter_errors(value):
        place = tuple(error.absolute_path)
        missing = [name for name in error.validator_value if name not in error.instance] if error.validator == "required" else []
        if missing:
            fields = error.schema.get("properties", {})
            told = ((name, shapes.words(fields.get(name, {}), name, None, accepts)) for name in missing)
            yield from (
                Problem((*place, name), f"missing: it must be given{f', e.g. {words}' if words else ''}") for name, words in told
            )
            continue
        message = error.message if len(error.message) <= LONGEST else f"{error.message[:LONGEST]}..."
        yield Problem(place, f"{message}{_looks(error, place)}")


def _looks(error: jsonschema.ValidationError, place: Place) -> str:
    """What the field looks like, where it is of another type."""
    if error.validator != "type":
        return ""
    schema = cast("Schema", error.schema)  # of draft 4, which has no true and false as schemas
    name = place[-1] if place else ""
    words = shapes.words(schema, name if isinstance(name, str) else "", error.instance, accepts)
    return f"; write e.g. {words}" if words else ""


def accepts(schema: Schema, value: Any) -> bool:
    """Whether a value keeps a schema and its rules."""
    whole = _defaulted(schema, value)
    return not any(_validator()(schema).iter_errors(whole)) and not any(_rule_problems(schema, whole, ()))


@cache
def _validator() -> Any:
    """The schemas of OpenAPI 3.0 are those of draft 4; added is what Kubernetes means by its own words."""
    parts = {"type": _type, "pattern": _pattern, "x-kubernetes-list-type": _list_type, "required": _required}
    return jsonschema.validators.extend(jsonschema.Draft4Validator, parts)  # type: ignore[no-untyped-call]


def _type(validator: Any, wanted: str, value: Any, schema: Schema) -> Iterator[jsonschema.ValidationError]:
    if not (value is None and schema.get("nullable")):
        yield from jsonschema.Draft4Validator.VALIDATORS["type"](validator, wanted, value, schema) or ()


def _pattern(validator: Any, pattern: str, value: Any, schema: Schema) -> Iterator[jsonschema.ValidationError]:
    """In Go `$` is the end of the text; in Python it also stands before a line feed at the end."""
    if isinstance(value, str) and not re.search(re.sub(r"(?<!\\)\$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not have the form {pattern}")


def _required(validator: Any, names: Sequence[str], value: Any, schema: Schema) -> Iterator[jsonschema.ValidationError]:
    """One error for all that is missing."""
    if isinstance(value, dict) and not value.keys() >= set(names):
        yield jsonschema.ValidationError("fields are missing")


def _list_type(validator: Any, kind: str, value: Any, schema: Schema) -> Iterator[jsonschema.ValidationError]:
    """Entries of a set, or of a list that is a map by some of its fields, that are there twice."""
    names = schema.get("x-kubernetes-list-map-keys", ())
    seen: list[Any] = []
    for one in value if kind in ("map", "set") and isinstance(value, list) else ():
        key = {name: one.get(name) for name in names} if kind == "map" and isinstance(one, dict) else one
        if key in seen:
            words = ", ".join(f"{name} {text}" for name, text in key.items()) if isinstance(key, dict) else key
            yield jsonschema.ValidationError(f"{words} is there twice")
        seen.append(key)


# ---- the rules ----


def _rule_problems(schema: Schema, value: Any, place: Place) -> Iterator[Problem]:
    """Every rule, from the outside in."""
    for rule in schema.get(VALIDATIONS, ()):
        if "oldSelf" in rule["rule"]:
            continue
        if _value(rule["rule"], value) is not True:
            yield Problem((*place, *_field_path(rule)), _words(rule, value))
    if isinstance(value, dict):
        fields, every = schema.get("properties", {}), schema.get("additionalProperties") or {}
        for name, inner in value.items():
            yield from _rule_problems(fields.get(name, every), inner, (*place, name))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _rule_problems(schema.get("items", {}), inner, (*place, index))


def _field_path(rule: Mapping[str, Any]) -> Place:
    return tuple(part for part in str(rule.get("fieldPath", "")).split(".") if part)


def _words(rule: Mapping[str, Any], value: Any) -> str:
    """The rule's own words for this value, or else its plain ones."""
    said = _value(rule["messageExpression"], value) if "messageExpression" in rule else None
    return said if isinstance(said, str) and said else str(rule.get("message", rule["rule"]))


def _value(expression: str, value: Any) -> Any:
    """What an expression is for this value; None where it cannot be said, which a rule does not pass by."""
    found = _compiled(expression).eval(data={"self": _escaped(value)})
    return None if found.type() == cel.Type.ERROR else found.value()


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"__{name}__" if name in ESCAPED else name: _escaped(inner) for name, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list) else value


@cache
def _compiled(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    """CEL with its strings, and the two of Kubernetes' functions on lists that our rules use."""
    dyn, array = cel.Type.DYN, cel.Type.LIST
    functions = [
        cel.FunctionDecl("isSorted", [cel.Overload("list_is_sorted", cel.Type.BOOL, [array], True, _is_sorted)]),
        cel.FunctionDecl("sum", [cel.Overload("list_sum", dyn, [array], True, sum)]),
    ]
    return cel.NewEnv(variables={"self": dyn}, extensions=[ext_strings.ExtStrings()], functions=functions)


def _is_sorted(values: Sequence[Any]) -> bool:
    return all(one <= other for one, other in itertools.pairwise(values))
