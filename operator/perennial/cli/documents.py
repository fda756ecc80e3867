"""Manifests in files, read as kubectl reads them: YAML 1.1 without dates, several documents to a file, each value with its line.

`perennial.cli.validation` says what is wrong with a document; here only what is no manifest at all is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST_FILE: Final = 3 * 1024 * 1024
"""Bytes. The API server takes no object of more than half of this."""
MOST_NODES: Final = 200_000
"""Values in one document with all its aliases written out: a few lines of YAML can stand for billions."""
SUFFIXES = (".yaml", ".yml", ".json")
STANDARD_INPUT = "-"


class Unreadable(Exception):
    """No manifest: `line` says where, 0: nowhere in particular."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    value: Any
    """As JSON has it."""
    node: yaml.Node

    def line(self, path: Sequence[str | int]) -> int:
        """Line, from 1, of the value at this path, or of the nearest one around it that is there."""
        node = self.node
        for part in path:
            inner = _inner(node, part)
            if inner is None:
                break
            node = inner
        return int(node.start_mark.line) + 1


class _Loader(yaml.SafeLoader):
    """Plain scalars as kubectl takes them: a date is a text, 1:30 is a text, 1e3 is a number."""


_NUMBER = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
_INTEGER = re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] not in ("timestamp", "int", "float")]
    for sign, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789."))


def files(given: Sequence[str]) -> Iterator[str]:
    """The files that are meant: a folder is all its manifests, in order. Raises Unreadable for one that is not there."""
    for name in given:
        path = Path(name)
        if name == STANDARD_INPUT or path.is_file():
            yield name
        elif path.is_dir():
            yield from sorted(str(found) for found in path.rglob("*") if found.suffix in SUFFIXES and found.is_file())
        else:
            raise Unreadable(f"{name}: no such file or folder")


def documents(text: str) -> Iterator[Document]:
    """The documents that are not empty. Raises Unreadable."""
    if len(text.encode()) > LARGEST_FILE:
        raise Unreadable(f"the file has more than {LARGEST_FILE // 1024 // 1024} MiB: no manifest is that large")
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                continue
            _check(node)
            value = loader.construct_document(node)
            if value is not None:
                yield Document(_json(value, node), node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"no YAML: {error.problem or error.context}", mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"no YAML: {error}") from error
    finally:
        loader.dispose()


def _check(root: yaml.Node) -> None:
    """Keys that are there twice, and documents that are larger than they look. Raises Unreadable."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: frozenset[int]) -> int:
        if id(node) in above:
            raise Unreadable("an alias names what it stands in", node.start_mark.line + 1)
        if id(node) not in sizes:
            inner, around = 1, above | {id(node)}
            for part in _parts(node):
                inner += size(part, around)
            sizes[id(node)] = inner
        if sizes[id(node)] > MOST_NODES:
            raise Unreadable(f"with its aliases it has more than {MOST_NODES:,} values", node.start_mark.line + 1)
        return sizes[id(node)]

    size(root, frozenset())


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise Unreadable(f"the key {key.value} is there twice", key.start_mark.line + 1)
            seen.add(str(key.value))
            yield value


def _json(value: Any, node: yaml.Node) -> Any:
    """As JSON has it: keys are texts. Raises Unreadable for what JSON cannot say."""
    if isinstance(value, dict):
        return {_key(key): _json(inner, node) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner, node) for inner in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise Unreadable(f"{value!r} is nothing that a manifest can hold", node.start_mark.line + 1)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _inner(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None
