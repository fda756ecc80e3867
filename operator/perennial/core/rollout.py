"""A candidate's rollout: one pass of measuring, judging, and raising the weight, or the reason to take it back.

`begin` opens it, `step` is called once a second while it lasts, after its promotion `watch`. The numbers come from
`perennial.core.measuring`; what follows from an outcome (promotion, rollback, quarantine) is decided in
`perennial.core.candidate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from perennial.api.base import seconds
from perennial.api.evidence import MetricEvidence
from perennial.api.rollout import Rollout, Watch
from perennial.api.rollout_status import RolloutStatus
from perennial.core import analysis, elsewhere, objective, providers, routers, runs, shift, shortfall
from perennial.core.arms import READY_SECONDS, ready_pods, restarts_of, why_not_ready, workload_of
from perennial.core.conditions import Finding
from perennial.core.inputs import since, stamp
from perennial.core.measuring import (
    evidence_of,
    is_confirmed,
    is_judged,
    judged,
    measure,
    resumed,
    tolerance_of,
    unreachable,
    with_crashes,
)
from perennial.core.observed import Observed, Workload

SAVE_SECONDS = 10.0
FLAPS = 3
"""So often the candidate may lose all its ready pods in a rollout before it is taken back."""
LOOK_SECONDS = 1.0
CHANGED_SECONDS = 0.2
"""How soon to look again after a change of weight: a route reaches the gateway in about 0.1 s."""
DEADLINE_HOLDS = 4.0


@dataclass(frozen=True, slots=True)
class Course:
    """What one pass made of a rollout."""

    rollout: RolloutStatus
    outcome: Literal["continue", "promote", "breach", "abort", "watched"] = "continue"
    reason: str = ""
    message: str = ""
    findings: tuple[Finding, ...] = ()
    evidence: Callable[[], tuple[MetricEvidence, ...]] = tuple
    """Worked out when it is wanted: it costs more than the verdict."""
    changed: bool = False
    """More than measurements moved: write the status now."""
    wake_after: float = LOOK_SECONDS


def begin(observed: Observed, candidate: int, stable: int, shadowed: bool = False) -> RolloutStatus:
    """The first step, without any traffic yet: that comes when every pod of both arms was read.

    `shadowed`: it comes out of a shadow, which had its own part of the account.
    """
    wish = observed.spec.rollout
    planned = sum(seconds(step.hold) for step in wish.steps) + (seconds(wish.watch.for_) if wish.watch else 0.0)
    compared = [metric for metric in wish.metrics if metric.is_compared]
    weights = {metric.name: float(metric.weight) for metric in compared}
    alphas = analysis.split_alpha(wish.false_rollback_rate, weights, shadow=shadowed) if compared else {}
    now = stamp(observed.now)
    return RolloutStatus(
        candidate=candidate,
        stable=stable,
        step=0,
        weight=wish.steps[0].weight,
        started_at=now,
        saved_at=now,
        step_entered_at=now,
        withheld=routers.withholds(observed.spec),
        shadowed=shadowed,
        planned_seconds=planned,
        metrics=[
            analysis.save(metric.name, alphas[metric.name], analysis.start(tolerance_of(metric), planned)) for metric in compared
        ],
        shifts=shift.begin(wish.metrics),
        provided=providers.begin(wish.metrics),
        runs=runs.begin(observed, candidate),
        restarts={**restarts_of(workload_of(observed, candidate)), **restarts_of(workload_of(observed, stable))},
    )


def step(observed: Observed, rollout: RolloutStatus, waits: bool = False) -> Course:
    """One pass: crashes, readiness, measurement, verdict, and the next weight, which is not taken while the rollout `waits`."""
    before, looked = rollout, look(observed, rollout)
    if isinstance(looked, Course):
        return looked
    rollout, finding, clear = looked
    if is_confirmed(finding) and rollout.settled and not waits and not rollout.breach:
        if _may_pass(observed, rollout, clear):
            return _pass(observed, rollout, finding)
        if late := _at_deadline(observed, rollout, finding, clear):
            return late
    evidence = partial(evidence_of, observed, rollout)
    return Course(rollout, findings=_told(observed, rollout, finding), evidence=evidence, changed=runs.decided(before, rollout))


def watch(observed: Observed, rollout: RolloutStatus) -> Course:
    """One pass after the promotion: the version before keeps its share to be compared with until the watch is over.

    The end is one write and so is the return after a breach; where the version before has no ready pod, its share is nobody's.
    """
    moved = _keep_stable_ready(observed, rollout)
    if moved is not None:
        return moved
    before, looked = rollout, look(observed, rollout)
    if isinstance(looked, Course):
        return looked
    rollout, finding, _ = looked
    wish = observed.spec.rollout.watch
    over = wish is None or since(observed.now, rollout.watch_started_at) >= seconds(wish.for_)
    if over and not rollout.breach and not observed.spec.paused and not objective.holds_watch(rollout):
        words = _watch_words(wish, rollout, elsewhere.lacking(observed, rollout))
        return Course(rollout, "watched", "Watched", words, (finding,), partial(evidence_of, observed, rollout), True)
    evidence = partial(evidence_of, observed, rollout)
    return Course(rollout, findings=(finding,), evidence=evidence, changed=runs.decided(before, rollout))


def _watch_words(wish: Watch | None, rollout: RolloutStatus, lacking: str) -> str:
    if wish is None:
        return "the watch was taken out of the spec"
    bad = runs.let_pass(rollout)
    if not rollout.step_candidate_requests:
        return f"in the {wish.for_} after it no request could be measured{bad and f'; {bad}'}"
    return f"no evidence of harm in the {wish.for_} after it{bad and f', but {bad}'}{lacking and f'; {lacking}'}"


def watched(observed: Observed, rollout: RolloutStatus, hold_back: int) -> RolloutStatus:
    """The rollout as it goes on when its candidate serves: the same tests, the same account of alpha."""
    return rollout.model_copy(
        update={
            "phase": "Watch",
            "weight": 100 - hold_back,
            "watch_started_at": stamp(observed.now),
            "withheld": False,
            "not_ready_since": None,
            "flaps": 0,
            "settled": False,
            "step_started_at": None,
            "step_candidate_requests": 0,
        }
    )


def look(observed: Observed, rollout: RolloutStatus) -> Course | tuple[RolloutStatus, Finding, bool]:
    """Crashes, readiness, measurement and verdict; what was measured and whether every metric is clear, unless that ends it."""
    rollout = with_crashes(observed, rollout)
    crashing = analysis.judge_crashes(rollout.crashes_candidate, rollout.crashes_stable)
    if crashing and not rollout.breach:
        return _breach(observed, rollout, crashing)
    unready = _withhold(observed, rollout)
    if unready:
        return unready
    before = rollout
    rollout, finding = measure(observed, rollout)
    rollout = elsewhere.measure(observed, rollout)
    rollout, missed = objective.judged(observed, rollout, finding.status is True)
    missed = missed or runs.breach(observed, rollout)
    verdicts = [analysis.judge(state.name, resumed(rollout, state), state.alpha) for state in judged(observed, rollout)]
    breach = next((verdict for verdict in verdicts if isinstance(verdict, analysis.Breach)), missed)
    if breach and not rollout.breach:
        return _breach(observed, rollout, breach)
    if (rollout.settled and not before.settled) or objective.decided(before, rollout):
        # settled is written at once: what is answered while the operator is away counts when it is back
        return Course(
            rollout, findings=_told(observed, rollout, finding), evidence=partial(evidence_of, observed, rollout), changed=True
        )
    clear = all(isinstance(verdict, analysis.Clear) for verdict in verdicts) and not objective.suspicions(rollout)
    return rollout, finding, clear


def _told(observed: Observed, rollout: RolloutStatus, finding: Finding) -> tuple[Finding, ...]:
    """What was measured, and of a step also what it lacks when its hold or its deadline is over."""
    if rollout.phase != "Steps":
        return (finding,)
    return (shortfall.waiting(observed, rollout, finding, SAVE_SECONDS), *_inconclusive(observed, rollout))


def deadline_seconds(wish: Rollout, index: int) -> float:
    """How long step `index` may last before it is called inconclusive."""
    return seconds(wish.deadline) if wish.deadline else DEADLINE_HOLDS * seconds(wish.steps[min(index, len(wish.steps) - 1)].hold)


def _breach(observed: Observed, rollout: RolloutStatus, breach: analysis.Breach) -> Course:
    """To be taken back, or, where a person asked for that, left to a person."""
    if observed.spec.rollout.on_breach == "rollback":
        return Course(
            rollout, "breach", breach.reason, breach.message, evidence=partial(evidence_of, observed, rollout), changed=True
        )
    paused = rollout.model_copy(update={"breach": f"{breach.reason}: {breach.message}"[:1024]})
    return Course(paused, evidence=partial(evidence_of, observed, paused), changed=True)


def breached(rollout: RolloutStatus) -> tuple[Finding, ...]:
    """What is told while a breach is left to a person."""
    if not rollout.breach:
        return ()
    words = f"{rollout.breach}; onBreach is pause: weights stay as they are until a person promotes or aborts"
    return (Finding("Breached", True, rollout.breach.partition(":")[0], words),)


def _keep_stable_ready(observed: Observed, rollout: RolloutStatus) -> Course | None:
    """In the watch the version before is there for comparison only: without a ready pod it gets no request."""
    pods = ready_pods(workload_of(observed, rollout.stable), observed.now, READY_SECONDS if rollout.stable_away else 0.0)
    if bool(pods) is not rollout.stable_away:
        return None
    update = {"stable_away": not rollout.stable_away, "settled": False, "runs": runs.dropped(rollout)}
    changed = rollout.model_copy(update=update)
    return Course(changed, changed=True, wake_after=CHANGED_SECONDS)


def _withhold(observed: Observed, rollout: RolloutStatus) -> Course | None:
    """No weight to a candidate without a ready pod; it gets some when one has been ready for READY_SECONDS and all were read."""
    workload = workload_of(observed, rollout.candidate)
    if ready_pods(workload, observed.now, routers.settling_seconds(observed.spec) if rollout.withheld else 0.0):
        return _allow(observed, rollout) if rollout.withheld else None
    if not rollout.withheld:
        return _take_away(observed, rollout, workload)
    if rollout.not_ready_since is None:
        return Course(rollout.model_copy(update={"not_ready_since": stamp(observed.now)}), findings=(_not_ready(workload),))
    late = since(observed.now, rollout.not_ready_since) > seconds(observed.spec.serving.progress_deadline)
    if late and not rollout.breach and _going_back_helps(observed, rollout):
        words = f"the candidate had no ready pod for {observed.spec.serving.progress_deadline}: {why_not_ready(workload)}"
        return _breach(observed, rollout, analysis.Breach("CanaryNotReady", words))
    return Course(rollout, findings=(_not_ready(workload),))


def _take_away(observed: Observed, rollout: RolloutStatus, workload: Workload | None) -> Course:
    """The candidate lost its last ready pod. One that does so again and again will never pass a step, and harms each time."""
    flaps = rollout.flaps + (rollout.phase != "Watch")
    update = {"withheld": True, "settled": False, "step_started_at": None, "not_ready_since": stamp(observed.now), "flaps": flaps}
    away = rollout.model_copy(update={**update, "runs": runs.dropped(rollout)})
    if flaps >= FLAPS and not rollout.breach:
        words = f"the candidate lost all its ready pods {flaps} times in this rollout: {why_not_ready(workload)}"
        return _breach(observed, away, analysis.Breach("CanaryNotReady", words))
    return Course(away, findings=(_not_ready(workload),), changed=True)


def _going_back_helps(observed: Observed, rollout: RolloutStatus) -> bool:
    """A watched version that is away together with the one before is somebody else's outage."""
    return rollout.phase != "Watch" or bool(ready_pods(workload_of(observed, rollout.stable), observed.now))


def _allow(observed: Observed, rollout: RolloutStatus) -> Course:
    """A candidate with ready pods gets its weight, but none that cannot be judged: every pod has to be read first."""
    ready = {"not_ready_since": None}
    if observed.counters is None and rollout.phase != "Watch" and routers.withholds(observed.spec):
        waiting = rollout.model_copy(update=ready)
        return Course(waiting, findings=(unreachable(observed), *_inconclusive(observed, waiting)))
    back = _entered(observed, rollout, rollout.step).model_copy(update={**ready, "withheld": False})
    return Course(back, changed=True, wake_after=CHANGED_SECONDS)


def _not_ready(workload: Workload | None) -> Finding:
    return Finding("Measured", False, "CanaryNotReady", f"no traffic to the candidate: {why_not_ready(workload)}")


def _may_pass(observed: Observed, rollout: RolloutStatus, clear: bool) -> bool:
    wish = observed.spec.rollout
    hold = seconds(wish.steps[min(rollout.step, len(wish.steps) - 1)].hold)
    held = rollout.step_started_at is not None and since(observed.now, rollout.step_started_at) >= hold
    return held and clear and not observed.spec.paused and not shortfall.lacks(observed, rollout)


def _pass(observed: Observed, rollout: RolloutStatus, finding: Finding) -> Course:
    following = rollout.step + 1
    if following >= len(observed.spec.rollout.steps):
        words = shortfall.promise(observed, rollout)
        return Course(rollout, "promote", "EveryStepPassed", words, (finding,), partial(evidence_of, observed, rollout), True)
    entered = _entered(observed, rollout, following)
    return Course(
        entered, findings=(finding,), evidence=partial(evidence_of, observed, entered), changed=True, wake_after=CHANGED_SECONDS
    )


def _entered(observed: Observed, rollout: RolloutStatus, index: int) -> RolloutStatus:
    steps = observed.spec.rollout.steps
    return rollout.model_copy(
        update={
            "step": index,
            "weight": rollout.weight if rollout.phase != "Steps" else steps[min(index, len(steps) - 1)].weight,
            "settled": False,
            "step_entered_at": stamp(observed.now),
            "step_started_at": None,
            "step_candidate_requests": 0,
        }
    )


def _at_deadline(observed: Observed, rollout: RolloutStatus, finding: Finding, clear: bool) -> Course | None:
    """Too little data at the step's deadline: what the wish says. Suspicion is no lack of data, and waits; a margin that is not
    shown is one, but it was asked for, so `promote` does not skip it."""
    wish = observed.spec.rollout
    limit = deadline_seconds(wish, rollout.step)
    missing = shortfall.lacks(observed, rollout)
    early = since(observed.now, rollout.step_entered_at) <= limit
    if not missing or early or not clear or observed.spec.paused:
        return None
    if shift.pauses(observed, rollout) or runs.is_awaited(observed, rollout):
        return None
    words = f"step {rollout.step + 1} within {limit:.0f} s: {shortfall.said(missing)}"[:1500]
    match wish.on_too_little_data:
        case "wait":
            return None
        case "promote":
            if not shortfall.margins_shown(observed, rollout) or not is_judged(observed, rollout):
                return None
            passed = _pass(observed, rollout, finding)
            return passed if passed.outcome == "continue" else replace(passed, message=f"{words}; onTooLittleData is promote")
        case "abort":
            told = f"{words}; onTooLittleData is abort"
            return Course(rollout, "abort", "TooLittleData", told, (finding,), partial(evidence_of, observed, rollout), True)


def _inconclusive(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    limit = deadline_seconds(observed.spec.rollout, rollout.step)
    if rollout.breach or since(observed.now, rollout.step_entered_at) <= limit:
        return ()
    weight = 0 if rollout.withheld else rollout.weight
    lacks = shortfall.lacks(observed, rollout)
    told = [words for words in (shortfall.said(lacks), routers.unconfirmed(observed)) if words]
    missing = "; ".join(told) or "every pod has to be read"
    words = (
        f"step {rollout.step + 1} at {weight} % has neither passed nor breached within {limit:.0f} s; {missing}; waiting"
        f"{shortfall.ways_out(observed, lacks)}"
    )
    return (shortfall.told(observed, rollout, Finding("Inconclusive", True, "StepDeadline", words), SAVE_SECONDS),)
