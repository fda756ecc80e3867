"""How often the test of a `prometheus` metric takes a healthy candidate back, and how soon it finds a harmful one. Simulated.

    python tests/benchmarks/simulate_providers.py [--runs 400] [--seed 7]

The shipped code (`perennial.core.providers`) on a source as Prometheus is one: every pod is read at a phase of its own, a query
sees the newest reading before its time, and readings are asked for every 5 s as of 5 s before. 200 requests a second; the
candidate has one pod, stable four; 10 % for five minutes, then 50 %. alpha 5 %. docs/statistics.md has the figures.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("operator", "serving", "tests")]

from perennial.api.rollout_status import RolloutStatus  # noqa: E402
from perennial.api.v1alpha1 import ModelDeploymentStatus  # noqa: E402
from perennial.core import analysis, providers  # noqa: E402
from perennial.core.inputs import stamp  # noqa: E402
from perennial.core.observed import MetricReading, Observed, RouteState  # noqa: E402
from unit.core.world import START, World, spec  # noqa: E402

ALPHA = 0.05
RATE = 200
STABLE_PODS = 4
SECONDS = 600
STEP_SECONDS = 300
ASK, AGO = 5, 5
Rate = Callable[[int], float]


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    title: str
    interval: int
    stable: Rate
    candidate: Rate
    tolerance: float = 1.0


def swinging(low: float, high: float, period: float) -> Rate:
    """From low to high and back, once a period."""
    middle, reach = (high + low) / 2, (high - low) / 2
    return lambda second: middle + reach * math.sin(2 * math.pi * second / period)


def constant(rate: float) -> Rate:
    return lambda _: rate


def from_then(rate: Rate, later: float, at: int) -> Rate:
    return lambda second: later if second >= at else rate(second)


FAST, MILD, SLOW = swinging(0.002, 0.05, 60), swinging(0.005, 0.015, 60), swinging(0.002, 0.05, 600)
HEALTHY = (
    Line("1 % bad, scraped every 15 s", 15, constant(0.01), constant(0.01)),
    Line("1 % bad, scraped every 60 s", 60, constant(0.01), constant(0.01)),
    Line("swinging 0.2..5 % in 10 min, scraped every 15 s", 15, SLOW, SLOW),
    Line("swinging 0.5..1.5 % in 1 min, scraped every 15 s", 15, MILD, MILD),
    Line("swinging 0.2..5 % in 2 min, scraped every 15 s", 15, swinging(0.002, 0.05, 120), swinging(0.002, 0.05, 120)),
    Line("swinging 0.2..5 % in 1 min, scraped every 5 s", 5, FAST, FAST),
    Line("swinging 0.2..5 % in 1 min, scraped every 15 s", 15, FAST, FAST),
    Line("the same with tolerance 1.25", 15, FAST, FAST, 1.25),
    Line("the same with tolerance 1.5", 15, FAST, FAST, 1.5),
    Line("swinging 0.2..5 % in 1 min, scraped every 60 s", 60, FAST, FAST),
)
HARMFUL = (
    Line("1 -> 10 %, scraped every 5 s", 5, constant(0.01), constant(0.10)),
    Line("1 -> 10 %, scraped every 15 s", 15, constant(0.01), constant(0.10)),
    Line("1 -> 10 % after 200 s, scraped every 15 s", 15, constant(0.01), from_then(constant(0.01), 0.10, 200)),
    Line("1 -> 10 %, scraped every 60 s", 60, constant(0.01), constant(0.10)),
)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    for title, lines in (("healthy", HEALTHY), ("harmful", HARMFUL)):
        print(f"| {title} | rolled back | median | p90 |\n|---|---|---|---|")
        for line in lines:
            chance = np.random.default_rng(given.seed)
            found = sorted(second for second in (run(line, chance) for _ in range(given.runs)) if second is not None)
            times = f"{statistics.median(found):.0f} s | {found[math.ceil(0.9 * len(found)) - 1]} s" if found else "- | -"
            print(f"| {line.title} | {100 * len(found) / given.runs:.1f} % | {times} |", flush=True)


def run(line: Line, chance: np.random.Generator) -> int | None:
    """The second after the first request in which it was taken back."""
    candidate = _arm(line.candidate, lambda s: _weight(s) * RATE, 1, line.interval, chance)
    stable = _arm(line.stable, lambda s: (1 - _weight(s)) * RATE, STABLE_PODS, line.interval, chance)
    base, rollout = _begun(line)
    for now in range(ASK, SECONDS, ASK):
        if now - now % STEP_SECONDS and now % STEP_SECONDS < ASK:
            rollout = rollout.model_copy(update={"weight": 50, "settled_at": stamp(START + timedelta(seconds=now))})
            base = replace(base, route=RouteState(((1, 50), (2, 50)), True))
        if now <= AGO:
            continue
        reading = MetricReading(START + timedelta(seconds=now - AGO), *candidate[now - AGO], *stable[now - AGO])
        seen = replace(base, now=START + timedelta(seconds=now), readings={"orders": reading})
        rollout = providers.measure(seen, rollout)
        (state,) = rollout.metrics
        if isinstance(analysis.judge("orders", analysis.resume(state, rollout.planned_seconds), ALPHA), analysis.Breach):
            return now
    return None


def _weight(second: int) -> float:
    return 0.1 if second < STEP_SECONDS else 0.5


def _arm(
    bad: Rate, requests: Callable[[int], float], pods: int, interval: int, chance: np.random.Generator
) -> list[tuple[int, int]]:
    """(good, total) of an arm as the source shows it in each second: the sum of each pod's newest reading."""
    seconds = np.arange(SECONDS)
    asked = chance.poisson([requests(second) / pods for second in range(SECONDS)], (pods, SECONDS))
    failed = chance.binomial(asked, [bad(second) for second in range(SECONDS)])
    total, wrong = asked.cumsum(axis=1), failed.cumsum(axis=1)
    phases = chance.integers(0, interval, pods)
    shown_total, shown_wrong = np.zeros(SECONDS, int), np.zeros(SECONDS, int)
    for pod in range(pods):
        read = seconds - (seconds - phases[pod]) % interval
        shown_total += np.where(read >= 0, total[pod][np.maximum(read, 0)], 0)
        shown_wrong += np.where(read >= 0, wrong[pod][np.maximum(read, 0)], 0)
    return [(int(t - w), int(t)) for t, w in zip(shown_total, shown_wrong, strict=True)]


def _begun(line: Line) -> tuple[Observed, RolloutStatus]:
    """A rollout in its first step, settled at the start."""
    metric = {
        "name": "orders",
        "prometheus": {"source": "shop", "good": "$(version) good", "total": "$(version)", "scrapeInterval": f"{line.interval}s"},
    }
    world = World(wish=spec(rollout={"metrics": [metric]}))
    wish = world.wish.rollout.metrics
    rollout = RolloutStatus(
        candidate=2,
        stable=1,
        weight=10,
        started_at=stamp(START),
        saved_at=stamp(START),
        settled=True,
        settled_at=stamp(START),
        planned_seconds=float(SECONDS),
        provided=providers.begin(wish),
        metrics=[analysis.save("orders", ALPHA, analysis.start(line.tolerance, float(SECONDS)))],
    )
    world.status = ModelDeploymentStatus(stable=1, rollout=rollout)
    world.route = RouteState(((1, 90), (2, 10)), True)
    return world.observed(), rollout


if __name__ == "__main__":
    main()
