"""Metrics of a classifier on a holdout, each with one-sided 95 % bounds, alone and as a paired difference of two classifiers.

`perennial_runtime.measures` measures the gates with it (and with `metrics_regression` and `metrics_weighted`, its neighbours);
`perennial.core.gates` turns the measurements into verdicts. Labels are
0/1, scores are probabilities of class 1, both as arrays of the same length; both classes must be there.

| metric | alone | challenger minus champion |
|---|---|---|
| roc_auc | DeLong's error (few rows: Hanley-McNeil's), Student's t, logit scale | DeLong's error of the difference, Student's t |
| average_precision | bootstrap over rows | paired bootstrap over rows |
| accuracy (score >= 0.5) | Wilson | Agresti-Min on the discordant rows |
| calibration_error | bootstrap over rows (`calibration`) | paired bootstrap; champion minus challenger, for less is better |

DeLong, DeLong, Clarke-Pearson: Biometrics 44 (1988) 837; the O(n log n) form: Sun, Xu: IEEE SPL 21 (2014) 1389. Hanley, McNeil:
Radiology 143 (1982) 29. Wilson: JASA 22 (1927) 209. Agresti, Min: Statistics in Medicine 24 (2005) 729. Their coverage here:
tests/benchmarks/simulate_gates.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import calibration

Z = 1.6448536269514722
"""Quantile of the normal law for one-sided 95 %."""
LEVEL = 0.05
THRESHOLD = 0.5
REPLICATES = 1000
FEWEST_REPLICATES = 200
CELLS = 200_000_000
"""Rows times replicates that a bootstrap may touch: larger holdouts get fewer replicates, their bounds are narrow anyway."""
CHUNK_CELLS = 4_000_000
SMALLEST_CLASS = 2
FEW_ROWS = 30
"""Under so many rows of a class DeLong's error is too small too often, and Hanley-McNeil's, which is larger, is used."""
MOST_NEEDED = 1_000_000_000
CALIBRATION = "calibration_error"

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its one-sided 95 % lower and upper bounds."""

    value: float
    lower: float
    upper: float


def judgeable(labels: Labels) -> bool:
    """Both classes have the rows that a variance needs."""
    positives = int(labels.sum())
    return min(positives, len(labels) - positives) >= SMALLEST_CLASS


def alone(metric: str, labels: Labels, scores: Floats, seed: int) -> Estimate:
    """The metric of one classifier."""
    if metric == "roc_auc":
        return _auc(labels, scores)
    if metric == "accuracy":
        return share(right(labels, scores))
    if metric == CALIBRATION:
        return _calibration(labels, scores, seed)
    return _average_precision(labels, scores, seed)


def difference(metric: str, labels: Labels, challenger: Floats, champion: Floats, seed: int) -> Estimate:
    """By how much the challenger is better than the champion on the same rows: of an error, by how much less it has."""
    if metric == "roc_auc":
        return _auc_difference(labels, challenger, champion)
    if metric == "accuracy":
        return share_difference(right(labels, challenger), right(labels, champion))
    if metric == CALIBRATION:
        return _calibration_difference(labels, challenger, champion, seed)
    return _average_precision_difference(labels, challenger, champion, seed)


def needed_rows(estimate: Estimate, limit: float, rows: int) -> int:
    """About how many rows would decide the gate (bounds shrink with the root of the rows); 0 when it is decided."""
    if estimate.lower >= limit or estimate.upper < limit:
        return 0
    above = estimate.value >= limit
    width = estimate.value - estimate.lower if above else estimate.upper - estimate.value
    distance = abs(estimate.value - limit)
    if distance * math.sqrt(MOST_NEEDED) <= width * math.sqrt(rows):
        return MOST_NEEDED
    needed = max(rows + 1, math.ceil(rows * (width / distance) ** 2))
    scale = 10 ** max(0, len(str(needed)) - 2)
    rounded: int = math.ceil(needed / scale) * scale
    return min(MOST_NEEDED, rounded)


def needed_rows_below(estimate: Estimate, limit: float, rows: int) -> int:
    """`needed_rows` of a gate with a maximum."""
    if estimate.upper <= limit:
        return 0
    return needed_rows(Estimate(-estimate.value, -estimate.upper, -estimate.lower), -limit, rows)


# ---- ROC AUC -----------------------------------------------------------------------------------------------------------------


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = last - (counts - 1) / 2.0
    return middle[inverse]


def _placements(labels: Labels, scores: Floats) -> tuple[float, Floats, Floats]:
    """AUC, and for each positive (negative) row the share of the other class that it is on the right side of."""
    positives, negatives = scores[labels], scores[~labels]
    ranks = _midranks(np.concatenate([positives, negatives]))
    of_positives = (ranks[: len(positives)] - _midranks(positives)) / len(negatives)
    of_negatives = 1.0 - (ranks[len(positives) :] - _midranks(negatives)) / len(positives)
    return float(of_positives.mean()), of_positives, of_negatives


def rank_auc(labels: Labels, scores: Floats) -> float:
    """The AUC alone; both classes must be there."""
    positives = int(labels.sum())
    above = float(_midranks(scores)[labels].sum()) - positives * (positives + 1) / 2
    return above / (positives * (len(labels) - positives))


def _auc(labels: Labels, scores: Floats) -> Estimate:
    auc, of_positives, of_negatives = _placements(labels, scores)
    error = math.sqrt(of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives))
    fewest = min(len(of_positives), len(of_negatives))
    if error == 0.0 or auc in (0.0, 1.0):
        return without_variance(auc, fewest)
    if fewest < FEW_ROWS:
        error = max(error, hanley_mcneil(auc, len(of_positives), len(of_negatives)))
    center, spread = math.log(auc / (1 - auc)), student(fewest - 1) * error / (auc * (1 - auc))
    return Estimate(auc, expit(center - spread), expit(center + spread))


def hanley_mcneil(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC under exponential scores."""
    better, worse = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (better - auc * auc) + (negatives - 1) * (worse - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def student(freedom: float) -> float:
    """One-sided 95 % quantile of Student's t, by its Cornish-Fisher expansion; Z when there are many rows."""
    first = (Z**3 + Z) / (4 * freedom)
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
    return Z + first + second


def without_variance(value: float, rows: int) -> Estimate:
    """Perfect on few rows is no certainty: the exact binomial bound for `rows` of `rows` (or none of them)."""
    doubt = 1.0 - LEVEL ** (1.0 / rows)
    return Estimate(value, max(0.0, value - doubt), min(1.0, value + doubt))


def _auc_difference(labels: Labels, challenger: Floats, champion: Floats) -> Estimate:
    first, positives, negatives = _placements(labels, challenger)
    second, other_positives, other_negatives = _placements(labels, champion)
    gap_positives, gap_negatives = positives - other_positives, negatives - other_negatives
    error = math.sqrt(gap_positives.var(ddof=1) / len(gap_positives) + gap_negatives.var(ddof=1) / len(gap_negatives))
    half = student(min(len(gap_positives), len(gap_negatives)) - 1) * error
    return Estimate(first - second, first - second - half, first - second + half)


def expit(value: float) -> float:
    """The reverse of the logit."""
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0


# ---- accuracy ----------------------------------------------------------------------------------------------------------------


def right(labels: Labels, scores: Floats) -> Labels:
    """Rows whose label the score tells."""
    found: Labels = (scores >= THRESHOLD) == labels
    return found


def share(flags: Labels) -> Estimate:
    """The share of true ones among at least one row, with Wilson's bounds."""
    rows, value = len(flags), float(flags.mean())
    center = (value + Z * Z / (2 * rows)) / (1 + Z * Z / rows)
    half = Z / (1 + Z * Z / rows) * math.sqrt(value * (1 - value) / rows + Z * Z / (4 * rows * rows))
    return Estimate(value, max(0.0, center - half), min(1.0, center + half))


def share_difference(ours: Labels, theirs: Labels) -> Estimate:
    """How much larger the share of true ones is in ours than in theirs, row by row, with Agresti and Min's bounds."""
    gained, lost, rows = int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours)
    total = rows + 2.0  # half a row added to each of the four cells: no discordant row is no certainty either
    center = (gained - lost) / total
    variance = (gained + lost + 1.0) / total - center**2
    half = Z * math.sqrt(max(variance, 0.0) / total)
    return Estimate((gained - lost) / rows, center - half, center + half)


# ---- average precision -------------------------------------------------------------------------------------------------------


class Ranked:
    """A classifier's rows in the order of its scores, for average precision under many row weights at once."""

    def __init__(self, labels: Labels, scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.labels = labels[self.order].astype(np.float64)
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # rows of equal score are one group
        self.ends = slice(None) if len(ends) == len(ordered) else ends  # a slice copies nothing

    def average_precision(self, weights: Floats) -> Floats:
        """One value for each row of `weights` [replicates, rows] (row counts): sum of precision times gain in recall."""
        ordered = weights[:, self.order]
        everything = np.cumsum(ordered, axis=1)[:, self.ends]
        hits = np.cumsum(ordered * self.labels, axis=1)[:, self.ends]
        precision = hits / np.where(everything > 0, everything, 1.0)  # where nothing was drawn yet, nothing was hit
        gained = precision[:, 0] * hits[:, 0] + np.einsum("ij,ij->i", precision[:, 1:], np.diff(hits, axis=1))
        value: Floats = gained / np.where(hits[:, -1] > 0, hits[:, -1], 1.0)
        return value


def bootstrap(rows: int, seed: int, statistic: Callable[[Floats], Floats]) -> Floats:
    """The statistic over resampled row weights: multinomial counts, in chunks of bounded memory."""
    replicates = int(min(REPLICATES, max(FEWEST_REPLICATES, CELLS // rows)))
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // rows)
    parts = []
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        drawn = random.integers(0, rows, size=(size, rows))
        drawn += np.arange(size)[:, None] * rows
        weights = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)
        parts.append(statistic(weights))
    return np.concatenate(parts)


def _average_precision(labels: Labels, scores: Floats, seed: int) -> Estimate:
    ranked = Ranked(labels, scores)
    value = float(ranked.average_precision(np.ones((1, len(labels))))[0])
    if value == 1.0:
        return without_variance(value, int(labels.sum()))
    lower, upper = np.quantile(bootstrap(len(labels), seed, ranked.average_precision), [LEVEL, 1 - LEVEL])
    return Estimate(value, min(value, float(lower)), max(value, float(upper)))


def _average_precision_difference(labels: Labels, challenger: Floats, champion: Floats, seed: int) -> Estimate:
    ours, theirs = Ranked(labels, challenger), Ranked(labels, champion)

    def gap(weights: Floats) -> Floats:
        return ours.average_precision(weights) - theirs.average_precision(weights)

    value = float(gap(np.ones((1, len(labels))))[0])
    lower, upper = np.quantile(bootstrap(len(labels), seed, gap), [LEVEL, 1 - LEVEL])
    return Estimate(value, min(value, float(lower)), max(value, float(upper)))


# ---- calibration error -------------------------------------------------------------------------------------------------------


def _calibration(labels: Labels, scores: Floats, seed: int) -> Estimate:
    found = calibration.errors(labels, scores, seed, bootstrap)
    return between(calibration.root(np.array([found.value])), calibration.root(found.centred))


def _calibration_difference(labels: Labels, challenger: Floats, champion: Floats, seed: int) -> Estimate:
    ours, theirs = (calibration.errors(labels, scores, seed, bootstrap) for scores in (challenger, champion))
    value = calibration.root(np.array([theirs.value])) - calibration.root(np.array([ours.value]))
    return between(value, calibration.root(theirs.centred) - calibration.root(ours.centred))


def between(value: Floats, replicates: Floats) -> Estimate:
    """Percentiles of the replicates as bounds."""
    lower, upper = np.quantile(replicates, [LEVEL, 1 - LEVEL])
    return Estimate(float(value[0]), min(float(value[0]), float(lower)), max(float(value[0]), float(upper)))
