"""Base classes and scalar types of the API models. `spec` models forbid unknown fields, `status` models ignore them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", max_length=253)]
"""Name of another Kubernetes object."""
Digest = Annotated[str, Field(max_length=80)]
Text = Annotated[str, Field(max_length=1024)]
Duration = Annotated[str, Field(pattern=r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$", min_length=2, max_length=16)]
"""1h, 30m, 90s or together: 1h30m."""
Timestamp = Annotated[str, Field(max_length=40)]

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
    status: Annotated[str, Field(pattern="^(True|False|Unknown)$")]
    reason: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=4096)] = ""
    observed_generation: int = 0
    last_transition_time: Timestamp
