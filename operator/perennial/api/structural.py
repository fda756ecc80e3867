"""pydantic model -> structural schema, the dialect of JSON schema that a CustomResourceDefinition takes.

`perennial.api.crd` wraps the result; everything here is a pure function on plain dicts. A structural schema has no $ref, no null
type, no const, no title and no additionalProperties beside properties; descriptions come from the docstrings of classes and of
fields, so that `kubectl explain` teaches the same words as the source.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import Any

from pydantic import BaseModel

from perennial.api.base import to_camel

Schema = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"
KEPT = (
    "type", "format", "enum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "minimum", "maximum",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", VALIDATIONS,
)  # fmt: skip


class SchemaError(ValueError):
    """A model says something that no structural schema can."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model, by alias, with descriptions and CEL rules; a status needs no `defaults`.

    Nothing in a list item has a default: tools that compare a manifest with what is stored (Argo CD, kubectl diff) take a list of
    a custom resource for one value, and would see a difference for ever. The models fill these in.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    found = _convert(source, source.get("$defs", {}), model.__name__)
    return found if defaults else _without_defaults(found)


def _without_defaults(schema: Schema) -> Schema:
    found = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in found:
        found["properties"] = {name: _without_defaults(child) for name, child in found["properties"].items()}
    if "items" in found:
        found["items"] = _without_defaults(found["items"])
    return found


def _convert(node: Schema, definitions: Schema, path: str) -> Schema:
    node = _resolved(node, definitions, path)
    if _is_int_or_string(node):
        return _described({"x-kubernetes-int-or-string": True}, node)
    found = {key: node[key] for key in KEPT if key in node}
    if "const" in node:
        found["enum"] = [node["const"]]
    if found.get("type") == "integer":
        found["format"] = "int64"
    if "x-kubernetes-preserve-unknown-fields" in found:
        return _described(found | {"type": "object"}, node)
    _add_pattern(found, node)
    _add_children(found, node, definitions, path)
    return _described(found, node)


def _resolved(node: Schema, definitions: Schema, path: str) -> Schema:
    """`node` without $ref, and without the null of an optional field; what stands beside a $ref wins over what it points to."""
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _resolved({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions, path)
    if "anyOf" in node and not _is_int_or_string(node):
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise SchemaError(f"{path}: a field of {len(options)} types is not structural; make it one type")
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolved({**options[0], **rest}, definitions, path)
    return node


def _is_int_or_string(node: Schema) -> bool:
    return [option.get("type") for option in node.get("anyOf", [])] == ["integer", "string"]


def _add_pattern(found: Schema, node: Schema) -> None:
    """A CEL rule on the field itself speaks in words, so the pattern and the exclusive bounds that it repeats are left out."""
    if VALIDATIONS in node:
        return
    if "pattern" in node:
        found["pattern"] = node["pattern"]
    for key in ("exclusiveMinimum", "exclusiveMaximum"):
        if key in node:
            raise SchemaError(f"{key} is not structural: write a CEL rule, which can say what to do")


def _add_children(found: Schema, node: Schema, definitions: Schema, path: str) -> None:
    if "items" in node:
        found["items"] = _without_defaults(_convert(node["items"], definitions, f"{path}[]"))
    if "properties" in node:
        found["properties"] = {
            name: _property(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
        if node.get("required"):
            found["required"] = node["required"]
    elif isinstance(node.get("additionalProperties"), dict):
        found["additionalProperties"] = _convert(node["additionalProperties"], definitions, f"{path}{{}}")


def _property(node: Schema, definitions: Schema, path: str) -> Schema:
    found = _convert(node, definitions, path)
    default = _without_empty(node.get("default"))
    if default is not None:
        found["default"] = default
    return found


def _without_empty(value: Any) -> Any:
    """A default as the API server shall write it down: without nulls and empty collections, which only make objects noisy.

    An empty object inside a list item is kept: `errors: {}` means something.
    """
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None} or None
    if isinstance(value, list):
        return [_item(item) for item in value] or None
    return None if value == "" else value


def _item(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return value


def _described(found: Schema, node: Schema) -> Schema:
    text = " ".join(str(node.get("description", "")).split())
    examples = node.get("examples")
    if examples:
        text = f"{text} Example: {examples[0]}".strip()
    return {"description": text, **found} if text else found


# ---- descriptions --------------------------------------------------------------------------------------------------------------


def describe(schema: Schema, model: type[BaseModel]) -> Schema:
    """Adds the docstrings under a model's fields, all the way down; a field without one keeps its class's docstring."""
    documented = _field_docstrings(model)
    properties = {}
    for name, field in model.model_fields.items():
        alias = field.alias or to_camel(name)
        child = dict(schema["properties"][alias])
        inner = _model_in(field.annotation)
        if inner is not None:
            child = _descend(child, inner)
        if name in documented:
            example = str(child.get("description", "")).partition("Example: ")[2]
            child["description"] = documented[name] + (f" Example: {example}" if example else "")
        properties[alias] = dict(sorted(child.items(), key=lambda entry: entry[0] != "description"))
    return {**schema, "properties": properties}


def _descend(child: Schema, inner: type[BaseModel]) -> Schema:
    if "items" in child:
        return {**child, "items": describe(child["items"], inner)}
    return describe(child, inner) if child.get("properties") else child


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model that an annotation mentions, through lists, optionals and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model_in(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in found if model is not None), None)


def _field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Docstrings under the fields of a model and of the models it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _module_docstrings(base.__module__).get(base.__name__, {})
    return found


@cache
def _module_docstrings(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _class_docstrings(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docstrings(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split())
    return found
