"""Whether the CRDs of a cluster fit this operator: what it writes and they do not have is dropped, and nobody is told.

An operator that is upgraded before its CRDs would write such a field in every pass, and see that it is not there in the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from perennial.api.crd import custom_resource_definitions

Schema = Mapping[str, Any]

WRITTEN: Final = {"ModelDeployment": ("status",), "ModelVersion": ("spec", "status")}
"""The parts that the operator writes, by kind."""


def missing(served: Mapping[str, Schema]) -> tuple[str, ...]:
    """Fields that this operator writes and that the schemas of a cluster, by kind, do not have: `ModelVersion.status.device`.

    Of a field that is missing those inside it are not named; a kind that is not among the schemas is not looked at.
    """
    shipped = _shipped()
    return tuple(
        path
        for kind, parts in WRITTEN.items()
        if kind in served
        for part in parts
        for path in _missing(_inside(shipped[kind], part), _inside(served[kind], part), f"{kind}.{part}")
    )


def _shipped() -> dict[str, Schema]:
    definitions = custom_resource_definitions().values()
    return {one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in definitions}


def _inside(schema: Schema, name: str) -> Schema:
    found: Schema = schema.get("properties", {}).get(name, {})
    return found


def _missing(shipped: Schema, served: Schema, path: str) -> Iterator[str]:
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = served.get("properties", {})
    for name, inner in shipped.get("properties", {}).items():
        if name in known:
            yield from _missing(inner, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    for each in ("items", "additionalProperties"):
        if each in shipped:
            yield from _missing(shipped[each], served.get(each, {}), path)
