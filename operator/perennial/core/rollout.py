"""A candidate's rollout: one pass of measuring, judging, and raising the weight, or the reason to take it back.

`begin` opens it, `step` is called once a second while it lasts. The numbers come from `perennial.core.analysis`; what follows
from an outcome (promotion, rollback, quarantine) is decided in `perennial.core.candidate`. A block counts only while the weight
is constant: after each change of weight the route has to be accepted and one reading taken (`settled`) before evidence is
gathered again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from perennial.api.base import seconds
from perennial.api.v1alpha1 import MOST_PODS, MetricEvidence, MetricState, Rollout, RolloutMetric, RolloutStatus
from perennial.core import analysis
from perennial.core.conditions import Finding
from perennial.core.inputs import since, stamp
from perennial.core.observed import Observed, ServingPod, Workload
from perennial_runtime.contract import LATENCY_BOUNDS_MS, Container

ERRORS_TOLERANCE = 1.0
LATENCY_TOLERANCE = 1.25
SAVE_SECONDS = 10.0
FLAPS = 3
"""So often the candidate may lose all its ready pods in a rollout before it is taken back."""
LOOK_SECONDS = 1.0
CHANGED_SECONDS = 0.2
"""How soon to look again after a change of weight: a route reaches the gateway in about 0.1 s."""
READY_SECONDS = 2.0
"""A pod takes traffic when it has been ready for so long."""
DEADLINE_HOLDS = 4.0


@dataclass(frozen=True, slots=True)
class Course:
    """What one pass made of a rollout."""

    rollout: RolloutStatus
    outcome: Literal["continue", "promote", "breach"] = "continue"
    reason: str = ""
    message: str = ""
    findings: tuple[Finding, ...] = ()
    evidence: tuple[MetricEvidence, ...] = ()
    changed: bool = False
    """More than measurements moved: write the status now."""
    wake_after: float = LOOK_SECONDS


def begin(observed: Observed, candidate: int, stable: int) -> RolloutStatus:
    """The first step, without any traffic yet: that comes when every pod of both arms was read."""
    wish = observed.spec.rollout
    planned = sum(seconds(step.hold) for step in wish.steps)
    alphas = analysis.split_alpha(wish.false_rollback_rate, {metric.name: float(metric.weight) for metric in wish.metrics})
    now = stamp(observed.now)
    return RolloutStatus(
        candidate=candidate,
        stable=stable,
        step=0,
        weight=wish.steps[0].weight,
        started_at=now,
        saved_at=now,
        step_entered_at=now,
        withheld=True,
        planned_seconds=planned,
        metrics=[
            analysis.save(metric.name, alphas[metric.name], analysis.start(tolerance_of(metric), planned))
            for metric in wish.metrics
        ],
        restarts={**_restarts(workload_of(observed, candidate)), **_restarts(workload_of(observed, stable))},
    )


def tolerance_of(metric: RolloutMetric) -> float:
    """The tolerated odds ratio: as given, else 1 for errors and 1.25 for latency, whose null is never exactly true."""
    if metric.tolerance is not None:
        return metric.tolerance
    return ERRORS_TOLERANCE if metric.errors is not None else LATENCY_TOLERANCE


def step(observed: Observed, rollout: RolloutStatus, waits: bool = False) -> Course:
    """One pass: crashes, readiness, measurement, verdict, and the next weight, which is not taken while the rollout `waits`."""
    rollout = _with_crashes(observed, rollout)
    crashing = analysis.judge_crashes(rollout.crashes_candidate, rollout.crashes_stable)
    if crashing:
        return _breach(observed, rollout, crashing)
    unready = _withhold(observed, rollout)
    if unready:
        return unready
    settled_before = rollout.settled
    rollout, finding = _measure(observed, rollout)
    verdicts = {state.name: analysis.judge(state.name, _resume(rollout, state), state.alpha) for state in rollout.metrics}
    breach = next((verdict for verdict in verdicts.values() if isinstance(verdict, analysis.Breach)), None)
    if breach:
        return _breach(observed, rollout, breach)
    clear = all(isinstance(verdict, analysis.Clear) for verdict in verdicts.values())
    if finding.status is True and rollout.settled and not waits and _may_pass(observed, rollout, clear):
        return _pass(observed, rollout, finding)
    findings = (_waiting_for_requests(observed, rollout, finding), *_inconclusive(observed, rollout))
    # settled is written at once: what is answered while the operator is away counts when it is back
    return Course(rollout, findings=findings, evidence=evidence_of(rollout), changed=rollout.settled and not settled_before)


def evidence_of(rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """The test of each metric in numbers and words, as it stands."""
    share = rollout.weight / 100
    return tuple(
        analysis.shown(state.name, analysis.evidence(_resume(rollout, state), state.alpha, share)) for state in rollout.metrics
    )


def deadline_seconds(wish: Rollout, index: int) -> float:
    """How long step `index` may last before it is called inconclusive."""
    return seconds(wish.deadline) if wish.deadline else DEADLINE_HOLDS * seconds(wish.steps[min(index, len(wish.steps) - 1)].hold)


def workload_of(observed: Observed, version: int) -> Workload | None:
    """The serving Deployment of a version."""
    return next((workload for workload in observed.workloads if workload.version == version), None)


def ready_pods(workload: Workload | None, now: datetime, age: float = 0.0) -> tuple[ServingPod, ...]:
    """Pods that take traffic, ready for at least `age` seconds."""
    if workload is None:
        return ()
    return tuple(pod for pod in workload.pods if pod.ready and not pod.deleting and _is_of_age(pod, now, age))


def _is_of_age(pod: ServingPod, now: datetime, age: float) -> bool:
    """Kubelets have clocks of their own: one that is ahead must not make a ready pod look unready."""
    return age <= 0.0 or pod.ready_since is None or (now - pod.ready_since).total_seconds() >= age


def _resume(rollout: RolloutStatus, state: MetricState) -> analysis.EProcess:
    return analysis.resume(state, rollout.planned_seconds)


def _restarts(workload: Workload | None) -> dict[str, int]:
    """Restarts of the server by UID of the pod, without pods that had none: the map stays small."""
    found = {
        pod.uid: sum(c.restarts for c in pod.containers if c.name == Container.SERVER)
        for pod in (workload.pods if workload else ())
    }
    return {uid: count for uid, count in found.items() if count}


def _with_crashes(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """Each pod's restarts are followed by its UID: pods that go take nothing with them, new ones bring only their own."""
    candidate, stable = (_restarts(workload_of(observed, version)) for version in (rollout.candidate, rollout.stable))
    seen = {**candidate, **stable}
    if seen.items() <= rollout.restarts.items():
        return rollout
    return rollout.model_copy(
        update={
            "restarts": dict(list({**rollout.restarts, **seen}.items())[-MOST_PODS:]),
            "crashes_candidate": rollout.crashes_candidate + _newly(candidate, rollout.restarts),
            "crashes_stable": rollout.crashes_stable + _newly(stable, rollout.restarts),
            "unsaved": True,
        }
    )


def _newly(restarts: Mapping[str, int], before: Mapping[str, int]) -> int:
    return sum(max(0, count - before.get(uid, 0)) for uid, count in restarts.items())


def _breach(observed: Observed, rollout: RolloutStatus, breach: analysis.Breach) -> Course:
    return Course(rollout, "breach", breach.reason, breach.message, evidence=evidence_of(rollout), changed=True)


def _withhold(observed: Observed, rollout: RolloutStatus) -> Course | None:
    """No weight to a candidate without a ready pod; it gets some when one has been ready for READY_SECONDS and all were read."""
    workload = workload_of(observed, rollout.candidate)
    if ready_pods(workload, observed.now, READY_SECONDS if rollout.withheld else 0.0):
        return _allow(observed, rollout) if rollout.withheld else None
    if not rollout.withheld:
        return _take_away(observed, rollout, workload)
    if rollout.not_ready_since is None:
        return Course(rollout.model_copy(update={"not_ready_since": stamp(observed.now)}), findings=(_not_ready(workload),))
    if since(observed.now, rollout.not_ready_since) > seconds(observed.spec.serving.progress_deadline):
        words = f"the candidate had no ready pod for {observed.spec.serving.progress_deadline}: {why_not_ready(workload)}"
        return _breach(observed, rollout, analysis.Breach("CanaryNotReady", words))
    return Course(rollout, findings=(_not_ready(workload),))


def _take_away(observed: Observed, rollout: RolloutStatus, workload: Workload | None) -> Course:
    """The candidate lost its last ready pod. One that does so again and again will never pass a step, and harms each time."""
    flaps = rollout.flaps + 1
    if flaps >= FLAPS:
        words = f"the candidate lost all its ready pods {flaps} times in this rollout: {why_not_ready(workload)}"
        return _breach(observed, rollout, analysis.Breach("CanaryNotReady", words))
    update = {"withheld": True, "settled": False, "step_started_at": None, "not_ready_since": stamp(observed.now), "flaps": flaps}
    return Course(rollout.model_copy(update=update), findings=(_not_ready(workload),), changed=True)


def _allow(observed: Observed, rollout: RolloutStatus) -> Course:
    """A candidate with ready pods gets its weight, but none that cannot be judged: every pod has to be read first."""
    ready = {"not_ready_since": None}
    if observed.counters is None:
        waiting = rollout.model_copy(update=ready)
        return Course(waiting, findings=(_unreachable(observed), *_inconclusive(observed, waiting)))
    entered = {**ready, "withheld": False, "step_entered_at": rollout.step_entered_at}
    back = _entered(observed, rollout, rollout.step).model_copy(update=entered)
    return Course(back, changed=True, wake_after=CHANGED_SECONDS)


def _unreachable(observed: Observed) -> Finding:
    return Finding("Measured", False, "PodsUnreachable", observed.unreachable or "the pods' counters were not read")


def _not_ready(workload: Workload | None) -> Finding:
    return Finding("Measured", False, "CanaryNotReady", f"no traffic to the candidate: {why_not_ready(workload)}")


def why_not_ready(workload: Workload | None) -> str:
    """The reason in the cluster's own words, as far as pods and Deployment tell it."""
    if workload is None:
        return "its Deployment does not exist yet"
    if workload.warning:
        return workload.warning
    for pod in workload.pods:
        if pod.unschedulable:
            return f"pod {pod.name} is unschedulable: {pod.unschedulable}"
        for container in pod.containers:
            words = _container_words(pod, container.reason, container.message, container.last_reason, container.last_message)
            if words and container.state != "running":
                return f"{words} (container {container.name})"
    return "its pods are not ready yet"


def _container_words(pod: ServingPod, reason: str, message: str, last_reason: str, last_message: str) -> str:
    if last_message or last_reason not in ("", "Completed"):
        return f"pod {pod.name}: {reason}: {last_reason} {last_message}".strip()
    return f"pod {pod.name}: {reason} {message}".strip() if reason not in ("", "Completed", "PodInitializing") else ""


def _measure(observed: Observed, rollout: RolloutStatus) -> tuple[RolloutStatus, Finding]:
    if observed.counters is None:
        return rollout, _unreachable(observed)
    routed = _is_routed(observed, rollout)
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
        return rollout.model_copy(update={**read, "metrics": metrics, "settled": True}), Finding("Measured", True, "EveryPodRead")
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


def _is_routed(observed: Observed, rollout: RolloutStatus) -> bool:
    route = observed.route
    if route is None or not route.accepted:
        return False
    return {version: weight for version, weight in route.weights if weight} == {
        version: weight for version, weight in weights(rollout) if weight
    }


def weights(rollout: RolloutStatus) -> tuple[tuple[int, int], ...]:
    """(version, weight) of both arms as this rollout wants them."""
    weight = 0 if rollout.withheld else rollout.weight
    return ((rollout.stable, 100 - weight), (rollout.candidate, weight))


def _advance(
    rollout: RolloutStatus, state: MetricState, wish: RolloutMetric | None, look: analysis.Look, elapsed: float
) -> MetricState:
    if wish is None:
        return state
    block = analysis.errors(look) if wish.latency is None else analysis.slow(look, bound_index(wish.latency.slower_than))
    return analysis.save(state.name, state.alpha, analysis.advance(_resume(rollout, state), block, elapsed))


def bound_index(slower_than: str) -> int:
    """Place of a `slowerThan` among the latency buckets."""
    return LATENCY_BOUNDS_MS.index(int(slower_than.removesuffix("ms")))


def _waiting_for_requests(observed: Observed, rollout: RolloutStatus, finding: Finding) -> Finding:
    """A hold that is over and still no next step: most often nobody asks."""
    wish = observed.spec.rollout
    hold = seconds(wish.steps[min(rollout.step, len(wish.steps) - 1)].hold)
    few = rollout.step_candidate_requests < wish.minimum_requests
    if finding.status is not True or not few or since(observed.now, rollout.step_entered_at) <= hold:
        return finding
    words = f"the hold of step {rollout.step + 1} is over; the candidate has to answer {wish.minimum_requests} requests in it"
    return Finding("Measured", True, "TooFewRequests", words)


def _may_pass(observed: Observed, rollout: RolloutStatus, clear: bool) -> bool:
    wish = observed.spec.rollout
    hold = seconds(wish.steps[min(rollout.step, len(wish.steps) - 1)].hold)
    held = rollout.step_started_at is not None and since(observed.now, rollout.step_started_at) >= hold
    return held and clear and rollout.step_candidate_requests >= wish.minimum_requests and not observed.spec.paused


def _pass(observed: Observed, rollout: RolloutStatus, finding: Finding) -> Course:
    following = rollout.step + 1
    if following >= len(observed.spec.rollout.steps):
        return Course(
            rollout, "promote", "EveryStepPassed", "no evidence of harm in any step", (finding,), evidence_of(rollout), True
        )
    entered = _entered(observed, rollout, following)
    return Course(entered, findings=(finding,), evidence=evidence_of(entered), changed=True, wake_after=CHANGED_SECONDS)


def _entered(observed: Observed, rollout: RolloutStatus, index: int) -> RolloutStatus:
    steps = observed.spec.rollout.steps
    return rollout.model_copy(
        update={
            "step": index,
            "weight": steps[min(index, len(steps) - 1)].weight,
            "settled": False,
            "step_entered_at": stamp(observed.now),
            "step_started_at": None,
            "step_candidate_requests": 0,
        }
    )


def _inconclusive(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    limit = deadline_seconds(observed.spec.rollout, rollout.step)
    if since(observed.now, rollout.step_entered_at) <= limit:
        return ()
    weight = 0 if rollout.withheld else rollout.weight
    words = (
        f"step {rollout.step + 1} at {weight} % has neither passed nor breached within {limit:.0f} s: "
        f"{observed.spec.rollout.minimum_requests} requests to the candidate and a clear test are needed; waiting"
    )
    return (Finding("Inconclusive", True, "StepDeadline", words),)
