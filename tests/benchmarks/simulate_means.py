"""How often the bounds of a mean are wrong: one-sided 95 % bounds by simulation, beside Student's and the bootstrap's.

    python tests/benchmarks/simulate_means.py [--runs 2000]

Costs of rows as they are met: few that cost much, long tails, and differences of two models, most of which are nothing. The truth
is a formula. Prints the table that is in docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "serving"))

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from perennial_runtime.means import mean_of

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Law:
    """What a row costs."""

    name: str
    draw: Draw
    truth: float


def fixed(share: float, cost: float) -> Draw:
    """So many rows cost so much, the others nothing."""
    return lambda random, rows: np.where(random.random(rows) < share, cost, 0.0)


def apart(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """What a model saves against another: nothing in nine of ten rows, and what is saved or lost has a long tail."""
    chance = random.random(rows)
    amount = random.lognormal(0.0, 1.0, rows)
    return np.where(chance < 0.06, amount, np.where(chance < 0.1, -amount, 0.0))


LAWS = (
    Law("2 % of the rows cost 100", fixed(0.02, 100.0), 2.0),
    Law("0.5 % of the rows cost 100", fixed(0.005, 100.0), 0.5),
    Law("exponential", lambda random, rows: random.exponential(1.0, rows), 1.0),
    Law("lognormal, sigma 1", lambda random, rows: random.lognormal(0.0, 1.0, rows), float(np.exp(0.5))),
    Law("lognormal, sigma 1.5", lambda random, rows: random.lognormal(0.0, 1.5, rows), float(np.exp(1.125))),
    Law("a difference, 90 % of the rows 0", apart, 0.02 * float(np.exp(0.5))),
)


def ours(values: NDArray[np.float64], random: np.random.Generator) -> Bounds:
    """Hall's, as gates have them."""
    found = mean_of(values)
    return found.lower, found.upper


def students(values: NDArray[np.float64], random: np.random.Generator) -> Bounds:
    """Mean and error by the t law."""
    half = stats.t.ppf(0.95, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def bootstraps(values: NDArray[np.float64], random: np.random.Generator) -> Bounds:
    """Percentiles of resampled means."""
    means = values[random.integers(0, len(values), (500, len(values)))].mean(axis=1)
    lower, upper = np.quantile(means, [0.05, 0.95])
    return float(lower), float(upper)


def wrong(law: Law, rows: int, runs: int, bounds: Callable[[NDArray[np.float64], np.random.Generator], Bounds]) -> str:
    """How often the lower bound was above the truth, and the upper one under it."""
    random = np.random.default_rng(rows)
    found = [bounds(law.draw(random, rows), random) for _ in range(runs)]
    above = sum(lower > law.truth for lower, _ in found)
    under = sum(upper < law.truth for _, upper in found)
    return f"{above / runs:.1%} / {under / runs:.1%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    print("| rows | what a row costs | ours: lower above / upper under the truth | Student's t | percentile bootstrap |")
    print("|---|---|---|---|---|")
    for rows in (200, 1000, 5000):
        for law in LAWS:
            cells = [wrong(law, rows, runs, bounds) for bounds in (ours, students)]
            print(
                f"| {rows} | {law.name} | {' | '.join(cells)} | {wrong(law, rows, max(1, runs // 4), bootstraps)} |", flush=True
            )


if __name__ == "__main__":
    main()
