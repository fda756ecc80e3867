"""The tests' state as a ModelDeployment's status holds it, and back: an operator that returns goes on with the same E.

`rollout` calls `resume` at the start of a pass and `save` at its end. `reported` makes of it what people read.
"""

from __future__ import annotations

import math
from dataclasses import astuple

from perennial.api.rollout_status import MarginState, MetricState, RateState
from perennial.core.analysis.dispersion import Dispersion
from perennial.core.analysis.eprocess import Block, EProcess, Strata, start
from perennial.core.analysis.margin import start_margin
from perennial.core.analysis.mixture import Mixture, is_mixture, planned_epochs
from perennial.core.analysis.rate import RateTest, start_rate


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
        ratios=fresh.ratios,
        mixture=Mixture(epochs, saved.spent_epochs, tuple(float(value) for value in saved.log_s)),
        counts=Block(saved.candidate_total, saved.candidate_bad, saved.stable_total, saved.stable_bad),
        strata=Strata(*(float(value) for value in saved.strata)),
    )


def save_margin(margin: float, state: EProcess) -> MarginState:
    """What `resume_margin` needs; what was counted stands with the metric."""
    return MarginState(margin=margin, log_s=list(state.log_s))


def resume_margin(saved: MarginState) -> EProcess:
    """The margin's test as it was; begun again where the numbers cannot be its own. Raises ValueError as `start_margin` does."""
    return _with_stakes_on_the_start(start_margin(saved.margin), saved.log_s)


def resume_confirming(tolerance: float, log_s: list[float]) -> EProcess:
    """The comparison that a missed objective began afresh (`perennial.core.objective`), with all its stakes on that moment."""
    return _with_stakes_on_the_start(start(tolerance, 0.0), log_s)


def save_rate(test: RateTest, since: str) -> RateState:
    """What `resume_rate` needs, and when the test began."""
    mixture = test.mixture
    return RateState(
        since=since,
        log_s=list(mixture.log_s),
        epochs=mixture.epochs,
        spent_epochs=mixture.epochs_spent,
        total=test.total,
        bad=test.bad,
    )


def resume_rate(saved: RateState, max_rate: float) -> RateTest:
    """The objective's test of one version as it was; begun again where the numbers cannot be its own."""
    if not (is_mixture(saved.log_s, saved.epochs, saved.spent_epochs) and 0 <= saved.bad <= saved.total):
        return start_rate(max_rate, 0.0)
    mixture = Mixture(saved.epochs, saved.spent_epochs, tuple(float(value) for value in saved.log_s))
    return RateTest(max_rate, mixture, saved.total, saved.bad)


def save_dispersion(state: Dispersion) -> list[float]:
    """The sums of the dispersion guard."""
    return [float(value) for value in astuple(state)]


def resume_dispersion(saved: list[float]) -> Dispersion:
    """The sums as they were; none where the numbers cannot be theirs."""
    if len(saved) != 7 or not all(math.isfinite(value) and value >= 0.0 for value in saved):
        return Dispersion()
    batches, total, bad, squares, opened, open_total, open_bad = saved
    return Dispersion(int(batches), int(total), int(bad), squares, opened, int(open_total), int(open_bad))


def _with_stakes_on_the_start(fresh: EProcess, log_s: list[float]) -> EProcess:
    if not is_mixture(log_s, 0, 0):
        return fresh
    mixture = Mixture(0, 0, tuple(float(value) for value in log_s))
    return EProcess(fresh.tolerance, fresh.ratios, mixture, fresh.counts, fresh.strata)


def _is_a_state(saved: MetricState, epochs: int) -> bool:
    return (
        is_mixture(saved.log_s, epochs, saved.spent_epochs)
        and len(saved.strata) in (0, 5)
        and all(math.isfinite(value) for value in saved.strata)
        and 0 <= saved.candidate_bad <= saved.candidate_total
        and 0 <= saved.stable_bad <= saved.stable_total
    )
