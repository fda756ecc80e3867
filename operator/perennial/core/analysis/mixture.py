"""What every e-process here is made of: 32 bets with equal stakes, each spread over the time at which it may come true.

    S_t(j) = (S_{t-1}(j) + pi_t) L_t(j)             L_t(j): the likelihood ratio of one block under bet j
    E_t    = mean_j S_t(j) + the part of pi that is not spent yet          all pi together are 1

`eprocess` bets on odds ratios of two arms, `rate` on the bad rate of one. The state is kept rounded (down, so that rounding can
never decide anything) to what the status holds: an operator that comes back computes the same E, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

RATIOS = 32
"""Bets in the mixture, evenly weighted."""
EPOCH_SECONDS = 10.0
"""How often the mixture over start times takes on a new start."""
MASS_AT_START = 0.5
"""Share of the mixture that bets on 'from the start'; the epochs share the rest."""
DECIMALS = 9
"""Decimals of log S that are kept: the loss is under 4e-6 of E in an hour of looks at every second."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Where the bets stand."""

    epochs: int
    """Start times that the mixture was planned with, besides the start itself."""
    epochs_spent: int
    """How many of them have begun."""
    log_s: tuple[float, ...]
    """log S, one for each bet; finite, rounded down to DECIMALS."""

    @property
    def unspent(self) -> float:
        """Part of the mixture over start times that has not begun."""
        return (self.epochs - self.epochs_spent) * _mass_of_epoch(self.epochs)

    @property
    def log_e(self) -> float:
        """log E. Its exponential overflows from about 709 on; compare logarithms."""
        return _plus(log_mean(self.log_s), self.unspent)


def begin(planned_seconds: float) -> Mixture:
    """Nothing is known: E = 1. With 0 planned seconds all stakes are on the start."""
    if not 0.0 <= planned_seconds < math.inf:
        raise ValueError(f"planned_seconds must be finite and not negative; found {planned_seconds}")
    epochs = planned_epochs(planned_seconds)
    return Mixture(epochs, 0, (rounded(math.log(MASS_AT_START if epochs else 1.0)),) * RATIOS)


def planned_epochs(planned_seconds: float) -> int:
    """Start times in the mixture besides the start itself: one every 10 s."""
    return math.ceil(planned_seconds / EPOCH_SECONDS)


def multiplied(mixture: Mixture, log_factors: Iterable[float], elapsed_seconds: float) -> Mixture:
    """The bets after a block that closed `elapsed_seconds` after the start.

    Epochs that began meanwhile come in before the block is judged. When they do depends on time alone, never on the answers in
    the block; that is what keeps the product a supermartingale.
    """
    begun = int(max(0.0, elapsed_seconds) // EPOCH_SECONDS) + 1
    due = max(mixture.epochs_spent, min(mixture.epochs, begun))
    arriving = (due - mixture.epochs_spent) * _mass_of_epoch(mixture.epochs)
    log_s = tuple(rounded(_plus(old, arriving) + factor) for old, factor in zip(mixture.log_s, log_factors, strict=True))
    return Mixture(mixture.epochs, due, log_s)


def is_mixture(log_s: Iterable[float], epochs: int, epochs_spent: int) -> bool:
    """Whether these numbers can be a mixture's; what a hand wrote into a status need not be."""
    values = list(log_s)
    return len(values) == RATIOS and all(math.isfinite(value) for value in values) and 0 <= epochs_spent <= epochs


def log_mean(values: tuple[float, ...]) -> float:
    """log of the mean over all bets of exp(value)."""
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values) / RATIOS)


def rounded(value: float) -> float:
    """Down to DECIMALS; rounding twice changes nothing that rounding once did not."""
    nearest = round(value, DECIMALS)
    return nearest if nearest <= value else round(nearest - 10.0**-DECIMALS, DECIMALS)


def _mass_of_epoch(epochs: int) -> float:
    return (1.0 - MASS_AT_START) / epochs if epochs else 0.0


def _plus(log_value: float, addend: float) -> float:
    """log(exp(log_value) + addend)."""
    if addend <= 0.0:
        return log_value
    log_addend = math.log(addend)
    top, low = max(log_value, log_addend), min(log_value, log_addend)
    return top + math.log1p(math.exp(low - top))
