"""What the runs of a scenario came to under one rule: how many were rolled back, when, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.simulate_traffic import Shares

CONFIDENCE = 0.99
"""Of the intervals for false rollbacks: a target counts as missed only when all of the interval is above it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`early` runs were rolled back before the candidate turned bad; `waits` are the others', sorted, inf where not found."""

    runs: int
    early: int
    waits: tuple[float, ...]

    @property
    def found(self) -> int:
        return sum(1 for wait in self.waits if math.isfinite(wait))

    @property
    def share(self) -> float:
        """Of the runs that were not ended early, per cent; nan when all were."""
        return 100.0 * self.found / len(self.waits) if self.waits else math.nan

    @property
    def early_share(self) -> float:
        """Of all runs, per cent."""
        return 100.0 * self.early / self.runs

    def wait(self, part: float) -> float:
        """Seconds within which so large a part of the runs that were not ended early was found; inf when fewer were."""
        return self.waits[max(0, math.ceil(part * len(self.waits)) - 1)] if self.waits else math.inf


def outcome(times: Shares, bad_from: float | None) -> Outcome:
    """From the seconds of the rollbacks; for a candidate that is never bad all of them are `found`."""
    turned = bad_from or 0.0
    waits = np.sort(times[times > turned] - turned)
    return Outcome(len(times), int(np.sum(times <= turned)), tuple(waits.tolist()))


@cache
def binomial_interval(hits: int, runs: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's exact interval for a probability (Biometrika 26, 1934)."""
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else _root(lambda p: _at_most(hits - 1, runs, p) - (1.0 - tail))
    high = 1.0 if hits == runs else _root(lambda p: _at_most(hits, runs, p) - tail)
    return low, high


def _at_most(hits: int, runs: int, p: float) -> float:
    """P(X <= hits) of a binomial law."""
    constant = math.lgamma(runs + 1)
    return math.fsum(
        math.exp(constant - math.lgamma(k + 1) - math.lgamma(runs - k + 1) + k * math.log(p) + (runs - k) * math.log1p(-p))
        for k in range(hits + 1)
    )


def _root(falling: Callable[[float], float]) -> float:
    """Where a falling function of a probability is 0."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if falling(middle) > 0.0 else (low, middle)
    return (low + high) / 2.0
