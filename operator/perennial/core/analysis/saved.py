"""The test's state as a ModelDeployment's status holds it, and back: an operator that returns goes on with the same E.

`rollout` calls `resume` at the start of a pass and `save` at its end; `shown` makes the evidence that a ModelVersion keeps.
"""

from __future__ import annotations

import math
from dataclasses import astuple

from perennial.api.v1alpha1 import MetricEvidence, MetricState
from perennial.core.analysis.eprocess import RATIOS, Block, EProcess, Strata, planned_epochs, start
from perennial.core.analysis.evidence import Evidence


def save(name: str, alpha: float, state: EProcess) -> MetricState:
    """Everything that `resume` needs, but the planned seconds, which are the rollout's. All numbers are finite."""
    return MetricState(
        name=name,
        alpha=alpha,
        tolerance=state.tolerance,
        log_s=list(state.log_s),
        spent_epochs=state.epochs_spent,
        candidate_total=state.counts.candidate_total,
        candidate_bad=state.counts.candidate_bad,
        stable_total=state.counts.stable_total,
        stable_bad=state.counts.stable_bad,
        strata=list(astuple(state.strata)),
    )


def resume(saved: MetricState, planned_seconds: float) -> EProcess:
    """The state that was saved, to the last bit.

    Numbers that `save` cannot have written (a status edited by hand) start the test again: a fresh test is valid from now on, a
    made-up one is not. Raises ValueError only on a tolerance or planned time that `start` refuses.
    """
    fresh = start(saved.tolerance, planned_seconds)
    epochs = planned_epochs(planned_seconds)
    if not _is_a_state(saved, epochs):
        return fresh
    return EProcess(
        tolerance=saved.tolerance,
        epochs=epochs,
        epochs_spent=saved.spent_epochs,
        log_s=tuple(float(value) for value in saved.log_s),
        counts=Block(saved.candidate_total, saved.candidate_bad, saved.stable_total, saved.stable_bad),
        strata=Strata(*(float(value) for value in saved.strata)),
    )


def shown(name: str, evidence: Evidence) -> MetricEvidence:
    """The evidence as a ModelVersion's status shows it; E to four figures, for nobody computes with it."""
    return MetricEvidence(
        name=name,
        candidate_total=evidence.counts.candidate_total,
        candidate_bad=evidence.counts.candidate_bad,
        stable_total=evidence.counts.stable_total,
        stable_bad=evidence.counts.stable_bad,
        odds_ratio="" if evidence.odds_ratio is None else str(evidence.odds_ratio),
        e=float(f"{evidence.e:.4g}"),
        threshold=float(f"{evidence.threshold:.4g}"),
        alpha=float(f"{1.0 / evidence.threshold:.4g}"),
        alpha_used=float(f"{min(1.0, evidence.e / evidence.threshold):.4g}"),
        guarantee="exact",
        message=str(evidence),
    )


def _is_a_state(saved: MetricState, epochs: int) -> bool:
    numbers = [*saved.log_s, *saved.strata]
    return (
        len(saved.log_s) == RATIOS
        and len(saved.strata) in (0, 5)
        and all(math.isfinite(value) for value in numbers)
        and 0 <= saved.spent_epochs <= epochs
        and 0 <= saved.candidate_bad <= saved.candidate_total
        and 0 <= saved.stable_bad <= saved.stable_total
    )
