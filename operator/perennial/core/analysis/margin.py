"""Showing that harm is small: the rollout test with its arms swapped.

No evidence of harm is not evidence of no harm. Where a metric has a `margin` m, its step passes only when 'the candidate's odds
of a bad answer are at least m times stable's' is refuted. Seen from the other side: 'stable's odds are at most rho = 1 / m times
the candidate's', which is `eprocess`'s null with the arms swapped. Bets are on 32 ratios from just above rho to 2, for the
typical truth is 1 and a version may well be better. E >= 1 / ERROR refutes it, so a version at or over the margin is ever taken
for one under it with probability at most ERROR (Ville). That passes a step and rolls nothing back: it takes nothing from
falseRollbackRate.

All stakes are on the start. The question is whether the version as a whole is shown to be good, not whether it has become so: a
version that was bad at first has to outweigh it.
"""

from __future__ import annotations

import math
from functools import lru_cache

from perennial.core.analysis.eprocess import Block, EProcess, advance, betting, log_e, log_spaced
from perennial.core.analysis.mixture import RATIOS

ERROR = 0.05
"""How often at most a version at or over the margin is taken for one under it."""
NEAREST = 1.05
"""The smallest bet, in units of rho; half way to 1 (in logarithms) where that is nearer."""
FARTHEST = 2.0
"""The largest bet: a candidate with half of stable's odds."""
LARGEST_MARGIN = 10.0


def start_margin(margin: float) -> EProcess:
    """A test that knows nothing yet. Raises ValueError on a margin that is not over 1 or over 10."""
    if not 1.0 < margin <= LARGEST_MARGIN:
        raise ValueError(f"margin is an odds ratio over 1 and at most {LARGEST_MARGIN:g}; found {margin}")
    return betting(1.0 / margin, bets(margin), 0.0)


@lru_cache(maxsize=64)
def bets(margin: float) -> tuple[float, ...]:
    """Odds ratios of stable over the candidate, ascending."""
    rho = 1.0 / margin
    return log_spaced(min(NEAREST * rho, math.sqrt(rho)), FARTHEST)


def advance_margin(state: EProcess, block: Block, variance_factor: float = 1.0) -> EProcess:
    """The state after one more block (of the candidate and stable, in their own places)."""
    swapped = Block(block.stable_total, block.stable_bad, block.candidate_total, block.candidate_bad)
    return advance(state, swapped, 0.0, variance_factor)


def is_shown(state: EProcess) -> bool:
    """Whether the harm is shown to be under the margin, as things stand now."""
    return log_e(state) >= -math.log(ERROR)


def upper_bound(state: EProcess) -> float | None:
    """The candidate's odds ratio is under this with confidence 1 - ERROR, at all times at once; None until that is known.

    The same bets refute every ratio r_k between rho and the truth: S(r_j) / S(r_k) is the likelihood ratio of r_j against r_k, so
    mean_j [j > k] S(r_j) / S(r_k) is an e-process for 'at most r_k', with the stakes of j <= k thrown away. The largest r_k that
    is refuted is the bound's inverse (a confidence sequence: Howard et al., arXiv:1810.08240).
    """
    if not is_shown(state):
        return None
    best, above = state.tolerance, 0.0
    top = max(state.log_s)
    for r, value in zip(reversed(state.ratios), reversed(state.log_s), strict=True):
        if above > 0.0 and math.log(above / RATIOS) + top - value >= -math.log(ERROR):
            best = r
            break
        above += math.exp(value - top)
    return 1.0 / best
