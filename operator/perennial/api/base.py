"""Base classes and scalar types of the API models. `spec` models forbid unknown fields, `status` models ignore them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel as to_camel_case


def cel(rule: str, message: str, found: str | None = None) -> dict[str, Any]:
    """A CEL rule of the CRD. `found`, a CEL expression of a string, says what was found; `message` stands in where it fails."""
    words = {"messageExpression": found} if found else {}
    return {"rule": rule, "message": message, **words}


def rules(*each: dict[str, Any]) -> dict[str, Any]:
    """`json_schema_extra` of a model or a field that these CEL rules hold for; the API server judges them, not pydantic."""
    return {"x-kubernetes-validations": list(each)}


def to_camel(name: str) -> str:
    """camelCase of a field's name; one that is a word of Python ends in _ here and does not in the cluster."""
    return to_camel_case(name.removesuffix("_"))


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", max_length=253)]
"""Name of another Kubernetes object."""
Digest = Annotated[str, Field(max_length=80)]
Text = Annotated[str, Field(max_length=1024)]
Hostname = Annotated[
    str, Field(pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
"""A DNS name; *.example.com for every name under it."""
DURATION_PATTERN = r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$"
Duration = Annotated[
    str,
    Field(
        pattern=DURATION_PATTERN,
        max_length=16,
        json_schema_extra=rules(
            cel(
                f"self.matches('{DURATION_PATTERN}') && size(self) > 0 && duration(self) >= duration('1s')",
                "not a duration of at least one second: write 90s, 30m or 1h30m",
                "'%s is not a duration of at least one second: write 90s, 30m or 1h30m'.format([self])",
            )
        ),
    ),
]
"""1h, 30m, 90s or together: 1h30m; at least 1s."""
Timestamp = Annotated[str, Field(max_length=40)]
REQUESTED_BY = "perennial.dev/requested-by"
"""Annotation beside a request: the user name of who asks."""
UNATTESTED = "unattested"
"""Stands for a name that nobody checked."""
LIST_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
LIST_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}

_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")


def seconds(duration: str) -> float:
    """Seconds of a Duration. Raises ValueError on anything else."""
    match = _DURATION.match(duration)
    if match is None or not any(match.groups()):
        raise ValueError(f"{duration!r} is not a duration such as 1h, 30m or 90s")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + rest)


class SpecModel(BaseModel):
    """Part of a wish: camelCase in the cluster, unknown fields refused, immutable here."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class StatusModel(BaseModel):
    """Part of a status: unknown fields (of a newer operator) are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )


class Condition(StatusModel):
    """A Kubernetes condition; `lastTransitionTime` moves only when `status` flips."""

    type: Annotated[str, Field(max_length=64)]
    status: Annotated[str, Field(pattern="^(True|False|Unknown)$", max_length=7)]
    reason: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=4096)] = ""
    observed_generation: int = 0
    last_transition_time: Timestamp
