"""The shadow before a candidate's steps: it is sent copies of live requests, and judged by answers that nobody gets.

All weight stays stable's; the route mirrors to the candidate once every pod was read. A shadow has a test and a part of
`falseRollbackRate` of its own; the steps after it begin theirs at E = 1. What a pass has in common with a step's is
`perennial.core.rollout`'s.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from perennial.api.base import seconds
from perennial.api.rollout import Shadow
from perennial.api.rollout_status import RolloutStatus
from perennial.core import analysis, rollout, shortfall
from perennial.core.conditions import Finding
from perennial.core.draft import Draft
from perennial.core.inputs import since
from perennial.core.measuring import evidence_of, is_confirmed, tolerance_of
from perennial.core.observed import Observed
from perennial.core.rollout import Course
from perennial.core.routers import carrier, mirror, unconfirmed

UNMET = "in its shadow: no client met it"
REFUSED = "MirrorNotSupported"


def begin(observed: Observed, candidate: int, stable: int) -> RolloutStatus:
    """The rollout as it opens: with a shadow where one is wished for, without a mirror until every pod was read."""
    wish = observed.spec.rollout
    if wish.shadow is None:
        return rollout.begin(observed, candidate, stable)
    planned = seconds(wish.shadow.hold)
    judged = [metric for metric in wish.metrics if metric.prometheus is None and metric.is_compared]
    weights = {metric.name: float(metric.weight) for metric in judged}
    alphas = analysis.shadow_alpha(wish.false_rollback_rate, weights) if judged else {}
    return rollout.begin(observed, candidate, stable, shadowed=True).model_copy(
        update={
            "phase": "Shadow",
            "weight": 0,
            "planned_seconds": planned,
            "metrics": [
                analysis.save(metric.name, alphas[metric.name], analysis.start(tolerance_of(metric), planned))
                for metric in judged
            ],
            "provided": [],
            "runs": [],
            "shifts": [],
        }
    )


def steps_after(observed: Observed, current: RolloutStatus) -> RolloutStatus:
    """The first step after the shadow: tests, readings and clock begin anew; crashes, lost pods and a breach are kept."""
    kept = {name: getattr(current, name) for name in ("crashes_candidate", "crashes_stable", "flaps", "breach")}
    return rollout.begin(observed, current.candidate, current.stable, shadowed=True).model_copy(update=kept)


def step(observed: Observed, current: RolloutStatus, waits: bool = False) -> Course:
    """One pass of the shadow. A breach takes the candidate back; the steps begin when hold and requests are reached and nothing
    is in suspicion, or when the shadow was taken out of the spec."""
    wish, may_pass = observed.spec.rollout.shadow, not (waits or observed.spec.paused or current.breach)
    if wish is None:
        return _over(observed, current, "it was taken out of the spec") if may_pass else Course(current)
    blocked = _blocked(observed, current)
    if blocked is not None:
        return blocked
    looked = rollout.look(observed, current)
    if isinstance(looked, Course):
        return _in_words(observed, wish, looked, current)
    current, finding, clear = looked
    if is_confirmed(finding) and current.settled and may_pass and clear:
        held = current.step_started_at is not None and since(observed.now, current.step_started_at) >= seconds(wish.hold)
        little = current.step_candidate_requests < observed.spec.rollout.minimum_requests
        if held and not little:
            words = f"no evidence of harm in {current.step_candidate_requests} mirrored requests"
            return replace(_over(observed, current, words), findings=(finding,))
        if little and (late := _at_deadline(observed, wish, current, finding)):
            return late
    findings = (_waiting(observed, wish, current, finding), *_inconclusive(observed, wish, current))
    return Course(current, findings=findings, evidence=partial(evidence_of, observed, current))


def tell(draft: Draft, number: int, before: RolloutStatus, course: Course) -> None:
    """Events and the version's message: the mirror was turned on or off, or the steps begin."""
    after, observed = course.rollout, draft.observed
    if after.phase == "Steps":
        draft.set_version(number, message="canary at 0 %: its pods are read first")
        draft.event("Normal", "ShadowOver", f"the shadow of v{number} is over: {course.message}; its steps begin", number)
    elif mirror(observed, before) != (wanted := mirror(observed, after)):
        share = f"{wanted.percent} % of the live requests are" if wanted else "no request is"
        draft.set_version(number, message=f"shadow: {share} mirrored to it; clients get no answer of it")
        words = f"{share} mirrored to v{number}"
        if wanted:
            draft.event("Normal", "ShadowStarted", words, number)
        else:
            draft.event("Warning", "ShadowWithheld", words, number)


def refused(observed: Observed, current: RolloutStatus | None) -> str:
    """Why the Gateways do not carry out rollout.shadow, in words; empty when they do, or nobody asks."""
    if observed.spec.rollout.shadow is None:
        return ""
    return observed.mirror_problem or (current.mirror_refused if current is not None else "")


def _over(observed: Observed, current: RolloutStatus, why: str) -> Course:
    following = steps_after(observed, current)
    return Course(
        following, message=why, evidence=partial(evidence_of, observed, current), changed=True, wake_after=rollout.CHANGED_SECONDS
    )


def _blocked(observed: Observed, current: RolloutStatus) -> Course | None:
    """No mirror where the Gateways have none, and none where the route was refused with it: that may cost live requests."""
    route = carrier(observed)
    definite = route is not None and not route.accepted and not route.unseen
    if current.mirror_refused and definite and route is not None and route.mirror is None:
        # without the mirror it is refused as well: that was not to blame
        current = current.model_copy(update={"mirror_refused": ""})
    elif definite and route is not None and route.mirror is not None and not current.withheld:
        words = f"the Gateway refused the HTTPRoute with its mirror: {route.message}"[:800]
        current = current.model_copy(update={"mirror_refused": f"{words}; remove spec.rollout.shadow, or abort and retrain"})
    words = refused(observed, current)
    if words:
        finding = Finding("Measured", False, REFUSED, words)
    elif current.withheld and (route is None or not route.accepted):
        finding = Finding(
            "Measured", False, "RouteNotAccepted", (route.message if route else "") or "the HTTPRoute is not there yet"
        )
    else:
        return None
    away = current.model_copy(update={"withheld": True, "settled": False, "step_started_at": None})
    return Course(away, findings=(finding,), changed=not current.withheld)


def _in_words(observed: Observed, wish: Shadow, course: Course, before: RolloutStatus) -> Course:
    """What the passes of a step said, in the shadow's words: a breach of it says that no client was harmed."""
    found = [finding for finding in course.findings if finding.type != "Inconclusive"]
    course = replace(course, findings=(*found, *_inconclusive(observed, wish, course.rollout)))
    if course.outcome == "breach":
        return replace(course, reason=_reason(course.reason), message=f"{course.message}; {UNMET}")
    if course.rollout.breach and not before.breach:
        reason, _, words = course.rollout.breach.partition(": ")
        told = f"{_reason(reason)}: {words[:900]}; {UNMET}"
        return replace(course, rollout=course.rollout.model_copy(update={"breach": told}))
    return course


def _reason(reason: str) -> str:
    return "ShadowWorse" if reason == "CanaryWorse" else reason


def _limit(observed: Observed, wish: Shadow) -> float:
    """How long the shadow may last before it is called inconclusive, in seconds."""
    deadline = observed.spec.rollout.deadline
    return seconds(deadline) if deadline else rollout.DEADLINE_HOLDS * seconds(wish.hold)


def _at_deadline(observed: Observed, wish: Shadow, current: RolloutStatus, finding: Finding) -> Course | None:
    """Too little data at the deadline: what the wish says, as in a step."""
    limit = _limit(observed, wish)
    if since(observed.now, current.step_entered_at) <= limit:
        return None
    least = observed.spec.rollout.minimum_requests
    words = f"shadow: {current.step_candidate_requests} of {least} mirrored requests within {limit:.0f} s"
    match observed.spec.rollout.on_too_little_data:
        case "wait":
            return None
        case "promote":
            return replace(_over(observed, current, f"{words}; onTooLittleData is promote"), findings=(finding,))
        case "abort":
            told = f"{words}; onTooLittleData is abort"
            return Course(current, "abort", "TooLittleData", told, (finding,), partial(evidence_of, observed, current), True)


def _waiting(observed: Observed, wish: Shadow, current: RolloutStatus, finding: Finding) -> Finding:
    """A hold that is over and still no step: nobody asks, or nothing is mirrored."""
    least = observed.spec.rollout.minimum_requests
    enough = current.step_candidate_requests >= least
    if not is_confirmed(finding) or enough or since(observed.now, current.step_entered_at) <= seconds(wish.hold):
        return finding
    few = shortfall.Lack("TooFewRequests", f"the candidate has to answer {least} mirrored requests in it")
    words = f"the hold of the shadow is over; {few.words}"
    if not current.step_candidate_requests and any(state.stable_total for state in current.metrics):
        words += (
            ", and none has come while stable answered: either the gateway does not mirror (remove spec.rollout.shadow), or this"
            " version's runtime is older than shadows (retrain)"
        )
    return Finding("Measured", True, few.reason, f"{words}{shortfall.ways_out(observed, (few,))}")


def _inconclusive(observed: Observed, wish: Shadow, current: RolloutStatus) -> tuple[Finding, ...]:
    limit = _limit(observed, wish)
    if current.breach or since(observed.now, current.step_entered_at) <= limit:
        return ()
    silent = unconfirmed(observed)
    words = (
        f"the shadow has neither passed nor breached within {limit:.0f} s: {observed.spec.rollout.minimum_requests} mirrored "
        f"requests and a clear test are needed{silent and f'; {silent}'}; waiting"
    )
    return (Finding("Inconclusive", True, "ShadowDeadline", words),)
