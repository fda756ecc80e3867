"""Fisher's noncentral hypergeometric law, as far as the rollout test needs it: its normalising sums, in logarithms.

Given how many requests each arm answered and how many bad answers both gave together, the number of bad answers `k` of the
candidate under odds ratio `r` has probability H(k) r^k / Z(r), where H is the central hypergeometric law and Z(r) = sum_k H(k)
r^k (Fisher 1935; Fog 2008, "Calculation methods for Wallenius' and Fisher's noncentral hypergeometric distributions"). Only
Z(r) / Z(rho) enters the test, so H may be known up to a factor and its binomial coefficients are never computed: neighbouring
terms are, by their ratio

    H(k+1) / H(k) = (n1 - k) (s - k) / ((k + 1) (n0 - s + k + 1)).

`eprocess` is the only caller. No term under 1e-16 of its sum is visited: the law is log-concave, so from the mode outwards the
terms fall faster than a geometric series and the rest of a tail is bounded by term * q / (1 - q). A sum thus costs O(sqrt(s))
terms, not O(s).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NEGLIGIBLE = 1e-16
"""A tail is cut when what is left of it is under this share of the sum: below the last bit of a double."""
PRODUCT = 16
"""Ratios multiplied before a logarithm is taken; each lies within a factor of a few hundred of 1, so no product over- or
underflows."""


@dataclass(frozen=True, slots=True)
class Margins:
    """The fixed margins of a 2x2 table: what the test conditions on. Counts as floats, for their arithmetic is hot."""

    candidate: float
    """n1, requests that the candidate answered."""
    stable: float
    """n0, requests that stable answered."""
    bad: float
    """s, bad answers of both."""

    @property
    def low(self) -> float:
        """Fewest bad answers that the candidate can have had."""
        return max(0.0, self.bad - self.stable)

    @property
    def high(self) -> float:
        """Most bad answers that the candidate can have had."""
        return min(self.bad, self.candidate)

    @property
    def determined(self) -> bool:
        """True when only one table has these margins: it says nothing about the odds ratio."""
        return self.low == self.high


def log_normalisers(margins: Margins, odds: Sequence[float]) -> list[float]:
    """log Z(r) for each of the ascending odds ratios, up to one constant that is the same for all of them."""
    results: list[float] = []
    log_height, last = 0.0, mode(margins, odds[0])
    for r in odds:
        peak = mode(margins, r)
        log_height += _log_climb(margins, last, peak)
        last = peak
        results.append(log_height + peak * math.log(r) + math.log(_sum_from(margins, peak, r)))
    return results


def mode(margins: Margins, r: float) -> float:
    """The most probable count under odds ratio r: the floor of the root of H(k) r / H(k-1) = 1 in k."""
    a = r - 1.0
    b = r * (margins.candidate + margins.bad + 2.0) + margins.stable - margins.bad
    c = r * (margins.candidate + 1.0) * (margins.bad + 1.0)
    root = 2.0 * c / (b + math.sqrt(max(0.0, b * b - 4.0 * a * c)))
    return min(max(math.floor(root), margins.low), margins.high)


def _log_climb(margins: Margins, start: float, end: float) -> float:
    """log H(end) - log H(start), end >= start."""
    n1, s, room = margins.candidate, margins.bad, margins.stable - margins.bad + 1.0
    logs: list[float] = []
    product, k = 1.0, start
    for step in range(1, int(end - start) + 1):
        product *= (n1 - k) * (s - k) / ((k + 1.0) * (room + k))
        k += 1.0
        if step % PRODUCT == 0:
            logs.append(math.log(product))
            product = 1.0
    logs.append(math.log(product))
    return math.fsum(logs)


def _sum_from(margins: Margins, peak: float, r: float) -> float:
    """sum_k H(k) r^k divided by its term at the peak: outwards in both directions until nothing visible is left."""
    n1, s, room = margins.candidate, margins.bad, margins.stable - margins.bad
    total, term, k, high = 1.0, 1.0, peak, margins.high
    while k < high:
        q = r * (n1 - k) * (s - k) / ((k + 1.0) * (room + k + 1.0))
        term *= q
        total += term
        k += 1.0
        if term * q < NEGLIGIBLE * (1.0 - q) * total:
            break
    term, k, low = 1.0, peak, margins.low
    while k > low:
        q = k * (room + k) / (r * (n1 - k + 1.0) * (s - k + 1.0))
        term *= q
        total += term
        k -= 1.0
        if term * q < NEGLIGIBLE * (1.0 - q) * total:
            break
    return total
