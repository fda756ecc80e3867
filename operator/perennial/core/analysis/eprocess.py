"""The rollout test itself: an exact-conditional e-process over counts, safe to look at as often as one likes.

    counting (counters of pods -> Block) -> advance -> evidence (numbers for people) and judge (a verdict) -> rollout

Each look is a block: the candidate answered n1 requests, s1 of them badly; stable answered n0, s0 of them badly; s = s0 + s1.
With rho >= 1 the odds ratio that is tolerated and H the central hypergeometric law of s1 given the margins (`hypergeometric`),

    L_t(r) = (r / rho)^s1 * sum_k H(k) rho^k / sum_k H(k) r^k          for 32 odds ratios r > rho
    S_t(r) = (S_{t-1}(r) + pi_t) L_t(r)                                a mixture over the time at which it went bad
    E_t    = mean_r S_t(r) + the part of pi that is not spent yet      all pi together are 1

While the candidate's odds are at most rho times stable's, every L_t(r) has mean <= 1 given the past, whatever the base rate,
the traffic and the weights did: E is a nonnegative supermartingale that starts at 1, so P(E ever >= 1 / alpha) <= alpha (Ville
1939; Ramdas et al., arXiv:2210.01948, for e-processes; Johari et al., arXiv:1512.04922, for why a fixed threshold looked at
again and again is no test).

The same test with the arms swapped, and a tolerance under 1, is `margin`'s. Everything here is a pure function; the state is 32
logarithms (`mixture`) and a few counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from perennial.core.analysis.hypergeometric import Margins, log_normalisers
from perennial.core.analysis.mixture import DECIMALS, RATIOS, Mixture, begin, multiplied

NEAREST = 1.05
"""The smallest r, in units of the tolerated odds ratio."""
FARTHEST = 50.0
"""The largest r: an odds ratio of 50 turns 0.5 % bad answers into 20 %."""
AT_LEAST = 5.0
"""The largest r is never under this many times the tolerated odds ratio."""
LARGEST_TOLERANCE = 100.0


@dataclass(frozen=True, slots=True)
class Block:
    """One look: what both arms answered since the last one. Each request once; `bad` is part of `total`."""

    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0

    def __post_init__(self) -> None:
        for arm, bad, total in (
            ("candidate", self.candidate_bad, self.candidate_total),
            ("stable", self.stable_bad, self.stable_total),
        ):
            if not 0 <= bad <= total:
                raise ValueError(f"a block needs 0 <= bad <= total; found bad={bad}, total={total} for {arm}")

    def __add__(self, other: Block) -> Block:
        return Block(
            self.candidate_total + other.candidate_total,
            self.candidate_bad + other.candidate_bad,
            self.stable_total + other.stable_total,
            self.stable_bad + other.stable_bad,
        )

    @property
    def margins(self) -> Margins:
        """What the test conditions on."""
        return Margins(float(self.candidate_total), float(self.stable_total), float(self.candidate_bad + self.stable_bad))


@dataclass(frozen=True, slots=True)
class Strata:
    """Sums over blocks for the Mantel-Haenszel odds ratio and its variance (Robins, Breslow & Greenland 1986).

    Per block, with a, b the candidate's bad and good answers, c, d stable's, n all of them: R = ad/n, S = bc/n, P = (a+d)/n,
    Q = (b+c)/n. The blocks are the strata, so a base rate that moves while the weight moves cannot pass for an effect (Simpson's
    paradox).
    """

    r: float = 0.0
    s: float = 0.0
    pr: float = 0.0
    ps_qr: float = 0.0
    qs: float = 0.0


@dataclass(frozen=True, slots=True)
class EProcess:
    """Where the test of one metric stands. Made by `start`, moved on by `advance` only."""

    tolerance: float
    """rho, the odds ratio that is tolerated."""
    ratios: tuple[float, ...]
    """The odds ratios r > rho that it bets on, ascending; not part of what is saved, for they follow from how it was started."""
    mixture: Mixture
    counts: Block
    """Everything counted so far."""
    strata: Strata
    """Everything counted so far, for the odds ratio that is shown."""

    @property
    def log_s(self) -> tuple[float, ...]:
        """log S(r), one for each of `ratios`."""
        return self.mixture.log_s

    @property
    def epochs_spent(self) -> int:
        """Start times that have begun."""
        return self.mixture.epochs_spent


def start(tolerance: float, planned_seconds: float) -> EProcess:
    """A test for harm that knows nothing yet: E = 1.

    `planned_seconds` is how long rollout and watch are planned to last; half of the mixture is kept for starts spread evenly
    over it. With 0 all of it is on the start. It must not be changed under way: what is already spent would be spent twice.
    """
    if not 1.0 <= tolerance <= LARGEST_TOLERANCE:
        raise ValueError(f"tolerance is an odds ratio between 1 and {LARGEST_TOLERANCE:g}; found {tolerance}")
    return betting(tolerance, odds_ratios(tolerance), planned_seconds)


def betting(tolerance: float, ratios: tuple[float, ...], planned_seconds: float) -> EProcess:
    """A test of 'the odds ratio is at most `tolerance`' that bets on these 32 ratios, ascending and all above it."""
    if len(ratios) != RATIOS or not 0.0 < tolerance < ratios[0]:
        raise ValueError(
            f"{RATIOS} ratios above the tolerance are needed; found {len(ratios)} from {ratios[:1]} over {tolerance}"
        )
    return EProcess(tolerance, ratios, begin(planned_seconds), Block(), Strata())


def advance(state: EProcess, block: Block, elapsed_seconds: float, variance_factor: float = 1.0) -> EProcess:
    """The state after one more block, which closed `elapsed_seconds` after the rollout began.

    A block that only one table could have produced (an arm without traffic, no bad answer, nothing but bad answers) changes no
    number but the counts. `variance_factor` phi >= 1, known before the block, tempers it: L(r)^(1/phi) has mean at most 1 where
    L(r) has (Jensen).
    """
    margins = block.margins
    if margins.determined:
        return replace(state, counts=state.counts + block)
    base, *normalisers = log_normalisers(margins, (state.tolerance, *state.ratios))
    log_rho = math.log(state.tolerance)
    factors = (
        (block.candidate_bad * (math.log(r) - log_rho) + base - normaliser) / variance_factor
        for r, normaliser in zip(state.ratios, normalisers, strict=True)
    )
    return replace(
        state,
        mixture=multiplied(state.mixture, factors, elapsed_seconds),
        counts=state.counts + block,
        strata=_with_stratum(state.strata, block),
    )


def log_e(state: EProcess) -> float:
    """log E. Its exponential overflows from about 709 on; compare logarithms."""
    return state.mixture.log_e


def unspent(state: EProcess) -> float:
    """Part of the mixture over start times that has not begun."""
    return state.mixture.unspent


@lru_cache(maxsize=64)
def odds_ratios(tolerance: float) -> tuple[float, ...]:
    """The 32 odds ratios that the test bets on, log-spaced from just above the tolerated one to 50."""
    return log_spaced(NEAREST * tolerance, max(FARTHEST, AT_LEAST * tolerance))


def log_spaced(lowest: float, highest: float) -> tuple[float, ...]:
    """32 numbers from one to the other, each the same multiple of the one before."""
    low, high = math.log(lowest), math.log(highest)
    return tuple(math.exp(low + (high - low) * index / (RATIOS - 1)) for index in range(RATIOS))


def _with_stratum(strata: Strata, block: Block) -> Strata:
    n = block.candidate_total + block.stable_total
    a, c = block.candidate_bad, block.stable_bad
    b, d = block.candidate_total - a, block.stable_total - c
    r, s, p, q = a * d / n, b * c / n, (a + d) / n, (b + c) / n
    return Strata(
        round(strata.r + r, DECIMALS),
        round(strata.s + s, DECIMALS),
        round(strata.pr + p * r, DECIMALS),
        round(strata.ps_qr + p * s + q * r, DECIMALS),
        round(strata.qs + q * s, DECIMALS),
    )
