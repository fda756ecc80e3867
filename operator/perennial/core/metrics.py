"""One metric of a rollout, moved on by a block: its comparison and, where the wish has them, its margin and its objective.

`measuring` makes the blocks. Margin and objective follow the wish: one that is added or changed under way begins then, one that
is taken out asks for nothing more. Their verdicts are `shortfall`'s and `objective`'s.
"""

from __future__ import annotations

from perennial.api.metrics import RolloutMetric
from perennial.api.rollout_status import MarginState, MetricState, ObjectiveState, RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.core import analysis, routers
from perennial.core.inputs import since, stamp
from perennial.core.observed import Observed


def is_guarded(spec: ModelDeploymentSpec) -> bool:
    """Whether the dispersion guard is on: as wished, and always where connections are given to versions, not requests."""
    return spec.rollout.dispersion_guard or routers.guarantee_of(spec) == "approximate"


def advanced(
    observed: Observed, rollout: RolloutStatus, state: MetricState, wish: RolloutMetric, block: analysis.Block
) -> MetricState:
    """The metric after one more block, which closes now."""
    elapsed = since(observed.now, rollout.started_at)
    guarded = is_guarded(observed.spec)
    dispersion = analysis.resume_dispersion(state.dispersion) if guarded else analysis.Dispersion()
    factor = analysis.variance_factor(dispersion) if guarded else 1.0
    test = analysis.advance(analysis.resume(state, rollout.planned_seconds), block, elapsed, factor)
    counted = analysis.counted(dispersion, block.stable_total, block.stable_bad, elapsed)
    return analysis.save(state.name, state.alpha, test).model_copy(
        update={
            "margin": _margin(state.margin, wish, block, factor),
            "objective": _objective(observed, rollout, state.objective, wish, block, tolerance=state.tolerance, factor=factor),
            "dispersion": analysis.save_dispersion(counted) if guarded else [],
        }
    )


def _margin(before: MarginState | None, wish: RolloutMetric, block: analysis.Block, factor: float) -> MarginState | None:
    if wish.margin is None:
        return None
    same = before is not None and before.margin == wish.margin
    test = analysis.resume_margin(before) if before is not None and same else analysis.start_margin(wish.margin)
    return analysis.save_margin(wish.margin, analysis.advance_margin(test, block, factor))


def _objective(
    observed: Observed,
    rollout: RolloutStatus,
    before: ObjectiveState | None,
    wish: RolloutMetric,
    block: analysis.Block,
    *,
    tolerance: float,
    factor: float,
) -> ObjectiveState | None:
    if wish.objective is None:
        return None
    limit = wish.objective.max_rate
    if before is None or before.max_rate != limit:
        alpha, fresh = observed.spec.rollout.false_rollback_rate, analysis.start_rate(limit, rollout.planned_seconds)
        began = analysis.save_rate(fresh, stamp(observed.now))
        before = ObjectiveState(max_rate=limit, alpha=alpha, candidate=began, stable=began)
    candidate, stable = before.candidate, before.stable
    of_candidate = analysis.advance_rate(
        analysis.resume_rate(candidate, limit),
        block.candidate_total,
        block.candidate_bad,
        since(observed.now, candidate.since),
        factor,
    )
    of_stable = analysis.advance_rate(
        analysis.resume_rate(stable, limit), block.stable_total, block.stable_bad, since(observed.now, stable.since), factor
    )
    moved = before.model_copy(
        update={
            "candidate": analysis.save_rate(of_candidate, candidate.since),
            "stable": analysis.save_rate(of_stable, stable.since),
        }
    )
    if not before.confirming:
        return moved
    test = analysis.advance(analysis.resume_confirming(tolerance, before.confirming), block, 0.0, factor)
    return moved.model_copy(update={"confirming": list(test.log_s)})
