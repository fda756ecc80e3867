"""The evidence as a ModelVersion's status shows it: numbers to four figures, for nobody computes with them, and a sentence."""

from __future__ import annotations

import math
from typing import Literal

from perennial.api.evidence import MarginEvidence, MetricEvidence, ObjectiveEvidence
from perennial.api.rollout_status import MetricState, ObjectiveState
from perennial.core.analysis.dispersion import variance_factor
from perennial.core.analysis.evidence import LARGEST_E, Evidence, evidence, short
from perennial.core.analysis.margin import ERROR, upper_bound
from perennial.core.analysis.saved import resume, resume_dispersion, resume_margin, resume_rate

Guarantee = Literal["exact", "approximate"]
"""exact where requests are given to versions one by one; approximate where connections are."""


def shown(name: str, evidence: Evidence, guarantee: Guarantee = "exact") -> MetricEvidence:
    """The comparison of one metric."""
    return MetricEvidence(
        name=name,
        candidate_total=evidence.counts.candidate_total,
        candidate_bad=evidence.counts.candidate_bad,
        stable_total=evidence.counts.stable_total,
        stable_bad=evidence.counts.stable_bad,
        odds_ratio="" if evidence.odds_ratio is None else str(evidence.odds_ratio),
        e=_figures(evidence.e),
        threshold=_figures(evidence.threshold),
        alpha=_figures(1.0 / evidence.threshold),
        alpha_used=_figures(min(1.0, evidence.e / evidence.threshold)),
        guarantee=guarantee,
        message=str(evidence),
    )


def report(
    state: MetricState, planned_seconds: float, candidate_share: float | None, guarantee: Guarantee = "exact"
) -> MetricEvidence:
    """Everything that is known of one metric: the comparison and, where they are wished for, its margin and its objective."""
    factor = variance_factor(resume_dispersion(state.dispersion)) if state.dispersion else 1.0
    found = evidence(resume(state, planned_seconds), state.alpha, candidate_share, factor)
    margin = margin_evidence(state) if state.margin else None
    objective = objective_evidence(state.objective) if state.objective else None
    words = [
        *([margin.message] if margin else []),
        *([objective.message] if objective else []),
        *([f"the logarithm of every factor is divided by {short(factor)}, stable's dispersion"] if state.dispersion else []),
    ]
    comparison = shown(state.name, found, guarantee)
    return comparison.model_copy(
        update={
            "margin": margin,
            "objective": objective,
            "variance_factor": _figures(factor),
            "message": "; ".join([comparison.message, *words])[:1024],
        }
    )


def margin_evidence(state: MetricState) -> MarginEvidence | None:
    """How far it is to showing that harm is under the margin."""
    if state.margin is None:
        return None
    test = resume_margin(state.margin)
    value, bound, threshold = test.mixture.log_e, upper_bound(test), 1.0 / ERROR
    e = e_of(value)
    under = f"harm is not shown to be under an odds ratio of {state.margin.margin:g}"
    if bound is not None:
        under = f"harm is shown to be under an odds ratio of {short(bound)}"
    return MarginEvidence(
        margin=state.margin.margin,
        e=_figures(e),
        threshold=threshold,
        upper_bound=None if bound is None else _figures(bound),
        message=f"{under} (E {short(e)}, shown at {short(threshold)})",
    )


def objective_evidence(state: ObjectiveState) -> ObjectiveEvidence:
    """Both versions against the largest bad rate that is allowed."""
    candidate = resume_rate(state.candidate, state.max_rate)
    stable = resume_rate(state.stable, state.max_rate)
    c, s, threshold = e_of(candidate.log_e), e_of(stable.log_e), 1.0 / state.alpha
    return ObjectiveEvidence(
        max_rate=state.max_rate,
        candidate_total=candidate.total,
        candidate_bad=candidate.bad,
        candidate_e=_figures(c),
        stable_total=stable.total,
        stable_bad=stable.bad,
        stable_e=_figures(s),
        threshold=_figures(threshold),
        message=(
            f"objective {state.max_rate:g}: candidate {candidate.bad} bad of {candidate.total}, E {short(c)}, "
            f"stable {stable.bad} of {stable.total}, E {short(s)} (missed at {short(threshold)}, outside falseRollbackRate)"
        ),
    )


def e_of(log_e: float) -> float:
    """E, cut where JSON would not hold it."""
    return LARGEST_E if log_e > math.log(LARGEST_E) else math.exp(log_e)


def _figures(value: float) -> float:
    return float(f"{value:.4g}")
