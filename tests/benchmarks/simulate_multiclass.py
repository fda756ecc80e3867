"""How often the bounds of several classes are wrong: one-sided 95 % bounds by simulation, with row weights and without.

    python tests/benchmarks/simulate_multiclass.py [--runs 1000]

Each class is seen as a normal number of its own that is shifted by so many standard deviations in the rows of the class, and the
scores are the posterior; the champion sees the same numbers through noise. Weights go with the class. The truth is a million
rows. Prints the table that is in docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "serving"))

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import MULTICLASS
from perennial_runtime.measures import Sample, alone, difference

METRICS = ("roc_auc", "accuracy", "log_loss")
NOISE = 0.7
TRUTHS, TRUTH_ROWS = 5, 200_000
SIZES = (200, 1000)
Array = NDArray[Any]


@dataclass(frozen=True)
class Population:
    """A law of labels, weights and two models' probabilities."""

    shares: tuple[float, ...]
    shift: float
    weighed: bool = False

    def draw(self, rows: int, random: np.random.Generator) -> tuple[Sample, Array]:
        """The challenger's rows, and the champion's probabilities of the same."""
        prior = np.array(self.shares)
        labels = random.choice(len(prior), rows, p=prior)
        seen = random.normal(size=(rows, len(prior))) + self.shift * np.eye(len(prior))[labels]
        noisy = seen + NOISE * random.normal(size=seen.shape)
        weights = random.gamma(2.0, 1.0, rows) * (1 + labels) if self.weighed else None
        ours = Sample(labels, self._posterior(seen, self.shift), weights, MULTICLASS)
        return ours, self._posterior(noisy, self.shift / (1 + NOISE**2))

    def _posterior(self, seen: Array, slope: float) -> Array:
        odds = np.exp(slope * seen) * np.array(self.shares)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


POPULATIONS = (
    Population((0.5, 0.3, 0.2), 1.0),
    Population((0.5, 0.3, 0.2), 2.0),
    Population((0.6, 0.36, 0.04), 1.0),
    Population((0.4, 0.3, 0.2, 0.07, 0.03), 2.5),
    Population((0.5, 0.3, 0.2), 1.0, weighed=True),
    Population((0.6, 0.36, 0.04), 1.0, weighed=True),
)


@cache
def truth(population: Population, metric: str) -> dict[str, float]:
    """The metric's value alone, and of the difference."""
    found = []
    for seed in range(TRUTHS):
        ours, theirs = population.draw(TRUTH_ROWS, np.random.default_rng(seed))
        found.append((alone(metric, ours, 0).value, difference(metric, ours, theirs, 0).value))
    own, gap = np.mean(found, axis=0)
    return {"alone": float(own), "difference": float(gap)}


def misses(population: Population, rows: int, runs: int, metric: str) -> dict[str, tuple[float, float]]:
    """For alone and difference: share of runs whose lower bound was above the truth, and whose upper bound was below it."""
    true, random = truth(population, metric), np.random.default_rng(rows)
    wrong = {"alone": [0, 0], "difference": [0, 0]}
    done = 0
    while done < runs:
        ours, theirs = population.draw(rows, random)
        if not ours.judgeable(metric):
            continue
        done += 1
        for kind, found in (("alone", alone(metric, ours, done)), ("difference", difference(metric, ours, theirs, done))):
            wrong[kind][0] += found.lower > true[kind]
            wrong[kind][1] += found.upper < true[kind]
    return {kind: (low / runs, high / runs) for kind, (low, high) in wrong.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--bootstrap-runs", type=int, default=150, help="runs of what is resampled: it takes longer")
    options = parser.parse_args()
    print("| rows | classes | shift | metric | lower bound above the truth: alone / difference | upper bound below the truth |")
    print("|---|---|---|---|---|---|")
    for rows, population, metric in itertools.product(SIZES, POPULATIONS, METRICS):
        resampled = population.weighed and metric != "roc_auc"
        found = misses(population, rows, options.bootstrap_runs if resampled else options.runs, metric)
        (low, high), (low_gap, high_gap) = found["alone"], found["difference"]
        shares = ", ".join(f"{share:.0%}" for share in population.shares)
        print(
            f"| {rows} | {shares}{', weights' if population.weighed else ''} | {population.shift} | {metric} "
            f"| {low:.1%} / {low_gap:.1%} | {high:.1%} / {high_gap:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
