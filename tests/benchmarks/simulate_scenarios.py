"""The scenarios of the simulation suite: what traffic, how long, what is true of the candidate, and what we guarantee there.

A scenario belongs to a family, which is a table of the report. A new kind of traffic is a `Draw` in simulate_traffic and a line
here; a new kind of test of ours (with a margin, an objective, a guard against errors in bursts) is a column: see `simulate_run`.

100 requests a second, 10 % of them to the candidate, ten minutes, unless a line says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulate_traffic import (
    Draw,
    Rate,
    bursting,
    constant,
    outages,
    pinned,
    requests,
    retried,
    swinging,
    turning,
    worse,
)

EXACT, APPROXIMATE, NONE = "exact", "approximate", "none"
TENTH = constant(0.1)
SLOW = 0.05
"""Share of stable's answers that are slow in the family of odds ratios."""
ODDS_RATIOS = (1.0, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5)
SEVERITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of bad answers of a candidate beside a stable version with 0.5 %."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Rollouts of one kind."""

    family: str
    name: str
    draw: Draw
    runs: int = 2000
    guarantee: str = EXACT
    """What the documents promise for such traffic: exact, approximate, or none."""
    bad_from: float | None = None
    """When the candidate turns worse than is tolerated, in seconds; None: never, and to be rolled back is the error."""
    seconds: int = 600
    look_seconds: int = 1
    """The operator looks every second; longer blocks cost less to simulate, and the test is valid for any."""
    planned_seconds: float = 600.0
    tolerance: float = 1.0
    traffic: str = ""
    """Scenarios with the same word here meet the very same answers; the name where none is given."""

    @property
    def seed_word(self) -> str:
        return self.traffic or self.name


def _equal(rate: Rate) -> Draw:
    return requests(rate, rate, TENTH)


def _healthy() -> list[Scenario]:
    swing = swinging(0.002, 0.05, 120.0)
    one, half = constant(0.01), constant(0.005)
    return [
        Scenario("healthy", "0.1 % bad", _equal(constant(0.001)), look_seconds=5),
        Scenario("healthy", "0.5 % bad", _equal(half)),
        Scenario("healthy", "1 % bad", _equal(one), look_seconds=5),
        Scenario("healthy", "10 % bad", _equal(TENTH), look_seconds=10),
        Scenario("healthy", "40 % bad", _equal(constant(0.4)), look_seconds=10),
        Scenario("healthy", "swinging 0.2..5 %", _equal(swing), look_seconds=5),
        Scenario("healthy", "swinging, weight 10, then 50 %", requests(swing, swing, turning(0.1, 0.5, 120.0)), look_seconds=5),
        Scenario("healthy", "1 %, a watch with 10 % held back", requests(one, one, constant(0.9)), look_seconds=5),
        Scenario("healthy", "0.5 %, outages of both versions", outages(0.005, 0.1), look_seconds=5),
    ]


def _in_bursts() -> list[Scenario]:
    first = _equal(constant(0.01))
    return [
        Scenario("healthy", "1 %, retried, first attempts counted", first, look_seconds=5, traffic="retried"),
        Scenario(
            "healthy", "1 %, retried, every attempt counted", retried(first), guarantee=NONE, look_seconds=5, traffic="retried"
        ),
        Scenario("healthy", "1 %, pinned, 10 requests a connection", pinned(0.1, 100, 10), guarantee=APPROXIMATE, look_seconds=5),
        Scenario("healthy", "1 %, pinned, 60 requests a connection", pinned(0.1, 50, 30), guarantee=APPROXIMATE, look_seconds=5),
        Scenario("healthy", "0.5 %, bursts of single pods", bursting(0.005), guarantee=NONE, look_seconds=5),
    ]


def _odds() -> list[Scenario]:
    return [
        Scenario(
            "odds",
            f"odds ratio {ratio:g}, tolerance {tolerance:g}",
            requests(constant(SLOW), constant(worse(SLOW, ratio)), TENTH),
            runs=2000 if ratio <= tolerance else 1000,
            bad_from=None if ratio <= tolerance else 0.0,
            look_seconds=10,
            tolerance=tolerance,
            traffic=f"odds ratio {ratio:g}",
        )
        for tolerance in (1.0, 1.25)
        for ratio in ODDS_RATIOS
    ]


def _harmful() -> list[Scenario]:
    one, half, tenth = constant(0.01), constant(0.005), constant(0.1)
    late = turning(0.01, 0.1, 300.0)
    return [
        Scenario("harmful", "1 -> 10 % from the start", requests(one, tenth, TENTH), bad_from=0.0),
        Scenario("harmful", "1 -> 10 % after 60 s", requests(one, turning(0.01, 0.1, 60.0), TENTH), 1000, bad_from=60.0),
        Scenario("harmful", "1 -> 10 % after 300 s", requests(one, late, TENTH), bad_from=300.0, traffic="late"),
        Scenario(
            "harmful",
            "the same, all stakes on the start",
            requests(one, late, TENTH),
            runs=1000,
            bad_from=300.0,
            planned_seconds=0.0,
            traffic="late",
        ),
        Scenario("harmful", "1 -> 10 % after 300 s, weight 50 %", requests(one, late, constant(0.5)), 1000, bad_from=300.0),
        *(
            Scenario(
                "harmful",
                f"1 -> 10 % 300 s after promotion, {100 * held:.0f} % held back",
                requests(one, late, constant(1.0 - held)),
                1000,
                bad_from=300.0,
            )
            for held in (0.01, 0.05, 0.1, 0.2)
        ),
        Scenario("harmful", "0.5 -> 10 % after 60 s", requests(half, turning(0.005, 0.1, 60.0), TENTH), 1000, bad_from=60.0),
    ]


def _severe() -> list[Scenario]:
    return [
        Scenario("severity", f"0.5 -> {100 * rate:g} %", requests(constant(0.005), constant(rate), TENTH), 1000, bad_from=0.0)
        for rate in SEVERITIES
    ]


SCENARIOS = (*_healthy(), *_in_bursts(), *_harmful(), *_severe(), *_odds())
