"""How far apart the scores of two versions are: the distance of Kolmogorov and Smirnov over bins of equal width.

It is reported and may pause a rollout; it never rolls one back, because every real retrain moves scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

MISS = 1e-4
"""Probability that the lower bound lies above the true distance, at one look. Small, for it is looked at again and again."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The largest difference of the cumulative shares, from 0 (the same scores) to 1 (nothing in common)."""

    estimate: float
    lower: float
    """With the scores counted so far it is at least this."""
    candidate_total: int
    stable_total: int

    def __str__(self) -> str:
        return (
            f"distance of the scores {self.estimate:.3f} (at least {self.lower:.3f}), by {self.candidate_total} of the candidate "
            f"and {self.stable_total} of stable"
        )


def distance(candidate: Sequence[int], stable: Sequence[int]) -> Distance | None:
    """From counts by bin; None until both arms have scored something, and where their bins are not the same.

    The bound is of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990), sqrt(ln(2 / p) / 2n) for each arm. It takes
    scores for independent; those of one request may not be.
    """
    n1, n0 = sum(candidate), sum(stable)
    if not n1 or not n0 or len(candidate) != len(stable):
        return None
    shares = zip(accumulate(candidate), accumulate(stable), strict=True)
    estimate = max(abs(a / n1 - b / n0) for a, b in shares)
    margin = sum(math.sqrt(math.log(4.0 / MISS) / (2.0 * n)) for n in (n1, n0))
    return Distance(estimate, max(0.0, estimate - margin), n1, n0)
