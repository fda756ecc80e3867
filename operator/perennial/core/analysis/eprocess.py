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

Everything here is a pure function; the state is 32 logarithms and a few counts, and `log_s` is kept rounded (down, so that
rounding can never cause a rollback) to what the status holds: an operator that comes back computes the same E, to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from perennial.core.analysis.hypergeometric import Margins, log_normalisers

RATIOS = 32
"""Odds ratios r in the mixture, evenly weighted."""
NEAREST = 1.05
"""The smallest r, in units of the tolerated odds ratio."""
FARTHEST = 50.0
"""The largest r: an odds ratio of 50 turns 0.5 % bad answers into 20 %."""
AT_LEAST = 5.0
"""The largest r is never under this many times the tolerated odds ratio."""
EPOCH_SECONDS = 10.0
"""How often the mixture over start times takes on a new start."""
MASS_AT_START = 0.5
"""Share of the mixture that bets on 'bad from the start'; the epochs share the rest."""
DECIMALS = 9
"""Decimals of log S that are kept: the loss is under 4e-6 of E in an hour of looks at every second."""
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
    """rho, the tolerated odds ratio, >= 1."""
    epochs: int
    """Start times that the mixture was planned with, besides the start itself."""
    epochs_spent: int
    """How many of them have begun."""
    log_s: tuple[float, ...]
    """log S(r), one for each of `odds_ratios(tolerance)`; finite, rounded down to DECIMALS."""
    counts: Block
    """Everything counted so far."""
    strata: Strata
    """Everything counted so far, for the odds ratio that is shown."""


def start(tolerance: float, planned_seconds: float) -> EProcess:
    """A test that knows nothing yet: E = 1.

    `planned_seconds` is how long rollout and watch are planned to last; half of the mixture is kept for starts spread evenly
    over it. With 0 all of it is on the start. It must not be changed under way: what is already spent would be spent twice.
    """
    if not 1.0 <= tolerance <= LARGEST_TOLERANCE:
        raise ValueError(f"tolerance is an odds ratio between 1 and {LARGEST_TOLERANCE:g}; found {tolerance}")
    if not 0.0 <= planned_seconds < math.inf:
        raise ValueError(f"planned_seconds must be finite and not negative; found {planned_seconds}")
    epochs = planned_epochs(planned_seconds)
    at_start = MASS_AT_START if epochs else 1.0
    return EProcess(tolerance, epochs, 0, (_rounded(math.log(at_start)),) * RATIOS, Block(), Strata())


def planned_epochs(planned_seconds: float) -> int:
    """Start times in the mixture besides the start itself: one every 10 s."""
    return math.ceil(planned_seconds / EPOCH_SECONDS)


def advance(state: EProcess, block: Block, elapsed_seconds: float) -> EProcess:
    """The state after one more block, which closed `elapsed_seconds` after the rollout began.

    Epochs that began meanwhile come into the mixture before the block is judged. When they do depends on time alone, never on
    the answers in the block; that is what keeps the product a supermartingale. A block that only one table could have produced
    (an arm without traffic, no bad answer, nothing but bad answers) changes no number but the counts.
    """
    margins = block.margins
    if margins.determined:
        return replace(state, counts=state.counts + block)
    due = max(state.epochs_spent, min(state.epochs, int(max(0.0, elapsed_seconds) // EPOCH_SECONDS) + 1))
    arriving = (due - state.epochs_spent) * _mass_of_epoch(state.epochs)
    ratios = odds_ratios(state.tolerance)
    base, *normalisers = log_normalisers(margins, (state.tolerance, *ratios))
    log_rho = math.log(state.tolerance)
    log_s = tuple(
        _rounded(_plus(old, arriving) + block.candidate_bad * (math.log(r) - log_rho) + base - normaliser)
        for old, r, normaliser in zip(state.log_s, ratios, normalisers, strict=True)
    )
    return EProcess(state.tolerance, state.epochs, due, log_s, state.counts + block, _with_stratum(state.strata, block))


def log_e(state: EProcess) -> float:
    """log E. Its exponential overflows from about 709 on; compare logarithms."""
    top = max(state.log_s)
    mixed = top + math.log(math.fsum(math.exp(value - top) for value in state.log_s) / RATIOS)
    return _plus(mixed, unspent(state))


def unspent(state: EProcess) -> float:
    """Part of the mixture over start times that has not begun."""
    return (state.epochs - state.epochs_spent) * _mass_of_epoch(state.epochs)


@lru_cache(maxsize=64)
def odds_ratios(tolerance: float) -> tuple[float, ...]:
    """The 32 odds ratios that the test bets on, log-spaced from just above the tolerated one to 50."""
    low, high = math.log(NEAREST * tolerance), math.log(max(FARTHEST, AT_LEAST * tolerance))
    return tuple(math.exp(low + (high - low) * index / (RATIOS - 1)) for index in range(RATIOS))


def _mass_of_epoch(epochs: int) -> float:
    return (1.0 - MASS_AT_START) / epochs if epochs else 0.0


def _plus(log_value: float, addend: float) -> float:
    """log(exp(log_value) + addend)."""
    if addend <= 0.0:
        return log_value
    log_addend = math.log(addend)
    top, low = max(log_value, log_addend), min(log_value, log_addend)
    return top + math.log1p(math.exp(low - top))


def _rounded(value: float) -> float:
    """Down to DECIMALS; rounding twice changes nothing that rounding once did not."""
    nearest = round(value, DECIMALS)
    return nearest if nearest <= value else round(nearest - 10.0**-DECIMALS, DECIMALS)


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
