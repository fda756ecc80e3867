"""The measurement of a rollout: from the pods' counters of this pass to the state of each metric's test, and its evidence.

A block counts only while the weights are constant: after each change of weight the route has to be accepted and one reading
taken (`settled`) before evidence is gathered again. `rollout` judges what comes out.
"""

from __future__ import annotations

from dataclasses import replace

from perennial.api.evidence import MetricEvidence
from perennial.api.metrics import RolloutMetric
from perennial.api.rollout_status import MOST_PODS, MetricState, RolloutStatus
from perennial.core import analysis, metrics, routers, runs, shift
from perennial.core.arms import newly, restarts_of, workload_of
from perennial.core.conditions import Finding
from perennial.core.inputs import since, stamp
from perennial.core.observed import MirrorCounters, Observed, PodCounters
from perennial_runtime.contract import LATENCY_BOUNDS_MS

ERRORS_TOLERANCE = 1.0
LATENCY_TOLERANCE = 1.25


def tolerance_of(metric: RolloutMetric) -> float:
    """The tolerated odds ratio: as given, else 1.25 for latency, whose null is never exactly true, and 1 for all others."""
    if metric.tolerance is not None:
        return metric.tolerance
    return ERRORS_TOLERANCE if metric.latency is None else LATENCY_TOLERANCE


def evidence_of(observed: Observed, rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """The tests of each metric in numbers and words, as they stand, with what each is worth."""
    share = None if rollout.phase == "Shadow" else rollout.weight / 100
    guarantee = routers.guarantee_of(observed.spec)
    provided = {entry.name for entry in rollout.provided}
    compared = tuple(
        analysis.report(state, rollout.planned_seconds, share, "approximate" if state.name in provided else guarantee)
        for state in rollout.metrics
    )
    return (*compared, *runs.evidence_of(rollout), *shift.evidence_of(rollout))


def resumed(rollout: RolloutStatus, state: MetricState) -> analysis.EProcess:
    """The test of a metric as the status has it."""
    return analysis.resume(state, rollout.planned_seconds)


def measure(observed: Observed, rollout: RolloutStatus) -> tuple[RolloutStatus, Finding]:
    """The rollout with what was answered since its last reading, and whether that could be read (condition Measured)."""
    if observed.counters is None:
        return rollout, unreachable(observed)
    carried = routers.carried(observed, rollout, dict(weights(rollout)))
    if not carried.steady:
        return rollout.model_copy(update={"settled": False}), Finding("Measured", False, carried.reason, carried.message)
    look = seen(observed, rollout)
    if look is None:
        return rollout, Finding("Measured", False, "PodsUnreachable", "not every pod was read")
    read = {"pods": analysis.to_readings(look.readings), "measured": True}
    finding = Finding("Measured", True, carried.reason or "EveryPodRead", carried.message)
    if not rollout.settled:
        tests = _advanced(observed, rollout, analysis.broken_off(look))
        settled = {"settled": True, "settled_at": stamp(observed.now)}
        return rollout.model_copy(update={**read, **settled, "metrics": tests}), finding
    if rollout.measured and read["pods"] == rollout.pods:  # as they are kept: a pod's mirrored requests of another time are not
        return rollout, finding
    tests = _advanced(observed, rollout, look)
    started = rollout.step_started_at or (stamp(observed.now) if look.candidate.total and carried.reached else None)
    requests = rollout.step_candidate_requests + look.candidate.total
    update = {
        **read,
        "unsaved": True,
        "metrics": tests,
        "shifts": shift.advanced(rollout, look),
        "step_started_at": started,
        "step_candidate_requests": requests,
    }
    return rollout.model_copy(update=update), finding


def is_confirmed(finding: Finding) -> bool:
    """Measured, and by weights that the route's controller has confirmed: without that nothing but harm is concluded."""
    return finding.status is True and finding.reason != routers.NOT_CONFIRMED


def seen(observed: Observed, rollout: RolloutStatus) -> analysis.Look | None:
    """What both arms answered since the readings that the rollout keeps; None when not every pod was read."""
    return analysis.look(
        analysis.from_readings(rollout.pods) if rollout.measured else None,
        _counted(observed, rollout),
        candidate=rollout.candidate,
        stable=rollout.stable,
        existing={pod.uid for workload in observed.workloads for pod in workload.pods},
        older=_older_pods(observed, rollout),
    )


def _counted(observed: Observed, rollout: RolloutStatus) -> tuple[PodCounters, ...] | None:
    """What is compared: live requests of both arms; in the shadow the candidate's mirrored ones."""
    if observed.counters is None or rollout.phase != "Shadow":
        return observed.counters
    return tuple(_mirrored(pod) if pod.version == rollout.candidate else pod for pod in observed.counters)


def _mirrored(pod: PodCounters) -> PodCounters:
    seen = pod.mirror
    return replace(
        pod,
        total=seen.total,
        bad=seen.bad,
        timed=seen.timed,
        buckets=seen.buckets,
        in_flight=seen.in_flight,
        mirror=MirrorCounters(),
    )


def _older_pods(observed: Observed, rollout: RolloutStatus) -> set[str]:
    """UIDs of pods that were made before this rollout began."""
    return {
        pod.uid for workload in observed.workloads for pod in workload.pods if since(pod.created_at, rollout.started_at) < 0.0
    }


def _advanced(observed: Observed, rollout: RolloutStatus, look: analysis.Look) -> list[MetricState]:
    wishes = {metric.name: metric for metric in observed.spec.rollout.metrics}
    return [_advance(observed, rollout, state, wishes.get(state.name), look) for state in rollout.metrics]


def has_answered(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether the candidate has answered any request, in its shadow any mirrored one; True as well where it gets requests and
    its pods cannot be read, for then nobody knows."""
    if observed.counters is None and not rollout.withheld:
        return True
    seen = (pod.total for pod in _counted(observed, rollout) or () if pod.version == rollout.candidate)
    kept = (pod.total for pod in rollout.pods if pod.version == rollout.candidate)
    return any((rollout.step_candidate_requests, *(state.candidate_total for state in rollout.metrics), *seen, *kept))


def is_carried(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether the router carries out the weights that this rollout wants."""
    return routers.carried(observed, rollout, dict(weights(rollout))).steady


def weights(rollout: RolloutStatus) -> tuple[tuple[int, int], ...]:
    """(version, weight) of both arms as this rollout wants them."""
    weight = 100 if rollout.stable_away else 0 if rollout.withheld else rollout.weight
    return ((rollout.stable, 100 - weight), (rollout.candidate, weight))


def judged(observed: Observed, rollout: RolloutStatus) -> list[MetricState]:
    """The tests that still count: one whose metric was taken out of the spec stands still, and holds nothing up."""
    wished = {metric.name for metric in observed.spec.rollout.metrics if metric.is_compared}
    return [state for state in rollout.metrics if state.name in wished]


def is_judged(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether anything that this rollout began with can still take the candidate back."""
    return bool(judged(observed, rollout)) or runs.is_judged(observed.spec.rollout.metrics, rollout)


def _advance(
    observed: Observed, rollout: RolloutStatus, state: MetricState, wish: RolloutMetric | None, look: analysis.Look
) -> MetricState:
    if wish is None or not wish.is_compared:  # one of this name that is no comparison any more
        return state.model_copy(update={"margin": None, "objective": None})
    if wish.prometheus is not None:  # `perennial.core.providers` counts it
        return state
    if rollout.phase == "Shadow":
        wish = wish.model_copy(update={"margin": None, "objective": None})
    block = analysis.errors(look) if wish.latency is None else analysis.slow(look, bound_index(wish.latency.slower_than))
    return metrics.advanced(observed, rollout, state, wish, block)


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
