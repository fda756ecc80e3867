"""What the rollout test does in simulated traffic: how often it rolls back a healthy candidate, how fast it finds a bad one.

    python tests/benchmarks/simulate_analysis.py [--runs 1000] [--seed 7] [--only NAME]

Every run calls the shipped `perennial.core.analysis`, look by look, on counts drawn with numpy. The table stands the project's
design figures beside what is measured here; it is kept in docs/statistics.md, and a unit test runs a small part of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perennial.core.analysis import Block, Breach, advance, judge, start

Rate = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Traffic of one kind. Rates and weight are functions of the seconds since the start."""

    name: str
    expected: str
    """The figure the design was made with."""
    stable: Rate
    candidate: Rate
    weight: Rate
    alpha: float
    look_seconds: float = 1.0
    seconds: float = 600.0
    requests_per_second: float = 100.0
    planned_seconds: float = 0.0
    """0: the plain product, everything on 'bad from the start'."""
    tolerance: float = 1.0
    bad_from: float | None = None
    """When the candidate turns bad; None: it is healthy, and being rolled back is the error."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the runs of a scenario came to."""

    runs: int
    rolled_back: int
    """After it turned bad, or at all when it is healthy."""
    early: int
    """Rolled back before it turned bad."""
    median: float
    """Seconds from turning bad to the verdict, over all runs; inf when fewer than half were found."""
    ninetieth: float

    @property
    def share(self) -> float:
        """Rolled back, per cent."""
        return 100.0 * self.rolled_back / self.runs

    @property
    def error(self) -> float:
        """Standard error of `share`."""
        part = self.rolled_back / self.runs
        return 100.0 * math.sqrt(part * (1.0 - part) / self.runs)


def constant(value: float) -> Rate:
    """The same at all times."""
    return lambda _second: value


def turning(before: float, after: float, second: float) -> Rate:
    """One rate before `second`, another one from then on."""
    return lambda now: before if now < second else after


def swinging(low: float, high: float, period: float) -> Rate:
    """Up and down between two rates, evenly on a logarithmic scale."""
    middle, reach = math.log(low * high) / 2.0, math.log(high / low) / 2.0
    return lambda now: math.exp(middle + reach * math.sin(2.0 * math.pi * now / period))


def time_of_breach(scenario: Scenario, chance: np.random.Generator) -> float | None:
    """Seconds from the start to the verdict; None when there was none. The router gives each request to an arm by itself."""
    state = start(scenario.tolerance, scenario.planned_seconds)
    requests = round(scenario.requests_per_second * scenario.look_seconds)
    for number in range(1, round(scenario.seconds / scenario.look_seconds) + 1):
        began = (number - 1) * scenario.look_seconds
        ended = number * scenario.look_seconds
        to_candidate = int(chance.binomial(requests, scenario.weight(began)))
        block = Block(
            to_candidate,
            int(chance.binomial(to_candidate, scenario.candidate(began))),
            requests - to_candidate,
            int(chance.binomial(requests - to_candidate, scenario.stable(began))),
        )
        state = advance(state, block, ended)
        if isinstance(judge(scenario.name, state, scenario.alpha), Breach):
            return ended
    return None


def simulate(scenario: Scenario, runs: int, seed: int) -> Outcome:
    """`runs` independent rollouts."""
    chance = np.random.default_rng(seed)
    times = [time_of_breach(scenario, chance) for _ in range(runs)]
    bad_from = scenario.bad_from or 0.0
    early = sum(1 for found in times if found is not None and found <= bad_from)
    waits = sorted(found - bad_from if found is not None else math.inf for found in times if found is None or found > bad_from)
    rolled_back = sum(1 for wait in waits if math.isfinite(wait))
    return Outcome(runs, rolled_back, early, _quantile(waits, 0.5), _quantile(waits, 0.9))


def peeking_z_test(runs: int, seed: int) -> tuple[float, float]:
    """What others do to a healthy canary: per cent rolled back by a z-test, and by 'success under 99 % in any minute'.

    The z-test is one-sided at 5 %, over all counts so far, read every minute. An hour at 1,000
    requests a minute, 10 % canary, 0.5 % errors.
    """
    chance = np.random.default_rng(seed)
    shape = (runs, 60)
    n1 = chance.binomial(1000, 0.1, shape)
    n0 = 1000 - n1
    s1, s0 = chance.binomial(n1, 0.005), chance.binomial(n0, 0.005)
    window = 100.0 * float(np.mean(np.any(s1 > 0.01 * n1, axis=1)))
    n1, n0, s1, s0 = (np.cumsum(counts, axis=1) for counts in (n1, n0, s1, s0))
    pooled = (s1 + s0) / (n1 + n0)
    spread = np.sqrt(np.maximum(pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n0), 1e-12))
    z = (s1 / n1 - s0 / n0) / spread
    return 100.0 * float(np.mean(np.any(z > 1.6449, axis=1))), window


def healthy() -> list[Scenario]:
    """Candidates that are as good as stable."""
    steady = [
        Scenario(
            f"healthy, {100 * rate:g} % bad",
            f"{expected} %",
            constant(rate),
            constant(rate),
            constant(0.1),
            0.05,
            look_seconds=5.0,
        )
        for rate, expected in ((0.001, 2.0), (0.01, 1.3), (0.1, 1.0), (0.4, 0.0))
    ]
    swing, ramp = swinging(0.002, 0.05, 120.0), turning(0.1, 0.5, 120.0)
    hour = Scenario(
        "healthy, 0.5 %, an hour of minutes, 1,000/min",
        "1.5 %",
        constant(0.005),
        constant(0.005),
        constant(0.1),
        0.05,
        look_seconds=60.0,
        seconds=3600.0,
        requests_per_second=1000.0 / 60.0,
    )
    return [
        *steady,
        Scenario("healthy, swinging 0.2..5 %", "1.0 %", swing, swing, constant(0.1), 0.05, look_seconds=5.0),
        hour,
        Scenario("healthy, 1 %, mixture", "2-4 %", constant(0.01), constant(0.01), constant(0.1), 0.05, planned_seconds=600.0),
        Scenario("healthy, swinging, 10 -> 50 % weight, mixture", "-", swing, swing, ramp, 0.05, planned_seconds=600.0),
        Scenario(
            "slow 1.2x in odds, tolerance 1.25, mixture",
            "-",
            constant(0.05),
            constant(1.2 * 0.05 / (1.0 + 0.2 * 0.05)),
            constant(0.1),
            0.05,
            planned_seconds=600.0,
            tolerance=1.25,
        ),
    ]


def harmful() -> list[Scenario]:
    """Candidates that answer badly, from the start or later."""
    tenth, half = constant(0.1), constant(0.5)
    one, good = constant(0.01), constant(0.005)
    late = turning(0.01, 0.1, 300.0)
    return [
        Scenario("1 -> 10 %", "all; 4 s, p90 8 s", one, constant(0.1), tenth, 0.05, bad_from=0.0),
        Scenario("1 -> 10 %, alpha 1 %", "all; 5 s, p90 11 s", one, constant(0.1), tenth, 0.01, bad_from=0.0),
        Scenario("0.5 -> 5 %", "all; 8 s", good, constant(0.05), tenth, 0.05, bad_from=0.0),
        Scenario("0.5 -> 2 %", "all; 25 s", good, constant(0.02), tenth, 0.05, bad_from=0.0),
        Scenario("0.5 -> 1 %", "92 %; 203 s", good, constant(0.01), tenth, 0.05, bad_from=0.0),
        Scenario("1 -> 10 % after 300 s, plain product, alpha 1 %", "27 s", one, late, tenth, 0.01, bad_from=300.0),
        Scenario(
            "1 -> 10 % after 300 s, mixture, alpha 1 %", "9 s", one, late, tenth, 0.01, planned_seconds=600.0, bad_from=300.0
        ),
        Scenario("the same at 50 % weight", "4 s", one, late, half, 0.01, planned_seconds=600.0, bad_from=300.0),
        *(
            Scenario(
                f"after promotion, {100 * held:.0f} % held back, 1 -> 10 % after 300 s, mixture",
                expected,
                one,
                late,
                constant(1.0 - held),
                0.05,
                planned_seconds=600.0,
                bad_from=300.0,
            )
            for held, expected in ((0.01, "58 s"), (0.05, "20 s"), (0.1, "11 s"), (0.2, "7 s"))
        ),
        Scenario(
            "0.5 -> 10 %, mixture, alpha 0.5 %", "bench", good, constant(0.1), tenth, 0.005, planned_seconds=300.0, bad_from=0.0
        ),
        Scenario(
            "0.5 -> 10 % after 60 s, mixture, alpha 0.5 %",
            "bench",
            good,
            turning(0.005, 0.1, 60.0),
            tenth,
            0.005,
            planned_seconds=300.0,
            bad_from=60.0,
        ),
    ]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Simulate the rollout test.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    options = parser.parse_args()
    began = time.monotonic()
    looks, window = peeking_z_test(20 * options.runs, options.seed)
    print(f"{options.runs} runs a line, seed {options.seed}\n")
    print("| a healthy candidate | design | rolled back here |\n|---|---|---|")
    print(f"| z-test at 5 %, read every minute for an hour (not ours) | 31 % | {looks:.1f} % |")
    print(f"| success < 99 % in any minute (not ours) | ~100 % | {window:.1f} % |")
    for scenario in (one for one in healthy() if options.only in one.name):
        outcome = simulate(scenario, options.runs, options.seed)
        print(f"| {scenario.name} | {scenario.expected} | {outcome.share:.1f} ± {outcome.error:.1f} % |", flush=True)
    print("\n| a harmful candidate | design | found here | median | p90 | before it was bad |\n|---|---|---|---|---|---|")
    for scenario in (one for one in harmful() if options.only in one.name):
        outcome = simulate(scenario, options.runs, options.seed)
        found = 100.0 * outcome.rolled_back / (outcome.runs - outcome.early)
        row = f"{found:.1f} % | {outcome.median:.0f} s | {outcome.ninetieth:.0f} s"
        print(f"| {scenario.name} | {scenario.expected} | {row} | {100.0 * outcome.early / outcome.runs:.1f} % |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


def _quantile(waits: list[float], share: float) -> float:
    """The smallest wait that `share` of the runs did not exceed."""
    return waits[max(0, math.ceil(share * len(waits)) - 1)] if waits else math.inf


if __name__ == "__main__":
    main()
