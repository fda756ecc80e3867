"""What has to run and where requests go, given which versions serve: Deployments, the route, and what history prunes."""

from __future__ import annotations

from perennial.api.v1alpha1 import RouteWeight
from perennial.core import replicas, routers, sameness
from perennial.core.actions import ApplyServing, DeleteVersion
from perennial.core.arms import ready_pods, workload_of
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import since, stamp
from perennial.core.measuring import weights
from perennial.core.observed import Version
from perennial_runtime.contract import ServeSpec

LINGER_SECONDS = 15.0
"""How long a version without traffic keeps its pods: 10 s after the last request, and a margin for the route to settle."""


def settle(draft: Draft) -> None:
    """States that follow from the ModelDeployment's status, which is written first: mends what a crash left behind."""
    for number, version in list(draft.versions.items()):
        state = version.status.state
        if number == draft.status.stable:
            again = _again(draft, version) if state in FINAL else {}
            served = version.status.served_at or stamp(draft.observed.now)
            draft.set_version(number, **{"state": "Serving", "finished_at": None, "served_at": served, **again})
        else:
            _settle_other(draft, number, state)


def _again(draft: Draft, version: Version) -> dict[str, str | None]:
    """What a version says that serves again."""
    first = version.status.first_served_at or version.status.served_at
    words = "serves again: it was returned to"
    return {"message": words, "served_at": stamp(draft.observed.now), "first_served_at": first}


def _settle_other(draft: Draft, number: int, state: str) -> None:
    """A version that does not serve."""
    entry = next((entry for entry in draft.status.quarantined if entry.version == number), None)
    if entry is not None and state != "RolledBack":
        draft.finish(number, "RolledBack", f"{entry.reason}: {draft.versions[number].status.message}")
    elif state == "Serving":
        draft.finish(number, "Retired", f"v{draft.status.stable} serves")
    elif state not in FINAL and number != draft.status.candidate:
        draft.finish(number, "Superseded", "another version took its place")


def take_up(draft: Draft) -> None:
    """The newest version goes on as the candidate when a crash lost what this pass would derive again."""
    number = draft.status.latest
    if draft.status.candidate is not None or number not in draft.versions or number == draft.status.stable:
        return
    ended = number in {draft.status.ended, *(entry.version for entry in draft.status.quarantined)}
    if not ended and draft.state(number) not in (*FINAL, "Serving", "Canary"):
        draft.set(candidate=number)


def workloads(draft: Draft) -> None:
    """Every version that serves, or may in this pass or the next, has its pods; others are scaled to zero.

    Where numbers of pods are the weights they follow the status write, as a route does.
    """
    by_replicas = routers.by_replicas(draft.observed.spec)
    for number, version in draft.versions.items():
        if version.status.bento is None or version.status.identity is None:
            continue
        count = replicas.wanted(draft, version) if by_replicas else _replicas(draft, version)
        if count is None:
            continue
        bento, identity = version.status.bento, version.status.identity
        serve = ServeSpec(version.meta.name, version.spec.store.uri, bento, identity, version.signed_for)
        (draft.after if by_replicas else draft.before).append(ApplyServing(number, count, serve))


def route(draft: Draft) -> None:
    """The weights, and the router that carries them; after the status write, so that evidence is never behind the traffic.

    The weights follow from the rollout, or from which version is stable. A version that has just lost its traffic stays in the
    route with weight 0 until the next change, so that one write moves it all.
    """
    status = draft.status
    if status.stable is None:
        routers.prepare(draft)
        return
    now = {entry.version: entry.weight for entry in status.weights}
    wanted = _wanted_weights(draft, status.stable, now)
    gone = any(version not in draft.versions for version in now)
    if gone or {v: w for v, w in now.items() if w} != {v: w for v, w in wanted.items() if w}:
        left = {version: 0 for version, weight in now.items() if weight and version not in wanted and version in draft.versions}
        draft.set(weights=[RouteWeight(version=version, weight=weight) for version, weight in (wanted | left).items()])
    routers.reconcile(draft)


def _wanted_weights(draft: Draft, stable: int, now: dict[int, int]) -> dict[int, int]:
    """As the rollout says, else everything to stable; but nothing is moved to a stable version that has no ready pod."""
    if draft.status.rollout is not None:
        return dict(weights(draft.status.rollout))
    whole = sum(now.values()) == 100 and all(version in draft.versions for version, weight in now.items() if weight)
    if whole and not ready_pods(workload_of(draft.observed, stable), draft.observed.now):
        return now
    return {stable: 100}


def history(draft: Draft) -> None:
    """Versions past `spec.history` go, but none that serves, is wanted, or still stands in the route. Those that trained nothing,
    for nothing was new, take no place: of a quiet data source there would soon be no others."""
    status, spec = draft.status, draft.observed.spec
    wanted = {status.stable, status.candidate, status.latest, spec.pin, *(entry.version for entry in status.weights)}
    wanted |= routers.versions(draft.observed)
    if status.returning:
        wanted.add(status.returning.version)
    if status.rollout:
        wanted.add(status.rollout.stable)
    if status.reproducing:
        wanted.add(status.reproducing.version)
    idle = {number for number, version in draft.versions.items() if sameness.ended_as_same(version)}
    for number in sorted((*sorted(draft.versions.keys() - idle)[: -spec.history], *idle)):
        version = draft.versions[number]
        if number not in wanted and version.status.state in FINAL and not version.meta.deleting:
            draft.after.append(DeleteVersion(version.meta.name, version.meta.uid))


def _may_get_requests(draft: Draft, number: int) -> bool:
    """By the wish, or by what is live: a write of it may have been refused."""
    wished = {entry.version for entry in draft.status.weights if entry.weight}
    return number in wished or routers.may_get_requests(draft.observed, number)


def _replicas(draft: Draft, version: Version) -> int | None:
    """How many pods the version should have; None where there is nothing to ask for."""
    number, observed = version.number, draft.observed
    workload = workload_of(observed, number)
    returning = draft.status.returning.version if draft.status.returning else None
    compared = draft.status.rollout.stable if draft.status.rollout else None
    serving = number in (draft.status.stable, returning, compared)
    if serving or version.status.state in ("Deploying", "Canary"):
        return observed.spec.serving.replicas
    if workload is None or workload.replicas == 0:
        return None
    weighed = _may_get_requests(draft, number)
    left = LINGER_SECONDS - since(observed.now, version.status.finished_at) if version.status.finished_at else 0.0
    if weighed or left > 0:
        draft.wake(left if left > 0 else 1.0)
        return workload.replicas
    return 0
