"""Shares of the requests by numbers of pods, where no route is given: one Service covers the pods of every version.

Stable keeps all its pods while a candidate stands beside it with as many as come nearest to the weight, so that taking it back
is one write and costs no capacity. Which arm has how many follows from the status alone; `serving` asks for it in every pass.
"""

from __future__ import annotations

from collections.abc import Mapping

from perennial.api.rollout_status import RolloutStatus
from perennial.core.arms import ready_pods, workload_of
from perennial.core.draft import Draft
from perennial.core.observed import Observed, Version


def pods_beside(full: int, weight: int) -> int:
    """Pods that come nearest to `weight` per cent beside `full` others, at least one. `weight` is under 100.

    The CEL rules of ModelDeploymentSpec reckon with the same formula.
    """
    return max(1, (2 * weight * full + 100 - weight) // (2 * (100 - weight)))


def of_arms(rollout: RolloutStatus, full: int) -> dict[int, int]:
    """Pods of both arms by version: the one that answers most has all its replicas."""
    if rollout.phase == "Shadow":  # its route was taken away: whatever is ready gets requests, and a shadow is to get none
        return {rollout.stable: full, rollout.candidate: 0}
    if rollout.phase == "Watch":
        return {rollout.candidate: full, rollout.stable: pods_beside(full, 100 - rollout.weight)}
    return {rollout.stable: full, rollout.candidate: pods_beside(full, rollout.weight)}


def ready(observed: Observed) -> dict[int, int]:
    """Ready pods by version, without versions that have none: those that the Service sends requests to."""
    counts = {workload.version: len(ready_pods(workload, observed.now)) for workload in observed.workloads}
    return {version: count for version, count in counts.items() if count}


def shares(counts: Mapping[int, int]) -> dict[int, float]:
    """Per cent of the pods by version, to a tenth."""
    total = sum(counts.values())
    return {version: round(100.0 * count / total, 1) for version, count in counts.items()} if total else {}


def wanted(draft: Draft, version: Version) -> int | None:
    """How many pods the version should have; None where there is nothing to ask for."""
    number, full = version.number, draft.observed.spec.serving.replicas
    asked = _asked(draft, version, full)
    workload = workload_of(draft.observed, number)
    if asked is None and (workload is None or workload.replicas == 0):
        return None
    rollout = draft.status.rollout
    being_replaced = rollout is not None and rollout.phase == "Watch" and number == rollout.stable
    if asked is not None and not being_replaced:
        return asked
    kept = _until_replaced(draft, version, workload.replicas if workload else 0, full)
    if kept:
        draft.wake(1.0)
    return max(kept, asked or 0)


def _asked(draft: Draft, version: Version, full: int) -> int | None:
    """Pods of a version that has a part in what is wanted."""
    status, rollout = draft.status, draft.status.rollout
    arms = of_arms(rollout, full) if rollout is not None else {}
    if version.number in arms:
        return arms[version.number]
    if version.number in (status.stable, status.returning.version if status.returning else None):
        return full
    if version.status.state not in ("Deploying", "Canary"):
        return None
    return full if status.stable is None else pods_beside(full, draft.observed.spec.rollout.steps[0].weight)


def _until_replaced(draft: Draft, version: Version, now: int, full: int) -> int:
    """Pods that a version keeps while stable has not got all of its own ready: requests lose no capacity.

    A version that was taken back keeps none as soon as half of stable's are ready.
    """
    if draft.status.stable is None:
        return 0
    there = len(ready_pods(workload_of(draft.observed, draft.status.stable), draft.observed.now))
    if version.status.state == "RolledBack" and 2 * there >= full:
        return 0
    return min(now, max(0, full - there))
