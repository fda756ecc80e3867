"""One version's own bad rate against an objective: a one-sample e-process.

A block of n answers, s of them bad, has under the rate p, against the largest rate p0 that is allowed, the likelihood ratio

    L(p) = (p / p0)^s ((1 - p) / (1 - p0))^(n - s)               for 32 rates p > p0

of mean at most 1 while each answer, given all before it, is bad with probability at most p0. Bets are on odds 1.05 to 50 times
those of p0; stakes are spread over start times as the comparison's are (`mixture`). Nothing is compared here: a dependency that
fails makes every version miss its objective, so `perennial.core.objective` asks about stable before it takes anything back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from perennial.core.analysis.eprocess import odds_ratios
from perennial.core.analysis.mixture import Mixture, begin, multiplied


@dataclass(frozen=True, slots=True)
class RateTest:
    """Where the test of one version stands. Made by `start_rate`, moved on by `advance_rate` only."""

    max_rate: float
    mixture: Mixture
    total: int = 0
    bad: int = 0

    @property
    def log_e(self) -> float:
        """log E; the rate is over `max_rate` when this is large."""
        return self.mixture.log_e


def start_rate(max_rate: float, planned_seconds: float) -> RateTest:
    """A test that knows nothing yet; with 0 planned seconds all stakes are on 'from now on'."""
    if not 0.0 < max_rate < 1.0:
        raise ValueError(f"maxRate is a share between 0 and 1; found {max_rate}")
    return RateTest(max_rate, begin(planned_seconds))


def advance_rate(test: RateTest, total: int, bad: int, elapsed_seconds: float, variance_factor: float = 1.0) -> RateTest:
    """The test after `total` more answers, `bad` of them bad; `variance_factor` as in `eprocess.advance`."""
    if not 0 <= bad <= total:
        raise ValueError(f"a block needs 0 <= bad <= total; found bad={bad}, total={total}")
    if not total:
        return test
    factors = ((bad * math.log(r) - total * cost) / variance_factor for r, cost in _bets(test.max_rate))
    return replace(test, mixture=multiplied(test.mixture, factors, elapsed_seconds), total=test.total + total, bad=test.bad + bad)


def _bets(max_rate: float) -> tuple[tuple[float, float], ...]:
    """(odds ratio r, -log((1 - p) / (1 - p0))) of each bet: with p's odds r times p0's, 1 - p = (1 - p0) / (1 - p0 + r p0)."""
    return tuple((r, math.log1p((r - 1.0) * max_rate)) for r in odds_ratios(1.0))
