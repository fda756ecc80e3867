"""Simulated traffic, second by second: what both arms of a rollout answered, and how badly.

    simulate_scenarios -> draw (here) -> Traffic -> simulate_analysis (our test) and simulate_rules (other people's)

Every rule is given the same arrays. A `Draw` takes the chance, the number of runs and the seconds of each; all runs are drawn at
once. `requests` is what the guarantee is made for: the router gives each request to an arm by itself. `pinned`, `bursting` and
`retried` break that in the three ways that happen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
Rate = Callable[[Shares], Shares]
"""A share between 0 and 1 for each of the given seconds since the start."""

PER_SECOND = 100
"""Requests a second, of both arms together."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Answers in all and bad ones among them, of both arms; each array is (runs, seconds)."""

    candidate: Counts
    candidate_bad: Counts
    stable: Counts
    stable_bad: Counts

    @property
    def seconds(self) -> int:
        return int(self.candidate.shape[1])

    def by_look(self, seconds: int) -> Traffic:
        """The same answers in blocks of so many seconds; what does not fill the last block is left out."""
        looks = self.seconds // seconds
        return Traffic(
            *(
                counts[:, : looks * seconds].reshape(len(counts), looks, seconds).sum(axis=2)
                for counts in (self.candidate, self.candidate_bad, self.stable, self.stable_bad)
            )
        )


Draw = Callable[[np.random.Generator, int, int], Traffic]


def constant(value: float) -> Rate:
    """The same at all times."""
    return lambda now: np.full_like(now, value)


def turning(before: float, after: float, second: float) -> Rate:
    """One rate before `second`, another one from then on."""
    return lambda now: np.where(now < second, before, after)


def swinging(low: float, high: float, period: float) -> Rate:
    """Up and down between two rates, evenly on a logarithmic scale."""
    middle, reach = math.log(low * high) / 2.0, math.log(high / low) / 2.0
    return lambda now: np.exp(middle + reach * np.sin(2.0 * math.pi * now / period))


def worse(rate: float, odds_ratio: float) -> float:
    """The rate whose odds are `odds_ratio` times those of `rate`."""
    odds = odds_ratio * rate / (1.0 - rate)
    return odds / (1.0 + odds)


def requests(stable: Rate, candidate: Rate, weight: Rate) -> Draw:
    """Each request goes to the candidate with the weight of the moment, independently of all others."""

    def draw(chance: np.random.Generator, runs: int, seconds: int) -> Traffic:
        now = np.arange(seconds, dtype=np.float64)
        return _answered(chance, (runs, seconds), weight(now), candidate(now), stable(now))

    return draw


def retried(first: Draw, attempts: int = 3, again: float = 0.8) -> Draw:
    """Every attempt is counted: the gateway sends what failed to the same arm again, where it fails again with chance `again`."""

    def arm(chance: np.random.Generator, total: Counts, bad: Counts) -> tuple[Counts, Counts]:
        failing = bad
        for _ in range(attempts - 1):
            total = total + failing
            failing = chance.binomial(failing, again)
            bad = bad + failing
        return total, bad

    def draw(chance: np.random.Generator, runs: int, seconds: int) -> Traffic:
        once = first(chance, runs, seconds)
        candidate = arm(chance, once.candidate, once.candidate_bad)
        return Traffic(*candidate, *arm(chance, once.stable, once.stable_bad))

    return draw


def pinned(weight: float, connections: int, lasts: int, clients: float = 0.1, rate: float = 0.1) -> Draw:
    """The router assigns connections, not requests: all that a client sends within `lasts` seconds meets one arm.

    A share `clients` of them sends requests that fail with chance `rate` on either arm, the others' never fail. Each connection
    carries the same part of the traffic: `connections` divides it.
    """
    each = PER_SECOND // connections

    def draw(chance: np.random.Generator, runs: int, seconds: int) -> Traffic:
        def answered(open_connections: Counts, total: Counts) -> tuple[Counts, Counts]:
            at_risk = np.repeat(chance.binomial(open_connections, clients), lasts, axis=1)[:, :seconds]
            return total, chance.binomial(each * at_risk, rate)

        at_candidate = chance.binomial(connections, weight, (runs, math.ceil(seconds / lasts)))
        total = each * np.repeat(at_candidate, lasts, axis=1)[:, :seconds]
        candidate = answered(at_candidate, total)
        return Traffic(*candidate, *answered(connections - at_candidate, each * connections - total))

    return draw


def bursting(base: float, pods: int = 10, every: float = 300.0, lasts: int = 3, rate: float = 0.5) -> Draw:
    """Each pod by itself, the candidate's one and stable's others alike, answers badly for a moment now and then.

    All pods get the same traffic, so the candidate's weight is 1 / `pods`. It is as good as stable is: on the average.
    """

    def draw(chance: np.random.Generator, runs: int, seconds: int) -> Traffic:
        bad = _moments(chance, (runs, pods, seconds), every, lasts)
        candidate = np.where(bad[:, 0], rate, base)
        stable = base + bad[:, 1:].mean(axis=1) * (rate - base)
        return _answered(chance, (runs, seconds), np.float64(1.0 / pods), candidate, stable)

    return draw


def outages(base: float, weight: float, every: float = 120.0, lasts: int = 3, rate: float = 0.5) -> Draw:
    """Now and then a dependency of both versions fails, and both answer badly for a moment."""

    def draw(chance: np.random.Generator, runs: int, seconds: int) -> Traffic:
        both = np.where(_moments(chance, (runs, seconds), every, lasts), rate, base)
        return _answered(chance, (runs, seconds), np.float64(weight), both, both)

    return draw


def _answered(chance: np.random.Generator, shape: tuple[int, int], weight: Shares, candidate: Shares, stable: Shares) -> Traffic:
    total = chance.binomial(PER_SECOND, weight, shape)
    return Traffic(total, chance.binomial(total, candidate), PER_SECOND - total, chance.binomial(PER_SECOND - total, stable))


def _moments(chance: np.random.Generator, shape: tuple[int, ...], every: float, lasts: int) -> NDArray[np.bool_]:
    """Seconds that lie within `lasts` of a start; starts come once in `every` seconds on the average."""
    started = np.cumsum(chance.random(shape) < 1.0 / every, axis=-1)
    earlier = np.zeros_like(started)
    earlier[..., lasts:] = started[..., :-lasts]
    return started > earlier
