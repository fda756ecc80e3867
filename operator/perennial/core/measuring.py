"""The measurement of a rollout: from the pods' counters of this pass to the state of each metric's test, and its evidence.

A block counts only while the weights are constant: after each change of weight the route has to be accepted and one reading
taken (`settled`) before evidence is gathered again. `rollout` judges what comes out.
"""

from __future__ import annotations

from perennial.api.v1alpha1 import MOST_PODS, MetricEvidence, MetricState, RolloutMetric, RolloutStatus
from perennial.core import analysis
from perennial.core.arms import newly, restarts_of, workload_of
from perennial.core.conditions import Finding
from perennial.core.inputs import since, stamp
from perennial.core.observed import Observed
from perennial_runtime.contract import LATENCY_BOUNDS_MS

ERRORS_TOLERANCE = 1.0
LATENCY_TOLERANCE = 1.25


def tolerance_of(metric: RolloutMetric) -> float:
    """The tolerated odds ratio: as given, else 1.25 for latency, whose null is never exactly true, and 1 for all others."""
    if metric.tolerance is not None:
        return metric.tolerance
    return ERRORS_TOLERANCE if metric.latency is None else LATENCY_TOLERANCE


def evidence_of(rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """The test of each metric in numbers and words, as it stands."""
    share = rollout.weight / 100
    shown = (
        analysis.shown(state.name, analysis.evidence(resumed(rollout, state), state.alpha, share)) for state in rollout.metrics
    )
    elsewhere = {entry.name for entry in rollout.provided}
    return tuple(one.model_copy(update={"guarantee": "approximate"}) if one.name in elsewhere else one for one in shown)


def resumed(rollout: RolloutStatus, state: MetricState) -> analysis.EProcess:
    """The test of a metric as the status has it."""
    return analysis.resume(state, rollout.planned_seconds)


def measure(observed: Observed, rollout: RolloutStatus) -> tuple[RolloutStatus, Finding]:
    """The rollout with what was answered since its last reading, and whether that could be read (condition Measured)."""
    if observed.counters is None:
        return rollout, unreachable(observed)
    routed = is_routed(observed, rollout)
    if not routed:
        words = observed.route.message if observed.route else "the HTTPRoute does not exist yet"
        words = words or "the HTTPRoute has other weights than this step's; they are being written"
        return rollout.model_copy(update={"settled": False}), Finding("Measured", False, "RouteNotAccepted", words)
    look = analysis.look(
        analysis.from_readings(rollout.pods) if rollout.measured else None,
        observed.counters,
        candidate=rollout.candidate,
        stable=rollout.stable,
        existing={pod.uid for workload in observed.workloads for pod in workload.pods},
        older=_older_pods(observed, rollout),
    )
    if look is None:
        return rollout, Finding("Measured", False, "PodsUnreachable", "not every pod was read")
    read = {"pods": analysis.to_readings(look.readings), "measured": True}
    if not rollout.settled:
        metrics = _advanced(observed, rollout, analysis.broken_off(look))
        settled = {"settled": True, "settled_at": stamp(observed.now)}
        return rollout.model_copy(update={**read, **settled, "metrics": metrics}), Finding("Measured", True, "EveryPodRead")
    if rollout.measured and look.readings == analysis.from_readings(rollout.pods):
        return rollout, Finding("Measured", True, "EveryPodRead")
    metrics = _advanced(observed, rollout, look)
    started = rollout.step_started_at or (stamp(observed.now) if look.candidate.total else None)
    requests = rollout.step_candidate_requests + look.candidate.total
    update = {**read, "unsaved": True, "metrics": metrics, "step_started_at": started, "step_candidate_requests": requests}
    return rollout.model_copy(update=update), Finding("Measured", True, "EveryPodRead")


def _older_pods(observed: Observed, rollout: RolloutStatus) -> set[str]:
    """UIDs of pods that were made before this rollout began."""
    return {
        pod.uid for workload in observed.workloads for pod in workload.pods if since(pod.created_at, rollout.started_at) < 0.0
    }


def _advanced(observed: Observed, rollout: RolloutStatus, look: analysis.Look) -> list[MetricState]:
    elapsed = since(observed.now, rollout.started_at)
    wishes = {metric.name: metric for metric in observed.spec.rollout.metrics}
    return [_advance(rollout, state, wishes.get(state.name), look, elapsed) for state in rollout.metrics]


def is_routed(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether the route is accepted with the weights that this rollout wants."""
    route = observed.route
    if route is None or not route.accepted:
        return False
    return {version: weight for version, weight in route.weights if weight} == {
        version: weight for version, weight in weights(rollout) if weight
    }


def weights(rollout: RolloutStatus) -> tuple[tuple[int, int], ...]:
    """(version, weight) of both arms as this rollout wants them."""
    weight = 100 if rollout.stable_away else 0 if rollout.withheld else rollout.weight
    return ((rollout.stable, 100 - weight), (rollout.candidate, weight))


def _advance(
    rollout: RolloutStatus, state: MetricState, wish: RolloutMetric | None, look: analysis.Look, elapsed: float
) -> MetricState:
    if wish is None or wish.prometheus is not None:  # `perennial.core.providers` counts the latter
        return state
    block = analysis.errors(look) if wish.latency is None else analysis.slow(look, bound_index(wish.latency.slower_than))
    return analysis.save(state.name, state.alpha, analysis.advance(resumed(rollout, state), block, elapsed))


def bound_index(slower_than: str) -> int:
    """Place of a `slowerThan` among the latency buckets."""
    return LATENCY_BOUNDS_MS.index(int(slower_than.removesuffix("ms")))


def unreachable(observed: Observed) -> Finding:
    """Which pod could not be read, and why."""
    return Finding("Measured", False, "PodsUnreachable", observed.unreachable or "the pods' counters were not read")


def with_crashes(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """Each pod's restarts are followed by its UID: pods that go take nothing with them, new ones bring only their own."""
    candidate, stable = (restarts_of(workload_of(observed, version)) for version in (rollout.candidate, rollout.stable))
    seen = {**candidate, **stable}
    if seen.items() <= rollout.restarts.items():
        return rollout
    return rollout.model_copy(
        update={
            "restarts": dict(list({**rollout.restarts, **seen}.items())[-MOST_PODS:]),
            "crashes_candidate": rollout.crashes_candidate + newly(candidate, rollout.restarts),
            "crashes_stable": rollout.crashes_stable + newly(stable, rollout.restarts),
            "unsaved": True,
        }
    )
