"""One pass decided: everything that was observed and the time in, a plan out. Pure; the reconciler carries it out.

The rules run in one order, each adding to a draft: what was lost, what Jobs found behind the data source, requests of a person,
triggers, the pin, the candidate, a return under way; then what follows from all of them: states, Deployments, the route, history,
limits, conditions.
"""

from __future__ import annotations

from dataclasses import replace

from perennial.api.v1alpha1 import ModelDeploymentStatus
from perennial.core import (
    borrowing,
    candidate,
    clock,
    kstatus,
    ledger,
    limits,
    lost,
    polling,
    recording,
    report,
    reproducing,
    returns,
    runs,
    serving,
    smoke,
    storing,
    triggers,
    wishes,
)
from perennial.core.actions import MOVES_REQUESTS, Plan, WriteVersionStatus
from perennial.core.arms import ready_pods, workload_of
from perennial.core.conditions import with_findings
from perennial.core.draft import Draft
from perennial.core.inputs import stamp
from perennial.core.observed import Observed, ServingPod


def plan(observed: Observed) -> Plan:
    """What to do now. Never raises on any observed state that the API server can hold."""
    if observed.meta.deleting:
        return borrowing.leave(observed)
    if observed.invalid and not observed.remembered:
        return _unreadable(Draft(observed))
    draft = Draft(_starting_nothing(observed) if observed.invalid else observed)
    clock.set_back(draft)
    lost.mend(draft)
    triggers.note(draft)
    polling.take_in(draft)
    triggers.adopt(draft)
    wishes.carry_out(draft)
    if draft.status.paused:
        draft.observed = _starting_nothing(draft.observed)
    triggers.on_spec(draft)
    serving.take_up(draft)
    triggers.by_themselves(draft)
    returns.by_pin(draft)
    candidate.advance(draft)
    returns.carry_out(draft)
    serving.settle(draft)
    candidate.stop_jobs(draft)
    runs.settle(draft)
    reproducing.settle(draft)
    serving.route(draft)
    serving.workloads(draft)
    serving.history(draft)
    borrowing.finalizer(draft)
    storing.settle(draft)
    smoke.expire(draft)
    limits.settle(draft)
    polling.begin(draft)
    report.conditions(draft)
    return _finish(draft)


def wanted_counters(observed: Observed) -> tuple[tuple[int, ServingPod], ...]:
    """(version, pod) of every pod whose counters this pass needs: the ready ones of both arms while a rollout lasts."""
    current = observed.status.rollout
    if current is None or observed.meta.deleting or (observed.invalid and not observed.remembered):
        return ()
    return tuple(
        (version, pod)
        for version in (current.candidate, current.stable)
        for pod in ready_pods(workload_of(observed, version), observed.now)
    )


def _finish(draft: Draft) -> Plan:
    before, current = draft.observed.status, draft.status.rollout
    persist = current is None or draft.urgent or candidate.saves(draft) or _differs(before, draft.status)
    if persist and current is not None and (current.unsaved or current != before.rollout):
        draft.set(rollout=current.model_copy(update={"saved_at": stamp(draft.observed.now), "unsaved": False}))
    if persist:
        ledger.write(draft)
        _write_versions(draft)
    recording.settle(draft)
    return draft.plan(persist)


def _write_versions(draft: Draft) -> None:
    """After the route, which must not wait for them, and before versions are deleted."""
    changed = [
        WriteVersionStatus(version.number, draft.versions[version.number].status)
        for version in draft.observed.versions
        if draft.versions[version.number].status != version.status
    ]
    moves = [action for action in draft.after if isinstance(action, MOVES_REQUESTS)]
    draft.after = [*moves, *changed, *(action for action in draft.after if not isinstance(action, MOVES_REQUESTS))]


def _differs(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Whether anything but the rollout's measurements moved."""
    return before.model_copy(update={"rollout": None}) != after.model_copy(update={"rollout": None})


def _starting_nothing(observed: Observed) -> Observed:
    """As with spec.paused. A rollout is still measured and taken back, also one whose spec cannot be read any more."""
    return replace(observed, spec=observed.spec.model_copy(update={"paused": True}))


def _unreadable(draft: Draft) -> Plan:
    draft.find(
        "Ready",
        False,
        kstatus.UNREADABLE,
        f"{draft.observed.invalid}; what serves goes on serving, and weights stay as they are",
    )
    kstatus.find(draft)
    meta = draft.observed.meta
    draft.set(
        conditions=with_findings(draft.status.conditions, draft.findings, meta.generation, draft.observed.now),
        observed_generation=meta.generation,
    )
    return draft.plan(persist=True)
