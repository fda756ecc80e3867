"""The dispersion guard: how much more stable's bad answers vary than independent ones would.

Bursts (one client's retries, a node that stalls) make counts of an arm swing more than a coin's, and a test that believes in
coins sees harm in them. Pearson's dispersion of stable's bad answers over batches of 10 s,

    phi = sum_b (s_b - n_b p)^2 / (n_b p (1 - p)) / (B - 1),      p = sum s_b / sum n_b

divides the logarithm of every factor of the test (quasi-likelihood: Wedderburn 1974), drawn towards a prior while there are few
batches. Only batches that were closed before the
block enter, and only stable's, so phi >= 1 is known before the block and L^(1/phi) keeps a mean of at most 1: where the guarantee
was exact it stays so, and where answers come in bursts it is much nearer to the truth. A base rate that moves counts as
dispersion too; that costs power, never validity.
"""

from __future__ import annotations

from dataclasses import dataclass

BATCH_SECONDS = 10.0
PRIOR = 5.0
"""What phi is taken for while nothing is known. Whoever wants the guard has bursts, and 1 would let the first of them through:
half of all healthy versions were rolled back in the first minute of a simulation."""
PRIOR_BATCHES = 3
"""How many batches that counts for."""
LARGEST_FACTOR = 50.0
DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Sums over the batches that are closed, and the batch that is open."""

    batches: int = 0
    total: int = 0
    bad: int = 0
    squares: float = 0.0
    """sum of s_b^2 / n_b."""
    opened: float = 0.0
    """When the open batch began, seconds since the rollout did."""
    open_total: int = 0
    open_bad: int = 0


def counted(state: Dispersion, total: int, bad: int, elapsed_seconds: float) -> Dispersion:
    """With stable's answers of one more block, which closed `elapsed_seconds` after the rollout began."""
    n, s = state.open_total + total, state.open_bad + bad
    if not n or elapsed_seconds - state.opened < BATCH_SECONDS:
        opened = state.opened if n else max(state.opened, elapsed_seconds)
        return Dispersion(state.batches, state.total, state.bad, state.squares, opened, n, s)
    squares = round(state.squares + s * s / n, DECIMALS)
    return Dispersion(state.batches + 1, state.total + n, state.bad + s, squares, elapsed_seconds)


def variance_factor(state: Dispersion) -> float:
    """phi, between 1 and LARGEST_FACTOR: the estimate, drawn towards PRIOR while there are few batches."""
    degrees = max(0, state.batches - 1)
    if not degrees or not 0 < state.bad < state.total:
        return PRIOR
    p = state.bad / state.total
    pearson = (state.squares - state.bad * p) / (p * (1.0 - p))
    return min(LARGEST_FACTOR, max(1.0, (pearson + PRIOR_BATCHES * PRIOR) / (degrees + PRIOR_BATCHES)))
