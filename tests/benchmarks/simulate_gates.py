"""How often the offline gates' bounds are wrong: coverage of one-sided 95 % bounds by simulation, and the errors of verdicts.

    python tests/benchmarks/simulate_gates.py [--runs 400]

Scores are binormal: class 1 is shifted by d standard deviations. The champion sees a noisier version of the same signal, so the
two are paired as real models are; for the calibration error the challenger is made too sure of itself. The truth is a formula
(AUC) or two million rows. Prints two tables, of bounds (in docs/evaluation.md) and of false discoveries among slices.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "serving"))

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.calibration import Binned, root
from perennial_runtime.contract import SLICE_LEVEL
from perennial_runtime.evaluate_slices import adjust, p_under
from perennial_runtime.measures import Sample
from perennial_runtime.metrics_offline import CALIBRATION, Estimate, alone, difference, judgeable

METRICS = ("roc_auc", "average_precision", "accuracy")
TRUTH_ROWS = 2_000_000
NOISE = 0.5


@dataclass(frozen=True)
class Population:
    """A law of labels and of two models' scores."""

    shift: float
    prevalence: float
    sureness: float = 1.0
    """The challenger's logits are so many times what they should be."""

    def draw(self, rows: int, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Labels, challenger's scores, champion's scores."""
        labels = random.random(rows) < self.prevalence
        signal = random.normal(size=rows) + self.shift * labels
        noisy = (signal + NOISE * random.normal(size=rows)) / math.sqrt(1 + NOISE**2)
        return (
            labels,
            self._probability(signal, self.shift, self.sureness),
            self._probability(noisy, self.shift / math.sqrt(1 + NOISE**2)),
        )

    def _probability(self, signal: NDArray[Any], shift: float, sureness: float = 1.0) -> NDArray[Any]:
        """The posterior of class 1, calibrated where `sureness` is 1."""
        logit = shift * signal - shift**2 / 2 + math.log(self.prevalence / (1 - self.prevalence))
        return 1 / (1 + np.exp(-sureness * logit))


POPULATIONS = (Population(1.0, 0.3), Population(1.8, 0.3), Population(1.0, 0.05), Population(2.5, 0.1))
SURE = (Population(1.0, 0.3), Population(1.0, 0.3, 1.3), Population(1.8, 0.3, 1.5), Population(2.5, 0.1, 1.3))
"""For the calibration error."""
SIZES = (200, 1000, 5000)
SLICES, WORSE, SLICE_ROWS = 12, 3, (100, 300, 1000)


@cache
def truth(population: Population, metric: str) -> dict[str, float]:
    """The metric's value alone, and of the difference."""
    labels, ours, theirs = population.draw(TRUTH_ROWS, np.random.default_rng(1))
    own, other = (_value(metric, labels, scores) for scores in (ours, theirs))
    return {"alone": own, "difference": other - own if metric == CALIBRATION else own - other}


def _value(metric: str, labels: NDArray[Any], scores: NDArray[Any]) -> float:
    if metric == "accuracy":
        return float(((scores >= 0.5) == labels).mean())
    if metric == CALIBRATION:
        return float(root(Binned(labels, scores).squared(np.ones((1, len(labels))))[0])[0])
    ordered = labels[np.argsort(-scores)]
    if metric == "average_precision":
        hits = np.cumsum(ordered)
        return float((hits[ordered] / (np.flatnonzero(ordered) + 1)).mean())
    ranks = np.flatnonzero(~ordered)
    positives, negatives = int(ordered.sum()), len(ranks)
    return float((ranks - np.arange(negatives)).sum() / (positives * negatives))


def samples(population: Population, rows: int, runs: int) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]]:
    """Judgeable holdouts."""
    random = np.random.default_rng(rows)
    done = 0
    while done < runs:
        labels, ours, theirs = population.draw(rows, random)
        if judgeable(labels):
            done += 1
            yield labels, ours, theirs, done


def misses(population: Population, rows: int, runs: int, metric: str) -> dict[str, tuple[float, float]]:
    """For alone and difference: share of runs whose lower bound was above the truth, and whose upper bound was below it."""
    true = truth(population, metric)
    wrong = {"alone": [0, 0], "difference": [0, 0]}
    for labels, ours, theirs, seed in samples(population, rows, runs):
        found: dict[str, Estimate] = {
            "alone": alone(metric, labels, ours, seed),
            "difference": difference(metric, labels, ours, theirs, seed),
        }
        for kind, estimate in found.items():
            wrong[kind][0] += estimate.lower > true[kind]
            wrong[kind][1] += estimate.upper < true[kind]
    return {kind: (low / runs, high / runs) for kind, (low, high) in wrong.items()}


def discoveries(metric: str, rows: int, runs: int) -> tuple[float, float, float]:
    """SLICES slices, WORSE of them under the minimum and the others at it: (share of false ones among those that are said to be
    under, on average; runs with any where all are at it; share of the worse that are found)."""
    good, bad = Population(1.0, 0.3), Population(0.3, 0.3)
    minimum = truth(good, metric)["alone"]
    random = np.random.default_rng(rows)
    false, none, found = 0.0, 0.0, 0
    for _ in range(runs):
        values = [_p(metric, population, rows, minimum, random=random) for population in [good] * SLICES + [bad] * WORSE]
        under = np.array(adjust([*values[: SLICES - WORSE], *values[SLICES:]])) <= SLICE_LEVEL
        false += under[: SLICES - WORSE].sum() / max(1, under.sum())
        found += int(under[SLICES - WORSE :].sum())
        none += bool((np.array(adjust(values[:SLICES])) <= SLICE_LEVEL).any())
    return false / runs, none / runs, found / (runs * WORSE)


def _p(metric: str, population: Population, rows: int, minimum: float, *, random: np.random.Generator) -> float:
    while True:
        labels, scores, _ = population.draw(rows, random)
        if judgeable(labels):
            return p_under(metric, alone(metric, labels, scores, rows), minimum, Sample(labels, scores))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument(
        "--bootstrap-runs", type=int, default=150, help="runs of what is resampled, and of slices: it takes longer"
    )
    options = parser.parse_args()
    print("| rows | class 1 | shift | metric | lower bound above the truth: alone / difference | upper bound below the truth |")
    print("|---|---|---|---|---|---|")
    for rows in SIZES:
        for population, metric in [*itertools.product(POPULATIONS, METRICS), *((one, CALIBRATION) for one in SURE)]:
            runs = options.bootstrap_runs if metric in ("average_precision", CALIBRATION) else options.runs
            found = misses(population, rows, runs, metric)
            (low, high), (low_gap, high_gap) = found["alone"], found["difference"]
            sure = f", {population.sureness} times as sure" if metric == CALIBRATION else ""
            print(
                f"| {rows} | {population.prevalence:.0%} | {population.shift}{sure} | {metric} "
                f"| {low:.1%} / {low_gap:.1%} | {high:.1%} / {high_gap:.1%} |",
                flush=True,
            )
    print(f"\n| metric | rows of a slice | false discoveries, {WORSE} of {SLICES} worse | any, none worse | worse ones found |")
    print("|---|---|---|---|---|")
    for metric, rows in itertools.product(METRICS, SLICE_ROWS):
        false, none, found_share = discoveries(metric, rows, options.bootstrap_runs)
        print(f"| {metric} | {rows} | {false:.1%} | {none:.1%} | {found_share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
