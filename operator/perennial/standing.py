"""What /metrics tells of models, read off statuses and plans: how each stands, how its rollouts ended, how long states lasted.

Nothing in here decides anything. `perennial.reconciler` asks, `perennial.telemetry` counts and shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from perennial.api.evidence import MetricEvidence
from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentStatus, ModelVersionStatus
from perennial.api.version import VersionState
from perennial.core.actions import Plan, WriteVersionStatus
from perennial.core.draft import FINAL
from perennial.core.observed import Observed
from perennial.core.storing import waiting

Outcome = Literal["promoted", "rolled_back", "aborted", "superseded"]
"""How a rollout ended: its version serves (with a watch: after it); harm was found; a person ended it, or too little data did;
something else did, such as a newer version, a return, or a deletion of a version."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
PASSING: tuple[VersionState, ...] = tuple(state for state in get_args(VersionState) if state not in FINAL)
"""States that a version is in for a time."""
TROUBLES: Mapping[str, str] = {
    "Ready": "False",
    "Accepted": "False",
    "Approved": "False",
    "UpToDate": "False",
    "Pinned": "False",
    "Quarantined": "True",
    "Measured": "False",
    "MetricsAnswered": "False",
    "Inconclusive": "True",
    "Breached": "True",
    "ObjectiveMissed": "True",
    "Outage": "True",
    "RollbackBlocked": "True",
    "WritesRefused": "True",
    "RequestUnknown": "True",
    "CRDsOutdated": "True",
    "LedgerStored": "False",
    "DataPolled": "False",
    "RetrainingStopped": "True",
}
"""Conditions that ask for somebody's attention while they have this status."""
_NOT_FIT = ("Failed", "Rejected", "RolledBack")
"""Reasons of UpToDate=False that do; with the others the newest version is on its way, or waits as it was told to."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One ModelDeployment as its last pass left it."""

    word: str
    """The first word of its summary."""
    troubles: tuple[tuple[str, str], ...] = ()
    """(condition, reason) of TROUBLES."""
    evidence: tuple[MetricEvidence, ...] = ()
    """Of the rollout under way, as its version's status has it: at most some ten seconds old."""
    unstored: int = 0
    """Entries of its ledger that are not in the store."""


def standing(observed: Observed, plan: Plan) -> Standing:
    """How the ModelDeployment stands after this plan."""
    word = plan.status.summary.split(" ", maxsplit=1)[0] or "Pending"
    rollout = plan.status.rollout
    evidence = _evidence(observed, plan, rollout) if rollout else ()
    smoke = observed.spec.smoke is not None  # who started it waits for it: nobody is to be woken
    return Standing(word, () if smoke else troubles(plan.status), evidence, len(waiting(plan.status.ledger)))


def troubles(status: ModelDeploymentStatus) -> tuple[tuple[str, str], ...]:
    """What asks for somebody's attention."""
    return tuple(
        (condition.type, condition.reason)
        for condition in status.conditions
        if TROUBLES.get(condition.type) == condition.status and (condition.type != "UpToDate" or condition.reason in _NOT_FIT)
    )


def _evidence(observed: Observed, plan: Plan, rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """Only of metrics that are compared. Nothing before this rollout has measured: the version may have had one before."""
    status = _version_status(observed, plan, rollout.candidate)
    if status is None or rollout.settled_at is None:
        return ()
    found = status.shadow_evidence if rollout.phase == "Shadow" else status.evidence
    return tuple(one for one in found if one.threshold > 0.0)


def _version_status(observed: Observed, plan: Plan, number: int) -> ModelVersionStatus | None:
    """As this plan writes it, or else as it is."""
    known = {version.number: version.status for version in observed.versions}
    written = {action.version: action.status for action in (*plan.before, *plan.after) if isinstance(action, WriteVersionStatus)}
    return {**known, **written}.get(number)


@dataclass(frozen=True, slots=True)
class Ending:
    """A rollout that a plan ends. It has ended when the status is written."""

    candidate: int
    outcome: Outcome

    def is_written(self, status: ModelDeploymentStatus) -> bool:
        """Whether this status, as the cluster has it, knows of that rollout no more."""
        return status.rollout is None or status.rollout.candidate != self.candidate


def ending(before: ModelDeploymentStatus, plan: Plan) -> Ending | None:
    """The end of the rollout that was under way, if this plan ends it. A shadow, its steps and its watch are one rollout."""
    rollout = before.rollout
    if rollout is None or not (ended := Ending(rollout.candidate, "superseded")).is_written(plan.status):
        return None
    taken_back = [
        one.reason for one in plan.status.quarantined if one not in before.quarantined and one.version == ended.candidate
    ]
    if taken_back:
        return Ending(ended.candidate, "aborted" if taken_back[-1] == "Aborted" else "rolled_back")
    if plan.status.stable == ended.candidate:
        return Ending(ended.candidate, "promoted")
    aborted = any(said.reason == "Aborted" for said in plan.events)
    return Ending(ended.candidate, "aborted") if aborted else ended


@dataclass(slots=True)
class Stays:
    """Since when the versions of one model are in their states, as far as this process has seen them get there."""

    _since: dict[int, tuple[VersionState, datetime]] = field(default_factory=dict)

    def created(self, number: int, existing: frozenset[int], now: datetime) -> None:
        """A version was made; of those that do not exist any more nothing is remembered."""
        self._since = {known: stay for known, stay in self._since.items() if known in existing}
        self._since.setdefault(number, ("Pending", now))

    def moved(self, number: int, before: VersionState, after: VersionState, now: datetime) -> tuple[VersionState, float] | None:
        """A version's status was written: the state that it left by that and the seconds that it was in it, if they are known."""
        stay = self._since.pop(number, None)
        if stay is not None and stay[0] == after:
            self._since[number] = stay  # it is in that state already
            return None
        if before == after:
            return None
        if after not in FINAL:
            self._since[number] = (after, now)
        if stay is None or stay[0] != before:
            return None
        return before, max(0.0, (now - stay[1]).total_seconds())
