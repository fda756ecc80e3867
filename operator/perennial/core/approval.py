"""Approval: where the spec asks for it, a version that has passed its gates is rolled out when a person has said yes.

The wait begins when its gates have passed and ends with the approval, by its expiry, or with the version. A version is approved,
not a verdict: it stays so when it is judged again because another one serves by then. All of it stands in the ModelDeployment's
status, which is written in one piece with the request's record and the ledger.
"""

from __future__ import annotations

from perennial.api.approval import ApprovalStatus
from perennial.api.base import seconds
from perennial.core.draft import Draft
from perennial.core.inputs import since, stamp


def settle(draft: Draft, number: int) -> bool:
    """Whether a version that is fit may be rolled out as far as approval goes; asks for it once, and ends one that nobody
    approved in time."""
    wish, found = draft.observed.spec.approval, of(draft, number)
    if wish is None or (found is not None and found.approved_at is not None):
        return True
    if found is None:
        found = ApprovalStatus(version=number, asked_at=stamp(draft.observed.now))
        draft.set(approval=found)
        draft.event("Normal", "ApprovalNeeded", why_waiting(draft), number)
    left = seconds(wish.expires_after) - since(draft.observed.now, found.asked_at)
    if left > 0:
        draft.wake(left)
        return False
    words = f"nobody approved it within {wish.expires_after} (spec.approval.expiresAfter); {_again(draft)}"
    draft.set(candidate=None, ended=number)
    draft.finish(number, "Superseded", f"ApprovalExpired: {words}")
    draft.event("Warning", "ApprovalExpired", f"v{number}: {words}", number)
    return False


def of(draft: Draft, number: int | None) -> ApprovalStatus | None:
    """What is known of a version's approval; None before it was asked for."""
    found = draft.status.approval
    return found if found is not None and found.version == number else None


def why_waiting(draft: Draft) -> str:
    """That the candidate waits for a person's approval, and how to give it; empty when it does not."""
    number, wish = draft.status.candidate, draft.observed.spec.approval
    found = of(draft, number)
    if wish is None or found is None or found.approved_at is not None or draft.state(number) != "Accepted":
        return ""
    how = f"kubectl annotate mdep {draft.observed.meta.name} perennial.dev/approve={number} (or perennial.dev/abort={number})"
    ends = f"it is ended {wish.expires_after} after {found.asked_at}"  # a time, because a status does not tick
    return f"v{number} has passed its gates and waits for approval: {how}; {ends}"


def tell(draft: Draft) -> None:
    """A condition while it lasts."""
    if words := why_waiting(draft):
        draft.find("Approved", False, "ApprovalNeeded", words)


def approve(draft: Draft, number: int | None, by: str) -> str:
    """A person says yes to the candidate, or to a version by its number, which has to be the candidate; the outcome in words."""
    candidate = draft.status.candidate
    if draft.observed.spec.approval is None:
        return "refused: spec.approval is not set, so no version waits for approval"
    if candidate is None or candidate not in draft.versions:
        return "refused: no candidate is under way"
    if number not in (None, candidate):
        return f"refused: the candidate is v{candidate}, not v{number}"
    found = of(draft, candidate)
    if found is None:
        state = draft.state(candidate)
        return f"refused: v{candidate} is {state}: it can be approved when its gates have passed, and their numbers can be seen"
    if found.approved_at is not None:
        return f"v{candidate} was approved at {found.approved_at} already (by {found.approved_by})"
    draft.set(approval=found.model_copy(update={"approved_at": stamp(draft.observed.now), "approved_by": by}))
    return f"v{candidate} is approved"


def ask_again(draft: Draft, number: int) -> None:
    """For a version that is tried again: one that was approved stays so, for any other the wait begins anew."""
    found = of(draft, number)
    if found is not None and found.approved_at is None:
        draft.set(approval=None)


def _again(draft: Draft) -> str:
    """What helps a version whose approval has expired."""
    name = draft.observed.meta.name
    return f"ask again for it: kubectl annotate mdep {name} perennial.dev/retry=, or train anew: perennial.dev/retrain=<why>"
