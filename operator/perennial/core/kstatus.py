"""Whether the spec is carried out, in the two conditions that GitOps tools read (kstatus): Reconciling and Stalled.

It is when the version that serves was made of what the spec asks for: a retrain, and how it ends, is no matter of the spec.
Reconciling: not yet, and work goes on. Stalled: not, and not without a person or another spec, also where an older version
serves well meanwhile, which is what Ready tells. Each is there only while True, and never both. Called last: it reads what the
pass has found.
"""

from __future__ import annotations

from collections.abc import Collection

from perennial.core import approval, sameness
from perennial.core.candidate import HELD, why_paused
from perennial.core.conditions import Finding
from perennial.core.draft import FINAL, Draft
from perennial.core.observed import Version
from perennial.core.returns import how_back

REFUSING = (("Accepted", False), ("Pinned", False), ("RollbackBlocked", True))
"""Findings that only a person, another spec or another cluster ends."""
UNREADABLE = "SpecUnreadable"


def find(draft: Draft) -> None:
    """Add at most one of Reconciling and Stalled to what the pass has found."""
    told = _told(draft)
    refused = _found(draft, (("WritesRefused", True),))
    if refused and (told is None or told.type == "Reconciling"):
        told = _reconciling(refused.reason, refused.message)
    if told is not None:
        draft.findings.append(told)


def _told(draft: Draft) -> Finding | None:
    ready = _found(draft, (("Ready", False),))
    if ready and ready.reason == UNREADABLE:
        return _stalled(ready.reason, ready.message)
    wanted = draft.wanted_inputs()
    if refusing := _found(draft, REFUSING) or _breached(draft, wanted):
        return _stalled(refusing.reason, refusing.message)
    returning = draft.status.returning
    if returning is not None and returning.version != draft.status.stable:
        return _reconciling("Returning", f"v{returning.version} gets all requests as soon as its pods are ready")
    if _asks_for_no_more(draft) or _serves(draft, wanted):
        return None
    if draft.creating or draft.status.inputs_digest != wanted:
        return _not_made(draft)
    if _found(draft, (("UpToDate", True),)):
        return None
    return _under_way(draft) if draft.status.candidate is not None else _ended(draft)


def _serves(draft: Draft, wanted: str) -> bool:
    """What serves was made of these inputs, or they made the same model, whatever became of newer versions."""
    made = [version for version in draft.versions.values() if version.spec.inputs_digest == wanted]
    return any(version.number == draft.status.stable or is_same_model(draft, version) for version in made)


def is_same_model(draft: Draft, version: Version) -> bool:
    """Trained anew, it was the model that serves, so there was nothing to roll out."""
    stable = draft.versions.get(draft.status.stable or 0)
    same = stable is not None and version.status.identity is not None and version.status.identity == stable.status.identity
    return same and version.status.state == "Retired" and version.status.served_at is None


def _breached(draft: Draft, wanted: str) -> Finding | None:
    """A breach that is left to a person, but a retrain's: there the version that it is compared with is what was committed."""
    current = draft.status.rollout
    compared = draft.versions.get(current.stable) if current is not None else None
    of_a_retrain = compared is not None and compared.spec.inputs_digest == wanted
    return None if of_a_retrain else _found(draft, (("Breached", True),))


def _asks_for_no_more(draft: Draft) -> bool:
    """The spec itself says that what serves shall stay: `pin`, or `paused` (which a person's pause looks like here)."""
    spec, stable = draft.observed.spec, draft.status.stable
    if spec.pin is not None:
        return spec.pin == stable
    return spec.paused and not draft.status.paused and stable is not None


def _not_made(draft: Draft) -> Finding:
    """No version was made of what the spec asks for."""
    if quarantined := _found(draft, (("Quarantined", True),)):
        return _stalled(quarantined.reason, quarantined.message)
    return _paused(draft) or _reconciling("Pending", "a version of what the spec asks for is made next")


def _under_way(draft: Draft) -> Finding | None:
    """The newest version is on its way, or waits."""
    number = draft.status.candidate
    if paused := _paused(draft):
        return paused
    if draft.status.held and draft.state(number) == "Accepted":
        return _stalled("Held", f"v{number} waits, a person returned to an older version: {HELD}")
    if words := approval.why_waiting(draft):
        return _stalled("ApprovalNeeded", words)
    if late := _found(draft, (("Inconclusive", True),)):
        return _stalled(late.reason, late.message)
    return _reconciling(draft.state(number) or "Pending", f"v{number}: {_message(draft, number)}")


def _ended(draft: Draft) -> Finding:
    """The newest version does not serve, and nothing is under way."""
    number = draft.status.latest
    state = draft.state(number)
    if state is None:
        again = f"kubectl annotate mdep {draft.observed.meta.name} perennial.dev/retrain=again"
        return _stalled("VersionMissing", f"v{number} was deleted; make another: {again}")
    if state not in FINAL:
        return _reconciling(state, f"v{number}: {_message(draft, number)}")
    if draft.status.held:
        return _stalled("Held", f"v{number} is {state}, a person returned to v{draft.status.stable}: {HELD}")
    back = how_back(draft, number)
    verdict = sameness.stands_for(draft.versions.values(), draft.versions[number]).status.state
    return _stalled(verdict, f"v{number}: {_message(draft, number)}{back and f'; {back}'}")


def _paused(draft: Draft) -> Finding | None:
    words = why_paused(draft)
    return _stalled("Paused", words) if words else None


def _message(draft: Draft, number: int | None) -> str:
    version = draft.versions.get(number or 0)
    return version.status.message if version else ""


def _found(draft: Draft, wanted: Collection[tuple[str, bool | None]]) -> Finding | None:
    return next((finding for finding in draft.findings if (finding.type, finding.status) in wanted), None)


def _reconciling(reason: str, message: str) -> Finding:
    return Finding("Reconciling", True, reason, message)


def _stalled(reason: str, message: str) -> Finding:
    return Finding("Stalled", True, reason, message)
