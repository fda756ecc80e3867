"""predictionShift: how far a candidate's scores are from stable's, over the same time.

It is told, and where `maxDistance` is set it holds a step back until a person decides; it never takes a candidate back, because
every real retrain moves scores. `measuring` counts, `shortfall` asks whether a step may pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from perennial.api.evidence import MetricEvidence
from perennial.api.metrics import RolloutMetric
from perennial.api.rollout_status import RolloutStatus, ShiftState
from perennial.core import analysis
from perennial.core.observed import Observed


def begin(metrics: Iterable[RolloutMetric]) -> list[ShiftState]:
    """Nothing counted yet."""
    return [ShiftState(name=metric.name) for metric in metrics if metric.prediction_shift is not None]


def advanced(rollout: RolloutStatus, look: analysis.Look) -> list[ShiftState]:
    """With the scores of one more block."""
    return [
        state.model_copy(
            update={
                "candidate": _sum(state.candidate, look.candidate.scores),
                "stable": _sum(state.stable, look.stable.scores),
            }
        )
        for state in rollout.shifts
    ]


def evidence_of(rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """The distance as it stands, in numbers and words."""
    return tuple(_evidence(state) for state in rollout.shifts)


def pauses(observed: Observed, rollout: RolloutStatus) -> tuple[str, ...]:
    """Why no step passes: scores that are sure to be further apart than wished for, in words."""
    limits = {
        metric.name: metric.prediction_shift.max_distance for metric in observed.spec.rollout.metrics if metric.prediction_shift
    }
    found = ((state.name, limits.get(state.name), _distance(state)) for state in rollout.shifts)
    return tuple(
        f"{name}: {distance}; maxDistance is {limit:g}: a person promotes or aborts"
        for name, limit, distance in found
        if limit is not None and distance is not None and distance.lower > limit
    )


def _distance(state: ShiftState) -> analysis.Distance | None:
    return analysis.distance(state.candidate, state.stable)


def _evidence(state: ShiftState) -> MetricEvidence:
    found = _distance(state)
    if found is None:
        return MetricEvidence(name=state.name, message="no scores of both versions were counted yet")
    return MetricEvidence(
        name=state.name,
        candidate_total=found.candidate_total,
        stable_total=found.stable_total,
        distance=round(found.estimate, 4),
        message=f"{found}; reported, never a reason to roll back",
    )


def _sum(before: list[int], more: tuple[int, ...]) -> list[int]:
    return [a + b for a, b in zip(before or [0] * len(more), more, strict=False)] if more else before
