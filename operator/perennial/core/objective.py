"""A version's own bad rate against its objective, and whose fault it is when that is missed.

`metrics` moves three tests on: the candidate's rate, stable's rate, and, from the moment that the candidate's comes into
suspicion, a comparison begun afresh. Nothing in here counts; each pass of a rollout asks `judged` what follows:

    candidate misses it, stable in suspicion          outage: somebody else's, nothing is taken back; both tests begin again
    candidate misses it, afresh shown to be worse     breach ObjectiveMissed, unless stable's answers speak for its missing it too
    candidate misses it, neither yet                  stable is asked for ASKING_SECONDS; then the stronger of the two decides
    candidate misses it, stable has no ready pod      nobody to ask and nobody to go back to: waits

The comparison begun afresh is shown at E >= 1 / alpha: an outage that fails both alike is taken for the candidate's fault by it
with probability at most alpha. A candidate that recovers while stable is asked is let go. The metric's own comparison goes on
deciding throughout, whatever is found here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from perennial.api.rollout_status import MetricState, ObjectiveState, RolloutStatus
from perennial.core import analysis
from perennial.core.arms import ready_pods, workload_of
from perennial.core.conditions import Finding
from perennial.core.inputs import moment, moved, since, stamp
from perennial.core.observed import Observed

ASKING_SECONDS = 30.0
"""How long stable is asked at most whether it misses the objective too."""
QUIET_SECONDS = 60.0
"""An outage is over when stable's test has not been in suspicion for so long."""


@dataclass(frozen=True, slots=True)
class _Tests:
    """The three tests of a metric, as logarithms of E."""

    candidate: float
    stable: float
    confirming: float
    missed: float
    """log E from which on a test has decided."""

    @property
    def suspicion(self) -> float:
        """log E from which on a test is in suspicion."""
        return self.missed / 2.0

    @property
    def has_missed(self) -> bool:
        """The candidate misses its objective."""
        return self.candidate >= self.missed


def judged(observed: Observed, rollout: RolloutStatus, measured: bool) -> tuple[RolloutStatus, analysis.Breach | None]:
    """The rollout with what was found about its objectives, and a breach if there is one.

    Where this pass was not `measured`, no time runs out: what cannot be read must not decide. One that was taken out of the spec
    asks for nothing more.
    """
    if rollout.breach or not any(state.objective for state in rollout.metrics):
        return rollout, None
    wished = {metric.name for metric in observed.spec.rollout.metrics if metric.objective is not None}
    metrics, breach = [], None
    for state in rollout.metrics:
        counted_at = _counted_at(observed, rollout, state, measured=measured)
        found, missed = _judge(observed, rollout, state, counted_at) if state.name in wished else (None, None)
        breach = breach or missed
        metrics.append(state if found == state.objective else state.model_copy(update={"objective": found}))
    return rollout.model_copy(update={"metrics": metrics}), breach


def decided(before: RolloutStatus, after: RolloutStatus) -> bool:
    """Whether an outage began or ended, or stable began to be asked: that is written at once."""
    return [_stage(state.objective) for state in before.metrics] != [_stage(state.objective) for state in after.metrics]


def suspicions(rollout: RolloutStatus) -> dict[str, str]:
    """Why a step does not pass and a watch does not end, by metric."""
    found: dict[str, str] = {}
    for state in rollout.metrics:
        if state.objective is None:
            continue
        tests = _tests(state.objective, state)
        stage = _stage(state.objective)
        if stage == "outage":
            found[state.name] = "both versions miss its objective"
        elif stage == "asking":
            found[state.name] = "the candidate misses its objective; stable is being asked"
        elif tests.candidate >= tests.suspicion:
            e, limit = (analysis.short(analysis.e_of(value)) for value in (tests.candidate, tests.suspicion))
            found[state.name] = f"its objective is in suspicion: E {e}, under {limit} is needed"
    return found


def holds_watch(rollout: RolloutStatus) -> bool:
    """Whether the watch must not end: in an outage, and while stable is asked."""
    return any(_stage(state.objective) for state in rollout.metrics)


def findings(rollout: RolloutStatus) -> tuple[Finding, ...]:
    """What is told while an outage lasts or an objective is missed. Nothing in the words ticks."""
    if rollout.breach:
        return ()
    with_objective = {state.name: (state.objective, state) for state in rollout.metrics if state.objective is not None}
    outages = [name for name, (objective, _) in with_objective.items() if objective.outage_since]
    if outages:
        words = (
            f"{_names(with_objective, outages)}: v{rollout.candidate} and v{rollout.stable} both miss it, so going back would "
            f"not help: weights stay until v{rollout.stable} is out of suspicion for {QUIET_SECONDS:.0f} s; see what both need"
        )
        return (Finding("Outage", True, "BothVersions", words),)
    asking = [name for name, (objective, _) in with_objective.items() if objective.missed_at]
    if asking:
        words = (
            f"{_names(with_objective, asking)}: v{rollout.candidate} misses it; v{rollout.stable} is asked for at most "
            f"{ASKING_SECONDS:.0f} s whether it does too"
        )
        return (Finding("ObjectiveMissed", True, "AskingStable", words),)
    alone = [name for name, (objective, state) in with_objective.items() if _tests(objective, state).has_missed]
    if alone:
        words = (
            f"{_names(with_objective, alone)}: v{rollout.candidate} misses it, and v{rollout.stable} has no ready pod to compare "
            "with or to go back to; waiting for one"
        )
        return (Finding("ObjectiveMissed", True, "NothingToReturnTo", words),)
    return ()


def moved_by(metrics: list[MetricState], seconds: float) -> list[MetricState]:
    """The metrics with the times of their objectives moved, for a clock that was set."""
    return [
        state if state.objective is None else state.model_copy(update={"objective": _moved(state.objective, seconds)})
        for state in metrics
    ]


def events(before: RolloutStatus, after: RolloutStatus) -> tuple[tuple[Literal["Normal", "Warning"], str, str], ...]:
    """(type, reason, message) of outages that began or ended."""
    earlier = {state.name: state.objective for state in before.metrics}
    told: list[tuple[Literal["Normal", "Warning"], str, str]] = []
    for state in after.metrics:
        was, now = _is_out(earlier.get(state.name)), _is_out(state.objective)
        if now and not was and state.objective is not None:
            words = f"v{after.candidate} and v{after.stable} both miss {_name(state.name, state.objective)}"
            told.append(("Warning", "Outage", f"{words}: nothing is taken back, for that would not help"))
        if was and not now and state.objective is not None:
            words = f"v{after.stable} does not miss {_name(state.name, state.objective)} any more"
            told.append(("Normal", "OutageOver", f"{words}: the rollout goes on"))
    return tuple(told)


def _counted_at(observed: Observed, rollout: RolloutStatus, state: MetricState, *, measured: bool) -> datetime | None:
    """The time until which the metric's requests are counted. A source that is read seldom, or not at all, is behind the pods;
    where stable gets no requests there is nothing to wait for."""
    provided = any(metric.name == state.name and metric.prometheus is not None for metric in observed.spec.rollout.metrics)
    if not provided or rollout.stable_away:
        return observed.now if measured else None
    entry = next((entry for entry in rollout.provided if entry.name == state.name), None)
    return moment(entry.at) if entry is not None and entry.at is not None and not entry.reason else None


def _judge(
    observed: Observed, rollout: RolloutStatus, state: MetricState, counted_at: datetime | None
) -> tuple[ObjectiveState | None, analysis.Breach | None]:
    """One metric's objective: what its state becomes, and whether it is a breach."""
    objective = state.objective
    if objective is None:
        return None, None
    tests = _tests(objective, state)
    if objective.outage_since is not None:
        return _outage_goes_on(observed, rollout, objective, tests, counted_at), None
    misses = tests.has_missed or (objective.missed_at is not None and tests.candidate >= tests.suspicion)
    stable_ready = bool(ready_pods(workload_of(observed, rollout.stable), observed.now)) and not rollout.stable_away
    if misses and not stable_ready:
        return objective.model_copy(update={"missed_at": None}), None
    if misses and tests.stable >= tests.suspicion:
        return _outage(observed, rollout, objective), None
    if misses:
        return _asking(observed, rollout, state, objective, tests, counted_at=counted_at)
    if objective.missed_at is not None:
        objective = _asked(observed, objective, rollout.planned_seconds).model_copy(update={"missed_at": None})
    return _confirmed(state, objective, tests), None


def _asking(
    observed: Observed,
    rollout: RolloutStatus,
    state: MetricState,
    objective: ObjectiveState,
    tests: _Tests,
    *,
    counted_at: datetime | None,
) -> tuple[ObjectiveState, analysis.Breach | None]:
    """The candidate misses its objective and nothing is known of stable yet."""
    if objective.missed_at is None:
        asked = _confirmed(state, objective, tests).model_copy(update={"missed_at": stamp(observed.now)})
        return (_asked(observed, asked, 0.0) if tests.stable < 0.0 else asked), None
    confirmed = tests.confirming >= tests.missed and tests.stable < 0.0
    late = counted_at is not None and since(counted_at, objective.missed_at) >= ASKING_SECONDS
    if not confirmed and not late:
        return objective, None
    if not confirmed and tests.stable > max(0.0, tests.confirming):
        return _outage(observed, rollout, objective), None
    evidence = analysis.objective_evidence(objective)
    words = f"{state.name}: {evidence.message}; stable does not miss it as far as it was asked"
    return objective, analysis.Breach("ObjectiveMissed", words)


def _outage(observed: Observed, rollout: RolloutStatus, objective: ObjectiveState) -> ObjectiveState:
    """Both miss it; both tests begin again, or what they know of the outage would outlast it."""
    now = stamp(observed.now)
    began = analysis.save_rate(analysis.start_rate(objective.max_rate, rollout.planned_seconds), now)
    update = {"candidate": began, "stable": began, "confirming": [], "missed_at": None, "loud_at": now}
    return objective.model_copy(update={**update, "outage_since": objective.outage_since or now})


def _outage_goes_on(
    observed: Observed, rollout: RolloutStatus, objective: ObjectiveState, tests: _Tests, counted_at: datetime | None
) -> ObjectiveState:
    """In an outage nobody is blamed by an objective: to ask again and again whose fault it is would at last be answered wrongly.

    It is over when stable has not been in suspicion for QUIET_SECONDS. A candidate that still misses its objective then is asked
    about as any other."""
    if tests.stable >= tests.missed:
        return _outage(observed, rollout, objective)
    if tests.has_missed:
        began = analysis.save_rate(analysis.start_rate(objective.max_rate, rollout.planned_seconds), stamp(observed.now))
        objective = objective.model_copy(update={"candidate": began})
    if tests.stable >= tests.suspicion:
        return objective.model_copy(update={"loud_at": stamp(observed.now)})
    if counted_at is None or since(counted_at, objective.loud_at) < QUIET_SECONDS:
        return objective
    return objective.model_copy(update={"outage_since": None, "loud_at": None})


def _confirmed(state: MetricState, objective: ObjectiveState, tests: _Tests) -> ObjectiveState:
    """The comparison begins afresh when the candidate's test comes into suspicion, and is dropped when that has gone."""
    if tests.candidate >= tests.suspicion and not objective.confirming:
        return objective.model_copy(update={"confirming": list(analysis.start(state.tolerance, 0.0).log_s)})
    if tests.candidate < 0.0 and objective.confirming:
        return objective.model_copy(update={"confirming": []})
    return objective


def _asked(observed: Observed, objective: ObjectiveState, planned_seconds: float) -> ObjectiveState:
    """Stable's test begins again. Without planned seconds the question is whether it is bad now, and the good answers that its
    test has banked must not hide it."""
    fresh = analysis.save_rate(analysis.start_rate(objective.max_rate, planned_seconds), stamp(observed.now))
    return objective.model_copy(update={"stable": fresh})


def _moved(objective: ObjectiveState, seconds: float) -> ObjectiveState:
    tests = {
        arm: test.model_copy(update={"since": moved(test.since, seconds)})
        for arm, test in (("candidate", objective.candidate), ("stable", objective.stable))
    }
    times = {name: moved(getattr(objective, name), seconds) for name in ("missed_at", "outage_since", "loud_at")}
    return objective.model_copy(update={**tests, **times})


def _tests(objective: ObjectiveState, state: MetricState) -> _Tests:
    return _Tests(
        candidate=analysis.resume_rate(objective.candidate, objective.max_rate).log_e,
        stable=analysis.resume_rate(objective.stable, objective.max_rate).log_e,
        confirming=analysis.log_e(analysis.resume_confirming(state.tolerance, objective.confirming)),
        missed=-math.log(objective.alpha),
    )


def _stage(objective: ObjectiveState | None) -> Literal["outage", "asking", ""]:
    if objective is None:
        return ""
    return "outage" if objective.outage_since else "asking" if objective.missed_at else ""


def _is_out(objective: ObjectiveState | None) -> bool:
    return _stage(objective) == "outage"


def _names(objectives: Mapping[str, tuple[ObjectiveState, MetricState]], names: list[str]) -> str:
    return ", ".join(_name(name, objectives[name][0]) for name in names)


def _name(metric: str, objective: ObjectiveState) -> str:
    return f"the objective of {metric} (at most {objective.max_rate:g} bad)"
