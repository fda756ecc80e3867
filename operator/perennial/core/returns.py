"""Going back to an older version: by `spec.pin`, by request, or after a breach. Rollback needs no store and no candidate.

`start` notes the wish, `carry_out` waits until the target is ready and then switches all traffic in one write.
"""

from __future__ import annotations

from typing import Literal

from perennial.api.base import seconds
from perennial.api.v1alpha1 import ReturnStatus
from perennial.core import watch
from perennial.core.arms import READY_SECONDS, ready_pods, why_not_ready, workload_of
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import since, stamp, version_name
from perennial.core.observed import Version

_WHY = {
    "Pinned": "pinned",
    "Requested": "asked for by a person",
    "Breach": "after a breach",
    "Reverted": "the spec was reverted",
}
PIN_FIX = "what serves goes on serving; pin another version, or remove spec.pin"


def why_not_servable(draft: Draft, number: int) -> str:
    """Why this version can't be returned to, in words; empty when it can."""
    version = draft.versions.get(number)
    name = version_name(draft.observed.meta.name, number)
    if version is None:
        return f"{name} does not exist (any more); versions: {', '.join(f'v{n}' for n in sorted(draft.versions)) or 'none'}"
    entry = draft.quarantined(version.status.identity)
    if entry:
        return f"{name} is quarantined since it was rolled back ({entry.reason})"
    if version.status.bento is None or version.status.state in ("Rejected", "Failed"):
        return f"{name} was never fit to serve (it is {version.status.state})"
    served = version.status.served_at or (version.status.deployed_at if version.status.state == "Retired" else None)
    if served is None and draft.status.stable != number:
        return f"{name} never served: it has to go through its canary (it is {version.status.state})"
    return ""


def first_served(version: Version) -> str:
    """When it first got all requests; empty when it never did."""
    return version.status.first_served_at or version.status.served_at or ""


def how_back(draft: Draft, number: int) -> str:
    """What to type to have a retired version that can serve again; empty when it serves, or cannot."""
    if draft.state(number) != "Retired" or number == draft.status.stable or why_not_servable(draft, number):
        return ""
    return f"type perennial.dev/rollback-to={number} to return to it, or perennial.dev/retrain=<why> to make a new version"


def how_on(draft: Draft, number: int) -> str:
    """What a person does about a version that has failed or was refused; empty when it is neither."""
    name, namespace = draft.observed.meta.name, draft.observed.meta.namespace
    match draft.state(number):
        case "Failed":
            again = f"kubectl annotate mdep {name} -n {namespace} perennial.dev/retry={number}"
            return f"a corrected spec is tried by itself; if something else was mended, type {again}"
        case "Rejected":
            return f"what was measured: kubectl perennial explain {name} {number} -n {namespace}"
        case _:
            return ""


def previous(draft: Draft) -> int | None:
    """The last version before this one that was good: it served, and was not taken back."""
    since_when = {number: first_served(version) for number, version in draft.versions.items()}
    limit = since_when.get(draft.status.stable or 0, "")
    good = [
        (served, number)
        for number, served in since_when.items()
        if served < limit and not why_not_servable(draft, number) and draft.state(number) != "RolledBack"
    ]
    return max(good)[1] if good else None


def by_pin(draft: Draft) -> None:
    """`spec.pin`: this version serves, and nothing is promoted while it is set."""
    pin, returning = draft.observed.spec.pin, draft.status.returning
    if pin is None:
        if returning is not None and returning.reason == "Pinned":
            draft.set(returning=None)
        return
    problem = why_not_servable(draft, pin)
    if problem:
        draft.find("Pinned", False, "VersionNotServable", f"spec.pin={pin}: {problem}; {PIN_FIX}")
        return
    draft.find("Pinned", True, "Pinned", f"v{pin} is pinned; new versions are trained and judged, but not rolled out")
    settled = draft.status.stable == pin and draft.status.rollout is None and returning is None
    if not settled and (returning is None or returning.version != pin):
        start(draft, pin, "Pinned")


def start(draft: Draft, target: int, reason: Literal["Pinned", "Requested", "Breach", "Reverted"]) -> None:
    """Note the wish to return to `target`; a rollout under way ends."""
    draft.set(returning=ReturnStatus(version=target, reason=reason, since=stamp(draft.observed.now)))
    watched = watch.under_way(draft)
    if watched is not None and target == watched.candidate:
        watch.end(draft, "a person wants it to stay")
    elif watched is not None:
        watch.leave(draft, f"a return to v{target} was asked for")
    candidate, under_way = draft.status.candidate, draft.status.rollout
    draft.set(rollout=None)
    if under_way is not None and candidate is not None and draft.state(candidate) not in FINAL:
        draft.set(candidate=None, ended=candidate)
        draft.finish(candidate, "Superseded", f"its rollout ended with the return to v{target}: {_WHY[reason]}")


def carry_out(draft: Draft) -> None:
    """Switch to the target once it is ready; say so when its deadline has passed."""
    returning = draft.status.returning
    if returning is None or returning.version not in draft.versions:
        return
    observed, target, words = draft.observed, returning.version, why_held(draft)
    if not words:
        _switch(draft, target, returning.reason)
        return
    draft.wake(1.0)
    waited = since(observed.now, returning.since)
    if waited > seconds(observed.spec.serving.progress_deadline):
        if not any(c.type == "RollbackBlocked" and c.status == "True" for c in draft.status.conditions):
            draft.event("Warning", "RollbackBlocked", words, target)
        draft.find("RollbackBlocked", True, "TargetNotReady", f"{words}; the weights stay as they are")


def why_held(draft: Draft) -> str:
    """What the return under way waits for; empty when it may be carried out, or there is none."""
    returning = draft.status.returning
    if returning is None or returning.version not in draft.versions:
        return ""
    observed, target = draft.observed, returning.version
    workload = workload_of(observed, target)
    ready = ready_pods(workload, observed.now, READY_SECONDS if draft.status.stable != target else 0.0)
    needed = 1 if returning.reason == "Breach" else observed.spec.serving.replicas
    return (
        ""
        if len(ready) >= needed
        else f"v{target} has {len(ready)} of {needed} pods ready: {why_not_ready(workload, draft.versions.get(target))}"
    )


def _switch(draft: Draft, target: int, reason: str) -> None:
    previous = draft.status.stable
    draft.set(stable=target, returning=None)
    draft.urgent = True
    if previous != target:
        words = _WHY[reason]
        was = f", v{previous} before" if previous else ""
        draft.event("Normal", "Returned", f"v{target} serves all requests ({words}{was})", target)
