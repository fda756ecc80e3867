"""The plan while it is being made: what every rule of a pass reads and adds to. Lives for one call of `perennial.core.plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from perennial.api.v1alpha1 import ModelDeploymentStatus, ModelVersionStatus, Quarantine
from perennial.api.version import VersionState
from perennial.core.actions import Action, CreateVersion, Event, Plan
from perennial.core.conditions import Finding
from perennial.core.inputs import inputs_digest, stamp
from perennial.core.observed import Observed, Version
from perennial.core.tape import Recording

FINAL: frozenset[VersionState] = frozenset({"Retired", "Failed", "Rejected", "RolledBack", "Superseded", "Passed"})
"""States that a version does not leave by itself (a retired one serves again when a person says so)."""
IN_TRAINING: frozenset[VersionState] = frozenset({"Pending", "Preparing", "Training", "Evaluating", "Accepted"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be entered in the ledger."""

    what: str
    message: str
    version: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """One pass's plan under construction."""

    observed: Observed
    status: ModelDeploymentStatus = field(init=False)
    versions: dict[int, Version] = field(init=False)
    before: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    recordings: tuple[Recording, ...] = ()
    urgent: bool = False
    """Something other than a measurement changed in the rollout."""
    _wanted_inputs: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.status = self.observed.status
        self.recordings = self.observed.recordings
        self.versions = {version.number: version for version in self.observed.versions}

    def wanted_inputs(self) -> str:
        """Digest of the inputs that the spec asks for; worked out once, for no rule of a pass changes them."""
        self._wanted_inputs = self._wanted_inputs or inputs_digest(self.observed.spec)
        return self._wanted_inputs

    def set(self, **changes: Any) -> None:
        """Change fields of the ModelDeployment's status."""
        self.status = self.status.model_copy(update=changes)

    def set_version(self, number: int, **changes: Any) -> None:
        """Change fields of a version's status."""
        version = self.versions[number]
        self.versions[number] = replace(version, status=version.status.model_copy(update=changes))

    def put_version(self, number: int, status: ModelVersionStatus) -> None:
        """Replace a version's status."""
        self.versions[number] = replace(self.versions[number], status=status)

    def finish(self, number: int, state: VersionState, message: str) -> None:
        """A version reaches a final state now; its running Jobs are stopped by `perennial.core.candidate`."""
        self.set_version(number, state=state, message=message[:2048], progress=None, finished_at=stamp(self.observed.now))

    def state(self, number: int | None) -> VersionState | None:
        """State of a version as drafted."""
        return self.versions[number].status.state if number in self.versions and number is not None else None

    def event(
        self,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        version: int | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Tell people of a decision, once the status is written, and enter it in the ledger."""
        self.tell(kind, reason, message)
        self.decisions.append(Decision(reason, message, version, facts or {}))

    def tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Tell people of what is no decision."""
        self.events.append(Event(kind, reason, message[:1000]))

    def find(self, type_: str, status: bool | None, reason: str, message: str = "") -> None:
        """Add a condition."""
        self.findings.append(Finding(type_, status, reason, message))

    def wake(self, seconds: float | None) -> None:
        """Look again after so long, at the latest."""
        if seconds is not None:
            self.wakes.append(max(0.05, seconds))

    @property
    def creating(self) -> bool:
        """Whether this pass asks for a new version."""
        return any(isinstance(action, CreateVersion) for action in self.before)

    def quarantined(self, identity: str | None) -> Quarantine | None:
        """The quarantine of a model, if it is in one."""
        return next((entry for entry in self.status.quarantined if identity and entry.identity == identity), None)

    def plan(self, persist: bool) -> Plan:
        """The finished plan."""
        return Plan(
            status=self.status,
            before=tuple(self.before),
            after=tuple(self.after),
            events=tuple(self.events) if persist else (),
            persist=persist,
            recordings=self.recordings,
            wake_after=min(self.wakes, default=None),
        )
