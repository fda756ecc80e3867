"""Metrics that are not counted in the serving pods: those of a provider (`providers`) and those of a Job (`runs`), together.

What one of them lacks holds up every step, and is told in one condition, MetricsAnswered.
"""

from __future__ import annotations

from perennial.api.rollout_status import RolloutStatus
from perennial.core import providers, routers, runs
from perennial.core.conditions import Finding
from perennial.core.measuring import weights
from perennial.core.observed import Observed


def measure(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """The rollout with what was measured elsewhere since its last look. In a shadow nothing is."""
    if rollout.phase == "Shadow":
        return rollout
    rollout = providers.measure(observed, rollout)
    return runs.measure(observed, rollout, routers.carried(observed, rollout, dict(weights(rollout))).reached)


def lacking(observed: Observed, rollout: RolloutStatus) -> str:
    """Why one of them says nothing about this step yet; empty when each says something."""
    return "; ".join(finding.message for finding in _each(observed, rollout) if finding.status is not True)


def findings(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    """Condition MetricsAnswered, where there is such a metric: a problem before one that only waits."""
    each = _each(observed, rollout)
    if not each:
        return ()
    open_ = sorted((one for one in each if one.status is not True), key=lambda one: one.status is None)
    if not open_:
        return each[:1]
    worst = open_[0]
    return (Finding(worst.type, worst.status, worst.reason, "; ".join(one.message for one in open_)),)


def _each(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    return (*providers.findings(observed, rollout), *runs.findings(observed, rollout))
