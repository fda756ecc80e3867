"""What others decide on the same traffic: the rules of Argo Rollouts and Flagger, and a z-test read again and again.

Each is a pure function of `Traffic`: the second at which each run is rolled back, inf where it never is. Nothing but the rule is
modelled, to the others' advantage: the metrics server answers at once, with every request up to this second, and the window of a
query that reaches back behind the start holds what there is.

Sources, at the time of writing:
- Argo Rollouts, docs/features/analysis.md ("Background Analysis", "Failure Conditions") and the comment of `failureLimit` in
  pkg/apis/rollouts/v1alpha1/analysis_types.go ("maximum number of times the measurement is allowed to fail", default 0);
  analysis/analysis.go fails a metric when its failed measurements, consecutive or not, are more than the limit.
- Flagger, docs/gitbook/usage/how-it-works.md ("Canary analysis": interval, threshold "max number of failed metric checks before
  rollback") and usage/metrics.md (request-success-rate, request-duration); pkg/controller/scheduler.go counts failed checks
  up, consecutive or not, and rolls back in the run *after* the one that reached the threshold; scheduler_metrics.go takes a query
  without values for a failed check.
- Two proportions, pooled, one-sided: any textbook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate_traffic import Counts, Shares, Traffic

FEWEST_BAD = 5
"""The z-test waits for so many bad answers in both arms together: below, the normal law is nowhere near."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its settings, as a column of the tables."""

    name: str
    setting: str
    decide: Callable[[Traffic, int], Shares]
    """Takes the traffic and the seconds between our own looks; only the z-test is read at those."""


def argo(traffic: Traffic, *, success: float, interval: int, window: int, failure_limit: int) -> Shares:
    """Argo Rollouts: `successCondition: result >= success` on the candidate's success rate, measured every `interval` seconds.

    A measurement without traffic is an error there and no failure; errors are not modelled.
    """
    bad, total = _windows(traffic, interval, window)
    failed = (total > 0) & (total - bad < success * total)
    return _first(np.cumsum(failed, axis=1) > failure_limit, interval)


def flagger(traffic: Traffic, *, minimum: float, interval: int, window: int, threshold: int) -> Shares:
    """Flagger: request-success-rate with `thresholdRange.min` over `window` seconds, checked every `interval`.

    request-duration is the same arithmetic where `max` is a bucket's bound and a bad answer is a slower one: its 99th percentile
    is over the bound when less than 99 % of the answers are within it.
    """
    bad, total = _windows(traffic, interval, window)
    failed = (total == 0) | (total - bad < minimum * total)
    reached = _first(np.cumsum(failed, axis=1) >= threshold, interval)
    acted = reached + interval
    return np.where(acted <= traffic.seconds, acted, math.inf)


def z_test(traffic: Traffic, *, alpha: float, every: int) -> Shares:
    """Two proportions, pooled, one-sided at `alpha`, over everything counted so far, read every `every` seconds."""
    looks = traffic.by_look(every)
    n1, s1, n0, s0 = (
        np.cumsum(counts, axis=1) for counts in (looks.candidate, looks.candidate_bad, looks.stable, looks.stable_bad)
    )
    pooled = (s1 + s0) / np.maximum(n1 + n0, 1)
    variance = pooled * (1.0 - pooled) * (1.0 / np.maximum(n1, 1) + 1.0 / np.maximum(n0, 1))
    z = (s1 / np.maximum(n1, 1) - s0 / np.maximum(n0, 1)) / np.sqrt(np.maximum(variance, 1e-300))
    judged = (n1 > 0) & (n0 > 0) & (s1 + s0 >= FEWEST_BAD)
    return _first(judged & (z > NormalDist().inv_cdf(1.0 - alpha)), every)


def _windows(traffic: Traffic, interval: int, window: int) -> tuple[Counts, Counts]:
    """The candidate's bad answers and all of its answers in the window that ends at each check."""
    ends = np.arange(interval, traffic.seconds + 1, interval)
    starts = np.maximum(ends - window, 0)
    bad, total = (
        np.concatenate([np.zeros((len(counts), 1), dtype=np.int64), np.cumsum(counts, axis=1)], axis=1)
        for counts in (traffic.candidate_bad, traffic.candidate)
    )
    return bad[:, ends] - bad[:, starts], total[:, ends] - total[:, starts]


def _first(fires: NDArray[np.bool_], interval: int) -> Shares:
    """Seconds until the first look of each run that fires."""
    found = fires.any(axis=1)
    return np.where(found, (np.argmax(fires, axis=1) + 1.0) * interval, math.inf)


RULES = (
    Rule("z-test 5 %", "one-sided at 5 %, at each of our looks", lambda t, look: z_test(t, alpha=0.05, every=look)),
    Rule("z-test 1 %", "one-sided at 1 %, at each of our looks", lambda t, look: z_test(t, alpha=0.01, every=look)),
    Rule(
        "Argo 99 % tight",
        "success >= 99 % in 10 s, every 10 s, failureLimit 0 (the default)",
        lambda t, _look: argo(t, success=0.99, interval=10, window=10, failure_limit=0),
    ),
    Rule(
        "Argo 95 % tight",
        "success >= 95 % in 10 s, every 10 s, failureLimit 0",
        lambda t, _look: argo(t, success=0.95, interval=10, window=10, failure_limit=0),
    ),
    Rule(
        "Argo 95 % minute",
        "success >= 95 % in 1 min, every 10 s, failureLimit 0",
        lambda t, _look: argo(t, success=0.95, interval=10, window=60, failure_limit=0),
    ),
    Rule(
        "Argo usual",
        "success >= 95 % in 1 min, every minute, failureLimit 3 (the documents' example has 5 min for both: it could not fail "
        "within ten minutes)",
        lambda t, _look: argo(t, success=0.95, interval=60, window=60, failure_limit=3),
    ),
    Rule(
        "Flagger tight",
        "success >= 99 % in 10 s, every 10 s, threshold 1",
        lambda t, _look: flagger(t, minimum=0.99, interval=10, window=10, threshold=1),
    ),
    Rule(
        "Flagger usual",
        "success >= 99 % in 1 min, every minute, threshold 5",
        lambda t, _look: flagger(t, minimum=0.99, interval=60, window=60, threshold=5),
    ),
)
