"""What a step still lacks before it may pass, in words that name the metric; and what may be said once every step has passed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from perennial.api.base import seconds
from perennial.api.metrics import RolloutMetric
from perennial.api.rollout_status import MetricState, RolloutStatus
from perennial.core import analysis, elsewhere, objective, runs, shift
from perennial.core.conditions import Finding
from perennial.core.inputs import since
from perennial.core.measuring import is_confirmed, is_judged, judged, resumed
from perennial.core.observed import Observed


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that is missing."""

    reason: Literal["TooFewRequests", "Suspicion", "MarginNotShown", "MetricsNotAnswered", "PredictionsShifted", "NothingJudged"]
    words: str


def lacks(observed: Observed, rollout: RolloutStatus) -> tuple[Lack, ...]:
    """Everything that the step waits for beside its hold; none: it may pass."""
    wish = observed.spec.rollout
    answered, needed = rollout.step_candidate_requests, wish.minimum_requests
    few = Lack("TooFewRequests", f"the candidate has to answer {needed} requests in it and answered {answered}")
    suspicions = [Lack("Suspicion", f"{name}: {words}") for name, words in _suspicions(observed, rollout).items()]
    margins = [Lack("MarginNotShown", f"{name}: {words}") for name, words in _margins(observed, rollout).items()]
    silent = [Lack("MetricsNotAnswered", words)] if (words := elsewhere.lacking(observed, rollout)) else []
    shifted = [Lack("PredictionsShifted", words) for words in shift.pauses(observed, rollout)]
    words = "no metric that this rollout began with is in the spec any more: abort and retrain, or promote it unjudged"
    none = [] if is_judged(observed, rollout) else [Lack("NothingJudged", words)]
    return (*none, *([few] if answered < needed else []), *suspicions, *margins, *silent, *shifted)


def waiting(observed: Observed, rollout: RolloutStatus, finding: Finding, words_last: float) -> Finding:
    """So long in a step as its hold and still no next one: what is missing (most often nobody asks, and the hold has not begun).
    Else the finding as it is."""
    steps = observed.spec.rollout.steps
    hold = seconds(steps[min(rollout.step, len(steps) - 1)].hold)
    missing = lacks(observed, rollout)
    if not is_confirmed(finding) or not missing or since(observed.now, rollout.step_entered_at) <= hold:
        return finding
    over = rollout.step_started_at is not None and since(observed.now, rollout.step_started_at) > hold
    held = "is over" if over else "has begun" if rollout.step_started_at else "begins with the candidate's first request"
    words = f"the hold of step {rollout.step + 1} {held}; {said(missing)}{ways_out(observed, missing)}"
    return told(observed, rollout, Finding("Measured", True, missing[0].reason, words), words_last)


def said(missing: tuple[Lack, ...]) -> str:
    """All that is missing, in one line."""
    return "; ".join(lack.words for lack in missing)


def ways_out(observed: Observed, missing: tuple[Lack, ...]) -> str:
    """What a person may do where too few requests came: most often nobody asks this model for anything. A candidate in suspicion
    is no matter of requests, and nobody is told to promote it."""
    reasons = {lack.reason for lack in missing}
    if "TooFewRequests" not in reasons or reasons & {"Suspicion", "PredictionsShifted", "NothingJudged"}:
        return ""
    skipped = observed.spec.rollout.on_too_little_data == "wait" and "MarginNotShown" not in reasons
    more = ", or set rollout.onTooLittleData: promote" if skipped else ""
    return f"; ways out: send requests, or type kubectl perennial promote {observed.meta.name} -n {observed.meta.namespace}{more}"


def margins_shown(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether the harm is shown to be under the margin of every metric that has one."""
    return not _margins(observed, rollout)


def told(observed: Observed, rollout: RolloutStatus, finding: Finding, words_last: float) -> Finding:
    """The finding with the words it had, while those are younger than `words_last` seconds: numbers in them move at every look,
    and a condition that moves is written."""
    before = next((c for c in observed.status.conditions if (c.type, c.reason) == (finding.type, finding.reason)), None)
    fresh = before is not None and since(observed.now, rollout.saved_at) < words_last
    return replace(finding, message=before.message) if before is not None and fresh else finding


def promise(observed: Observed, rollout: RolloutStatus) -> str:
    """What every step passed says of the candidate: no more than was shown."""
    bad = runs.let_pass(rollout)
    bad = bad and f"; but {bad}"
    bounds = [f"{metric.name}: {metric.margin:g}" for metric in observed.spec.rollout.metrics if metric.margin is not None]
    if not bounds or not margins_shown(observed, rollout):
        return f"no evidence of harm in any step{bad}"
    return f"harm shown to be under an odds ratio of ({', '.join(bounds)}), no evidence of harm otherwise{bad}"


def _suspicions(observed: Observed, rollout: RolloutStatus) -> dict[str, str]:
    found = objective.suspicions(rollout)
    for state in judged(observed, rollout):
        test = resumed(rollout, state)
        if not isinstance(analysis.judge(state.name, test, state.alpha), analysis.Clear):
            e, limit = analysis.short(analysis.e_of(analysis.log_e(test))), analysis.short(state.alpha**-0.5)
            found[state.name] = f"in suspicion: E {e}, under {limit} is needed"
    return found


def _margins(observed: Observed, rollout: RolloutStatus) -> dict[str, str]:
    states = {state.name: state for state in rollout.metrics}
    return {
        wish.name: words
        for wish in observed.spec.rollout.metrics
        if wish.margin is not None and wish.name in states and (words := _not_shown(wish, states[wish.name]))
    }


def _not_shown(wish: RolloutMetric, state: MetricState) -> str:
    """How far it is to the margin; empty when it is shown."""
    if state.margin is None or state.margin.margin != wish.margin:
        return f"nothing is known yet about its margin of {wish.margin:g}"
    if analysis.is_shown(analysis.resume_margin(state.margin)):
        return ""
    evidence = analysis.margin_evidence(state)
    bad = state.candidate_bad + state.stable_bad
    return f"{evidence.message if evidence else ''} after {bad} bad answers of both versions"
