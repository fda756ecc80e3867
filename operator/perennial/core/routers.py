"""What gives requests to versions: an HTTPRoute of ours or a rule of somebody else's by weights, or, where no route is given, one
Service by numbers of pods.

The rest of the core knows only these verbs: `live` (what is carried out now), `reconcile` (ask for what the status wants, and
remove the other router's object once this one serves), `replicas`, and what follows for a rollout (`carried`, `guarantee_of`).
Which router a ModelDeployment has is decided by its spec alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentSpec, RouteWeight
from perennial.core import borrowing, replicas
from perennial.core.actions import ApplyRoute, ApplyService, DeleteRoute, DeleteService
from perennial.core.arms import READY_SECONDS, ready_pods, workload_of
from perennial.core.draft import Draft
from perennial.core.observed import Mirror, Observed, RouteState

MOST_WEIGHTS = 8
UNCONFIRMED_SECONDS = 10.0
"""After so long a route counts as carried out, as it is or as it was, though its controller has not told: shares stand still."""
REMINDER_SECONDS = 20.0
"""To the first reminder of a controller that has not told; each further one takes twice as long."""
NOT_CONFIRMED = "RouteNotConfirmed"
LISTEN_SECONDS = 3.0
"""How soon to look again at a route whose controller has not told, and then later and later: nothing else may wake us."""


def by_replicas(spec: ModelDeploymentSpec) -> bool:
    """No route is given: pods take requests as soon as they are ready, and connections are what is given to them."""
    return spec.serving.route is None


def carrier(observed: Observed) -> RouteState | None:
    """What carries weights, our own HTTPRoute or the rule that is borrowed; None: it is not there (yet), or no route is given."""
    if not borrowing.borrows(observed.spec):
        return observed.route
    rule = borrowing.wanted(observed)
    return rule.state if rule is not None and rule.held else None


def guarantee_of(spec: ModelDeploymentSpec) -> Literal["exact", "approximate"]:
    """What falseRollbackRate is worth: exact where each request is given to a version by itself.

    A Service gives connections to pods, and the requests of one connection are not independent.
    """
    return "approximate" if by_replicas(spec) else "exact"


def live(observed: Observed) -> RouteState | None:
    """The shares that are carried out now, in whole per cent, by whichever router the spec has; None: it is not there yet."""
    if not by_replicas(observed.spec):
        return carrier(observed)
    if not observed.service:
        return None
    shares = replicas.shares(replicas.ready(observed))
    return RouteState(tuple((version, max(1, round(share))) for version, share in shares.items()), True)


def why_not_carried(observed: Observed) -> tuple[str, str] | None:
    """(reason, message) while no request can be answered by the router, whatever the pods are."""
    found = live(observed)
    if problem := refused(observed):
        return problem[0], f"{problem[1]}{_until_then(observed)}"
    if found is None:
        return _being_made(observed)
    return None if found.accepted or found.unseen else ("RouteNotAccepted", found.message)


def refused(observed: Observed) -> tuple[str, str] | None:
    """(reason, message): why no request gets to this model by the route that its spec asks for, until a person has acted."""
    return borrowing.refused(observed) or (("PathTaken", observed.path_taken) if observed.path_taken else None)


def _until_then(observed: Observed) -> str:
    """Where requests are still answered while the rule that the spec names cannot be borrowed."""
    if (rule := borrowing.standing_in(observed)) is None:
        return ""
    where = f" at {rule.address}" if rule.address else ""
    return f"; until then {rule.words} leads to this model as before{where}, and its weights stay as they are"


def _being_made(observed: Observed) -> tuple[str, str]:
    if by_replicas(observed.spec):
        return "ServiceMissing", "the Service is being made"
    rule = borrowing.wanted(observed)
    return "RouteNotAccepted", f"{rule.words} is being borrowed" if rule is not None else "the HTTPRoute is being made"


def address(observed: Observed) -> str:
    """The URL of the predict API, as far as it is known."""
    route = observed.spec.serving.route
    if route is None:
        return f"http://{observed.meta.name}.{observed.meta.namespace}.svc/predict"
    if rule := borrowing.standing_in(observed) or borrowing.wanted(observed):
        return rule.address
    host = route.hostnames[0] if route.hostnames else observed.gateway_address
    return f"http://{host}{(route.path or '').rstrip('/')}/predict" if host else ""


def where(observed: Observed) -> str:
    """Where predictions are answered, in words."""
    route = observed.spec.serving.route
    if route is None:
        return f"{address(observed)} in the cluster (no route is given)"
    if rule := borrowing.wanted(observed):
        return rule.address or f"/predict of a pod for what {rule.words} matches"
    return address(observed) or f"{(route.path or '').rstrip('/')}/predict at the Gateway"


def mirror(observed: Observed, rollout: RolloutStatus) -> Mirror | None:
    """Whom live requests are mirrored to as this rollout wants it: the candidate, in its shadow, while it may get requests."""
    wish = observed.spec.rollout.shadow
    if rollout.phase != "Shadow" or rollout.withheld or wish is None:
        return None
    return Mirror(rollout.candidate, wish.percent)


# ---- what follows for a rollout ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Carried:
    """How far the weights that a rollout wants are carried out."""

    steady: bool
    """The shares have not moved since the last pass: what is answered may be compared."""
    reached: bool
    """They are what is wanted: a step's hold runs."""
    reason: str = ""
    message: str = ""


def carried(observed: Observed, rollout: RolloutStatus, weights: Mapping[int, int]) -> Carried:
    """Whether `weights` (by version) of both arms are carried out."""
    if by_replicas(observed.spec):
        return _carried_by_pods(observed, rollout)
    route = carrier(observed)
    mirrored = route is not None and route.mirror == mirror(observed, rollout)
    nonzero = {version: weight for version, weight in weights.items() if weight}
    if route is not None and route.accepted and mirrored and {v: w for v, w in route.weights if w} == nonzero:
        return Carried(steady=True, reached=True)
    if mirrored and (words := unconfirmed(observed)) and route is not None and {v: w for v, w in route.weights if w} == nonzero:
        return Carried(steady=True, reached=False, reason=NOT_CONFIRMED, message=words)
    words = route.message if route else "the HTTPRoute does not exist yet"
    words = words or "the HTTPRoute has other weights or another mirror than this stage's; it is being written"
    return Carried(steady=False, reached=False, reason="RouteNotAccepted", message=words)


def unconfirmed(observed: Observed) -> str:
    """What follows while the route's controller has not told for long that it has looked at it: it is away, or what it told was
    lost. Empty: it has."""
    route = carrier(observed)
    if route is None or not route.unseen or route.unseen_seconds < UNCONFIRMED_SECONDS:
        return ""
    return (
        f"{route.message}: harm is looked for all the same, and no step passes until it has; if it stays so, look at the log of "
        "the Gateway's controller, or restart it"
    )


def _carried_by_pods(observed: Observed, rollout: RolloutStatus) -> Carried:
    counts = replicas.ready(observed)
    wanted = replicas.of_arms(rollout, observed.spec.serving.replicas)
    told = {entry.version: entry.achieved for entry in observed.status.weights if entry.achieved}
    words = "; ".join(f"v{version} has {counts.get(version, 0)} of {pods} pods ready" for version, pods in sorted(wanted.items()))
    if not observed.service:
        return Carried(steady=False, reached=False, reason="ServiceMissing", message="the Service does not exist yet")
    if replicas.shares(counts) != told:
        return Carried(steady=False, reached=False, reason="SharesMove", message=f"{words}; shares moved just now")
    if counts != wanted:
        return Carried(steady=True, reached=False, reason="WeightNotReached", message=f"{words}; the hold runs when all are")
    return Carried(steady=True, reached=True)


def withholds(spec: ModelDeploymentSpec) -> bool:
    """Whether a ready candidate can be kept without requests: not by a Service, which sends them to every ready pod."""
    return not by_replicas(spec)


def settling_seconds(spec: ModelDeploymentSpec) -> float:
    """How long a pod has been ready when it is given requests."""
    return READY_SECONDS if withholds(spec) else 0.0


def pods_to_begin(draft: Draft) -> tuple[int, float]:
    """(number, seconds since they turned ready) of a version's pods with which it is promoted or its canary begins.

    Pods that take requests from their first moment are measured from it: the first ready one begins the canary.
    """
    if by_replicas(draft.observed.spec) and draft.status.stable is not None:
        return 1, 0.0
    return draft.observed.spec.serving.replicas, READY_SECONDS


# ---- carrying it out ---------------------------------------------------------------------------------------------------------


def reconcile(draft: Draft) -> None:
    """Asks for the router's object with what the status wants; the other's object goes once this one serves."""
    if by_replicas(draft.observed.spec):
        _reconcile_service(draft)
    else:
        _reconcile_weights(draft)


def prepare(draft: Draft) -> None:
    """Before any version serves: a rule is claimed at once, so that a second claimant is told at once; others go back."""
    borrowing.ask(draft, ())
    borrowing.give_back_others(draft)


def may_get_requests(observed: Observed, number: int) -> bool:
    """Whether any router that is there may give a version requests or copies of them: by its weights or mirror, or, while nobody
    knows which route the gateway has, by its place in it."""
    for route in _there(observed):
        mirrored = route.mirror is not None and route.mirror.version == number
        if mirrored or number in {version for version, weight in route.weights if weight or not route.accepted}:
            return True
    return False


def versions(observed: Observed) -> set[int]:
    """Versions that any router names: they are not to go."""
    found = {version for route in _there(observed) for version, _ in route.weights}
    found |= {route.mirror.version for route in _there(observed) if route.mirror is not None}
    live_now = live(observed)
    return found | {version for version, _ in (live_now.weights if live_now else ())}


def _there(observed: Observed) -> list[RouteState]:
    """Every route that leads to us, also one that the spec has given up and that is not gone yet."""
    routes = (observed.route, *(rule.state for rule in observed.borrowed if rule.held))
    return [route for route in routes if route is not None]


def _reconcile_weights(draft: Draft) -> None:
    if any(entry.achieved is not None for entry in draft.status.weights):
        draft.set(weights=[entry.model_copy(update={"achieved": None}) for entry in draft.status.weights])
    weights = tuple((entry.version, entry.weight) for entry in draft.status.weights)
    under_way, observed = draft.status.rollout, draft.observed
    mirrored = mirror(observed, under_way) if under_way is not None else None
    borrows = borrowing.borrows(observed.spec)
    if borrows:
        borrowing.ask(draft, weights, mirrored)
    else:
        draft.after.append(ApplyRoute(weights, mirrored, _reminder(observed, weights, mirrored)))
    route = carrier(observed)
    if route is not None and route.unseen:
        draft.wake(max(LISTEN_SECONDS, route.unseen_seconds / 2))
    carries = route is not None and route.accepted and dict(route.weights) == dict(weights)
    if not carries or observed.path_taken or not _serves(draft):
        return
    if observed.service:
        draft.after.append(DeleteService())
    if borrows and observed.route is not None:
        draft.after.append(DeleteRoute())
    borrowing.give_back_others(draft)


def _reminder(observed: Observed, weights: tuple[tuple[int, int], ...], mirrored: Mirror | None) -> int:
    """Number of the reminder that is due; 0: none, nor where there is news for the controller anyway."""
    route = observed.route
    if (
        route is None
        or route.unseen_seconds < REMINDER_SECONDS
        or (dict(route.weights), route.mirror) != (dict(weights), mirrored)
    ):
        return 0
    return int(math.log2(route.unseen_seconds / REMINDER_SECONDS)) + 1


def _reconcile_service(draft: Draft) -> None:
    """The status tells beside each weight what the ready pods make of it, also for a version that no weight is meant for."""
    shares = replicas.shares(replicas.ready(draft.observed))
    asked = {entry.version: entry.weight for entry in draft.status.weights}
    weights = [
        RouteWeight(version=version, weight=asked.get(version, 0), achieved=shares.get(version, 0.0))
        for version in (*asked, *(version for version in shares if version not in asked))
        if asked.get(version) or version in shares
    ]
    if weights[:MOST_WEIGHTS] != draft.status.weights:
        draft.set(weights=weights[:MOST_WEIGHTS])
    draft.after.append(ApplyService())
    if draft.observed.service and _serves(draft):
        if draft.observed.route is not None:
            draft.after.append(DeleteRoute())
        borrowing.give_back_others(draft)


def _serves(draft: Draft) -> bool:
    stable = draft.status.stable
    return stable is not None and bool(ready_pods(workload_of(draft.observed, stable), draft.observed.now))
