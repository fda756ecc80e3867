"""Conditions: set by value, with a transition time that moves only when the status flips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from perennial.api.base import Condition
from perennial.core.inputs import stamp


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition as this pass finds it."""

    type: str
    status: bool | None
    """None is Unknown."""
    reason: str
    message: str = ""


def with_findings(
    conditions: Iterable[Condition], findings: Iterable[Finding], generation: int, now: datetime
) -> list[Condition]:
    """The conditions after this pass: exactly those found, by type, each with the old transition time if nothing flipped."""
    before = {condition.type: condition for condition in conditions}
    return [_condition(finding, before.get(finding.type), generation, now) for finding in findings]


def _condition(finding: Finding, old: Condition | None, generation: int, now: datetime) -> Condition:
    status = {True: "True", False: "False", None: "Unknown"}[finding.status]
    flipped = old is None or old.status != status
    return Condition(
        type=finding.type,
        status=status,
        reason=finding.reason,
        message=finding.message[:4000],
        observed_generation=generation,
        last_transition_time=stamp(now) if flipped or old is None else old.last_transition_time,
    )
