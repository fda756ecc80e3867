"""What the rollout test says: the verdict on a metric, and the numbers behind it for people.

`rollout` asks `judge` after every block; `evidence` is worked out when a status or an event is written. Only E decides. The
odds ratio and its interval describe what was seen, for a reader; the interval is of the fixed-sample kind and nothing is
decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from perennial.core.analysis.eprocess import Block, EProcess, Strata, log_e
from perennial.core.analysis.mixture import Mixture

SHADOW_SHARE = 0.2
"""Share of falseRollbackRate that the shadow stage may use up, where there is one."""
QUANTILE = 1.959963984540054
"""Two-sided 95 % of the normal law."""
CRASHES = 2
"""Abnormal exits of the candidate in one rollout that are a breach by themselves, when stable had none."""
MOST_BAD = 1_000_000
"""Where the search for "N more bad answers" ends."""
LARGEST_E = 1e300
"""E as shown is cut here, so that it stays a number in JSON; decisions compare logarithms."""


@dataclass(frozen=True, slots=True)
class Breach:
    """The candidate is worse than tolerated: roll back."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Clear:
    """No evidence of harm: as far as this metric goes, the step may pass. It does not say that the candidate is safe."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Suspicion, short of a verdict: keep the weight and look on."""


Verdict = Breach | Clear | Continue


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """Odds of a bad answer of the candidate over stable's, with a 95 % interval."""

    estimate: float
    low: float
    high: float
    method: str
    """mantel-haenszel (strata are the blocks), or haldane-anscombe (totals with half an answer added to each cell) while one
    arm has too few bad answers for the former."""

    def __str__(self) -> str:
        return f"{short(self.estimate)} ({short(self.low)} to {short(self.high)})"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one metric, in numbers for a person."""

    counts: Block
    e: float
    threshold: float
    """E from which on the candidate is rolled back: 1 / alpha."""
    pass_below: float
    """E under which a step may pass: 1 / sqrt(alpha)."""
    odds_ratio: OddsRatio | None
    """None until both arms have answered, and one of them badly."""
    more_bad: int | None
    """So many more bad answers of the candidate in a row would end the rollout; 0 when it is ended, None when no number
    would."""

    def __str__(self) -> str:
        c = self.counts
        parts = [f"candidate {c.candidate_bad} bad of {c.candidate_total}, stable {c.stable_bad} of {c.stable_total}"]
        if self.odds_ratio is not None:
            parts.append(f"odds ratio {self.odds_ratio}")
        parts.append(f"E {short(self.e)} (rolled back at {short(self.threshold)})")
        if self.more_bad:
            parts.append(f"{self.more_bad} more bad answer{'s' if self.more_bad > 1 else ''} would have ended it")
        return "; ".join(parts)


def split_alpha(false_rollback_rate: float, weights: Mapping[str, float], *, shadow: bool = False) -> dict[str, float]:
    """Each metric's share of `falseRollbackRate` in the canary steps and the watch after them, which are one product.

    With a shadow stage 20 % belongs to it and 80 % is left here; without one nothing else can roll back, so all of it is.
    Either way the sum over everything that may roll a version back is at most `false_rollback_rate` (union bound). Raises
    ValueError on a rate outside (0, 1) or weights that are not positive.
    """
    if not 0.0 < false_rollback_rate < 1.0:
        raise ValueError(f"falseRollbackRate is a probability between 0 and 1; found {false_rollback_rate}")
    wrong = {name: weight for name, weight in weights.items() if not 0.0 < weight < math.inf}
    if wrong or not weights:
        raise ValueError(f"every metric needs a positive weight; found {wrong or 'no metric'}")
    total = math.fsum(weights.values())
    share = false_rollback_rate * (1.0 - SHADOW_SHARE if shadow else 1.0)
    return {name: share * weight / total for name, weight in weights.items()}


def shadow_alpha(false_rollback_rate: float, weights: Mapping[str, float]) -> dict[str, float]:
    """Each metric's share in the shadow stage: what `split_alpha` leaves out where there is one. Raises as it does."""
    return split_alpha(false_rollback_rate * SHADOW_SHARE, weights)


def judge(metric: str, state: EProcess, alpha: float) -> Verdict:
    """Breach from E >= 1 / alpha on, Clear under 1 / sqrt(alpha), Continue between."""
    value, threshold = log_e(state), -math.log(alpha)
    if value >= threshold:
        return Breach("CanaryWorse", f"{metric}: {evidence(state, alpha)}")
    return Clear() if value < threshold / 2.0 else Continue()


def judge_crashes(candidate: int, stable: int) -> Breach | None:
    """A crash is no statistic: two abnormal exits of the candidate in one rollout and none of stable's are a breach."""
    if candidate < CRASHES or stable > 0:
        return None
    return Breach("CanaryCrashing", f"the candidate's server ended abnormally {candidate} times in this rollout, stable's never")


def evidence(state: EProcess, alpha: float, candidate_share: float | None = None, variance_factor: float = 1.0) -> Evidence:
    """The numbers behind a verdict. `candidate_share` is the candidate's part of the traffic now; what was counted so far if
    not given. `variance_factor` is the dispersion guard's."""
    value = log_e(state)
    return Evidence(
        counts=state.counts,
        e=LARGEST_E if value > math.log(LARGEST_E) else math.exp(value),
        threshold=1.0 / alpha,
        pass_below=1.0 / math.sqrt(alpha),
        odds_ratio=odds_ratio(state),
        more_bad=more_bad(state, alpha, candidate_share, variance_factor),
    )


def odds_ratio(state: EProcess) -> OddsRatio | None:
    """Mantel & Haenszel's odds ratio over the blocks, with the interval of Robins, Breslow & Greenland (1986)."""
    counts, strata = state.counts, state.strata
    if not counts.candidate_total or not counts.stable_total:
        return None
    if not counts.candidate_bad and not counts.stable_bad:
        return None  # without a bad answer on either side the estimate would be the correction's alone
    if strata.r <= 0.0 or strata.s <= 0.0:
        return _haldane_anscombe(counts)
    return _with_interval(strata.r / strata.s, _variance(strata), "mantel-haenszel")


def more_bad(state: EProcess, alpha: float, candidate_share: float | None = None, variance_factor: float = 1.0) -> int | None:
    """How many bad answers of the candidate, one after the other and with every other answer good, would bring E to 1 / alpha.

    In much traffic of which the candidate has the share w, a single bad answer that is the candidate's multiplies S(r) by

        l(r) = (r / rho) (1 - w + w rho) / (1 - w + w r)  >  1,

    the limit of L(r) for s = s1 = 1. E then grows with every one, so the smallest number is found by bisection.
    """
    share = _share(state.counts) if candidate_share is None else candidate_share
    threshold = -math.log(alpha)
    if log_e(state) >= threshold:
        return 0
    if share is None or not 0.0 < share < 1.0:
        return None
    rho = state.tolerance
    limits = [r / rho * (1.0 - share + share * rho) / (1.0 - share + share * r) for r in state.ratios]
    factors = [math.log(limit) / variance_factor for limit in limits]
    if _log_e_after(state, factors, MOST_BAD) < threshold:
        return None
    low, high = 0, MOST_BAD
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_e_after(state, factors, middle) >= threshold else (middle, high)
    return high


def _log_e_after(state: EProcess, factors: list[float], bad: int) -> float:
    mixture = state.mixture
    log_s = tuple(value + bad * factor for value, factor in zip(mixture.log_s, factors, strict=True))
    return Mixture(mixture.epochs, mixture.epochs_spent, log_s).log_e


def _share(counts: Block) -> float | None:
    total = counts.candidate_total + counts.stable_total
    return counts.candidate_total / total if total else None


def _variance(strata: Strata) -> float:
    r, s = strata.r, strata.s
    return strata.pr / (2.0 * r * r) + strata.ps_qr / (2.0 * r * s) + strata.qs / (2.0 * s * s)


def _haldane_anscombe(counts: Block) -> OddsRatio:
    a, c = counts.candidate_bad + 0.5, counts.stable_bad + 0.5
    b, d = counts.candidate_total - counts.candidate_bad + 0.5, counts.stable_total - counts.stable_bad + 0.5
    return _with_interval(a * d / (b * c), 1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d, "haldane-anscombe")


def _with_interval(estimate: float, variance: float, method: str) -> OddsRatio:
    factor = math.exp(QUANTILE * math.sqrt(variance))
    return OddsRatio(estimate, estimate / factor, estimate * factor, method)


def short(value: float) -> str:
    """About three figures, without an exponent where a person would write none."""
    if value and not 1e-3 <= value < 1e6:
        return f"{value:.1e}"
    if value >= 100.0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10.0 else f"{value:.2f}"
