"""What margins, objectives and the dispersion guard do in simulated traffic.

    python tests/benchmarks/simulate_evidence.py [--runs 200] [--seed 7]

Margins and the guard call the shipped `perennial.core.analysis`; objectives go through `perennial.core.metrics` and
`perennial.core.objective`, pass by pass, as a rollout does. The tables are kept in docs/statistics.md; a unit test runs a small
part.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus
from perennial.core import analysis, metrics, objective
from perennial.core.analysis import Block, Breach
from perennial.core.inputs import stamp
from perennial.core.observed import Defaults, Meta, Observed, ServingPod, StoreSettings, Workload

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "data": {
        "source": {"uri": "s3://simulated/"},
        "columns": [{"name": "x", "role": "feature"}, {"name": "t", "role": "time"}, {"name": "y", "role": "label"}],
    },
    "training": {"recipe": {}},
    "serving": {"route": {"parentRefs": [{"name": "gw"}], "path": "/"}},
}


@dataclass(slots=True)
class Waits:
    """Seconds that something took, by how it ended."""

    runs: int
    ends: dict[str, list[float]] = field(default_factory=dict)

    def add(self, end: str, seconds: float) -> None:
        """One run."""
        self.ends.setdefault(end, []).append(seconds)

    def share(self, end: str) -> float:
        """Of all runs, per cent."""
        return 100.0 * len(self.ends.get(end, [])) / self.runs

    def quantile(self, end: str, share: float) -> float:
        """Of the runs that ended so."""
        found = sorted(self.ends.get(end, []))
        return found[max(0, math.ceil(share * len(found)) - 1)] if found else math.inf

    def said(self, end: str) -> str:
        """A cell of the table."""
        if not self.ends.get(end):
            return "0 %"
        return f"{self.share(end):.1f} %; {self.quantile(end, 0.5):.0f} s, p90 {self.quantile(end, 0.9):.0f} s"


def odds_times(rate: float, factor: float) -> float:
    """The rate whose odds are `factor` times those of `rate`."""
    return factor * rate / (1.0 - rate + factor * rate)


def time_to_show(
    margin: float, truth: float, base: float, weight: float, *, seconds: float, runs: int, seed: int, look: float = 5.0
) -> Waits:
    """How long 100 requests a second take to show that harm is under the margin, where the odds ratio is `truth`."""
    chance, waits = np.random.default_rng(seed), Waits(runs)
    requests = round(100 * look)
    for _ in range(runs):
        state = analysis.start_margin(margin)
        for number in range(1, round(seconds / look) + 1):
            n1 = int(chance.binomial(requests, weight))
            s1 = int(chance.binomial(n1, odds_times(base, truth)))
            s0 = int(chance.binomial(requests - n1, base))
            state = analysis.advance_margin(state, Block(n1, s1, requests - n1, s0))
            if analysis.is_shown(state):
                waits.add("shown", number * look)
                break
    return waits


def bursts(
    size: int, *, guard: bool, harm_from: float | None, runs: int, seed: int, alpha: float = 0.05, seconds: int = 300
) -> Waits:
    """1 % bad answers that come `size` at a time in one arm, 100 requests a second, 10 % canary; harm adds 10 % single ones."""
    chance, waits = np.random.default_rng(seed), Waits(runs)

    def bad(total: int) -> int:
        if size == 1:
            return int(chance.binomial(total, 0.01))
        return min(total, size * int(chance.poisson(total * 0.01 / size)))

    for _ in range(runs):
        state, dispersion = analysis.start(1.0, 600.0), analysis.Dispersion()
        for second in range(1, seconds + 1):
            n1 = int(chance.binomial(100, 0.1))
            s1, s0 = bad(n1), bad(100 - n1)
            if harm_from is not None and second > harm_from:
                s1 = min(n1, s1 + int(chance.binomial(n1, 0.1)))
            factor = analysis.variance_factor(dispersion) if guard else 1.0
            state = analysis.advance(state, Block(n1, s1, 100 - n1, s0), float(second), factor)
            dispersion = analysis.counted(dispersion, 100 - n1, s0, float(second))
            if isinstance(analysis.judge("errors", state, alpha), Breach):
                early = harm_from is None or second <= harm_from
                waits.add("healthy" if early else "found", second - (0.0 if early else harm_from or 0.0))
                break
    return waits


@dataclass(frozen=True, slots=True)
class Fault:
    """1 % bad answers of both until `onset`, then these rates."""

    candidate: float
    stable: float
    weight: float
    """The candidate's share."""
    requests: int = 100
    """A second."""
    onset: int = 300
    lasts: int = 90
    endures: bool = False
    """Go on after an outage was found: what counts is whether anything is taken back."""
    planned: float = 3900.0


def objectives(fault: Fault, *, runs: int, seed: int) -> Waits:
    """What is first found of a fault with an objective of 2 % and falseRollbackRate 1 %: outage, or a breach and which."""
    chance, waits = np.random.default_rng(seed), Waits(runs)
    for _ in range(runs):
        end, seconds = _first_finding(fault, chance)
        waits.add(end if seconds > 0 else "before the fault", seconds)
    return waits


def _first_finding(fault: Fault, chance: np.random.Generator) -> tuple[str, float]:
    metric = {"name": "errors", "errors": {}, "objective": {"maxRate": 0.02}}
    observed = _observed({"falseRollbackRate": 0.01, "metrics": [metric]})
    wish = observed.spec.rollout.metrics[0]
    began = stamp(START)
    test = analysis.save("errors", 0.01, analysis.start(1.0, fault.planned))
    rollout = RolloutStatus(
        candidate=2, stable=1, started_at=began, saved_at=began, planned_seconds=fault.planned, metrics=[test], settled=True
    )
    second = 0
    while second < fault.onset + fault.lasts:
        look = 10 if second < fault.onset - 10 else 1
        failing = second >= fault.onset
        second += look
        observed = replace(observed, now=START + timedelta(seconds=second))
        n1 = int(chance.binomial(fault.requests * look, fault.weight))
        n0 = fault.requests * look - n1
        s1 = int(chance.binomial(n1, fault.candidate if failing else 0.01))
        s0 = int(chance.binomial(n0, fault.stable if failing else 0.01))
        moved = metrics.advanced(observed, rollout, rollout.metrics[0], wish, Block(n1, s1, n0, s0))
        rollout = rollout.model_copy(update={"metrics": [moved]})
        rollout, missed = objective.judged(observed, rollout, measured=True)
        verdict = analysis.judge("errors", analysis.resume(moved, fault.planned), moved.alpha)
        found = verdict if isinstance(verdict, Breach) else missed
        if found is not None:
            return found.reason, second - fault.onset
        if not fault.endures and objective.findings(rollout) and objective.findings(rollout)[0].type == "Outage":
            return "Outage", second - fault.onset
    return "nothing", fault.lasts


def _observed(rollout: dict[str, Any]) -> Observed:
    pods = {version: ServingPod(f"v{version}", f"pod-{version}", "10.0.0.1", START, True, START, False) for version in (1, 2)}
    return Observed(
        now=START,
        meta=Meta("ns", "simulated", "uid", 1, "1"),
        spec=ModelDeploymentSpec.model_validate({**SPEC, "rollout": rollout}),
        status=ModelDeploymentStatus(),
        defaults=Defaults("s", "t", 1, StoreSettings("s3://s/", "a", "b")),
        workloads=tuple(Workload(version, 1, True, (pod,)) for version, pod in pods.items()),
    )


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description="Simulate margins, objectives and the dispersion guard.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    began = time.monotonic()
    print(f"{options.runs} runs a line, seed {options.seed}\n")
    print("| margin | odds ratio in truth | bad | weight | shown |\n|---|---|---|---|---|")
    for margin, truth, base, weight in (
        (3.0, 1.0, 0.01, 0.5), (2.0, 1.0, 0.01, 0.5), (2.0, 1.0, 0.01, 0.1), (1.5, 1.0, 0.01, 0.5), (1.5, 1.0, 0.05, 0.5),
        (2.0, 0.5, 0.01, 0.5), (2.0, 2.0, 0.01, 0.5), (1.5, 1.5, 0.05, 0.1),
    ):  # fmt: skip
        shown = time_to_show(margin, truth, base, weight, seconds=1200.0, runs=options.runs, seed=options.seed)
        print(f"| {margin:g} | {truth:g} | {100 * base:g} % | {100 * weight:g} % | {shown.said('shown')} |", flush=True)
    print("\n| bursts of | guard | healthy, rolled back in 300 s | harm after 150 s: before it | found |\n|---|---|---|---|---|")
    for size in (1, 3, 5, 10):
        for guard in (False, True):
            healthy = bursts(size, guard=guard, harm_from=None, runs=options.runs, seed=options.seed)
            harm = bursts(size, guard=guard, harm_from=150.0, runs=options.runs, seed=options.seed)
            row = f"{healthy.share('healthy'):.1f} % | {harm.share('healthy'):.1f} % | {harm.said('found')}"
            print(f"| {size} | {'yes' if guard else 'no'} | {row} |", flush=True)
    print("\n| stage | fault | outage | ObjectiveMissed | CanaryWorse | neither, or before it |\n|---|---|---|---|---|---|")
    for stage, share in (("watch, 20 % held back", 0.8), ("watch, 10 %", 0.9), ("watch, 1 %", 0.99), ("step of 10 %", 0.1)):
        for name, candidate, stable in (("candidate alone, 10 %", 0.1, 0.01), ("both, 10 %", 0.1, 0.1), ("both, 50 %", 0.5, 0.5)):
            found = objectives(Fault(candidate, stable, share), runs=options.runs, seed=options.seed)
            rest = Counter({end: len(times) for end, times in found.ends.items()})
            others = sum(rest.values()) - rest["Outage"] - rest["ObjectiveMissed"] - rest["CanaryWorse"]
            cells = " | ".join(found.said(end) for end in ("Outage", "ObjectiveMissed", "CanaryWorse"))
            print(f"| {stage} | {name} | {cells} | {100.0 * others / options.runs:.1f} % |", flush=True)
    enduring = Fault(0.1, 0.1, 0.9, lasts=900, endures=True)
    found = objectives(enduring, runs=max(1, options.runs // 4), seed=options.seed)
    print(f"\nboth 10 % for 15 minutes, 10 % held back: nothing taken back in {found.share('nothing'):.1f} %")
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
