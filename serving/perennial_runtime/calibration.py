"""How far probabilities are from what happens: the calibration error of a classifier, with one-sided 95 % bounds.

The holdout is cut at the deciles of the scores into bins of equal mass (equal scores are never separated). With d = score - label
of a row, the squared error is the mean over the bins, by rows, of (mean d)^2 - variance(d) / rows: the plug-in value less what
chance alone would make of it, which is unbiased (Kumar, Liang, Ma: NeurIPS 2019, section 4); the error is its root, 0 where
chance explains more. It is at least the expected calibration error (ECE) of these bins, and in the unit of the scores.

Bounds: percentiles of the bootstrap of the squared error over rows, bins fixed. A replicate is unbiased for the sample's plug-in
value, so all of them are moved by as much as that is over the unbiased one. A difference is of the two roots, paired by row.
Coverage: tests/benchmarks/simulate_gates.py. `metrics_offline` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
FEWEST = 2
"""Rows of a bin that a variance needs."""

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Bootstrap = Callable[[int, int, Callable[[Floats], Floats]], Floats]


@dataclass(frozen=True, slots=True)
class Errors:
    """Squared calibration errors: of the sample (unbiased, and plugged in), and unbiased of each replicate."""

    value: float
    plugged: float
    replicates: Floats

    @property
    def centred(self) -> Floats:
        """Replicates as they would lie about the value."""
        return self.replicates - self.plugged + self.value


class Binned:
    """A classifier's rows by bin, for the error under many row weights at once."""

    def __init__(self, labels: Labels, scores: Floats) -> None:
        edges = np.quantile(scores, np.linspace(0, 1, BINS + 1))
        places = np.searchsorted(edges[1:-1], scores)
        self.order = np.argsort(places, kind="stable")
        self.gaps = (scores - labels)[self.order]
        self.starts = np.flatnonzero(np.diff(places[self.order], prepend=-1))

    def squared(self, weights: Floats, own: Floats | None = None) -> tuple[Floats, Floats]:
        """Unbiased and plugged-in squared error for each row of `weights` [replicates, rows] (row counts); `own`: weights that
        the rows have by themselves."""
        ordered = weights[:, self.order]
        if own is not None:
            return self._weighed(ordered, own[self.order])
        rows = np.add.reduceat(ordered, self.starts, axis=1)
        means = np.add.reduceat(ordered * self.gaps, self.starts, axis=1) / np.maximum(rows, 1.0)
        squares = np.add.reduceat(ordered * self.gaps**2, self.starts, axis=1) / np.maximum(rows, 1.0)
        of_means = np.maximum(squares - means**2, 0.0) / np.maximum(rows - 1.0, 1.0)
        shares = rows / rows.sum(axis=1, keepdims=True)
        plugged = (shares * means**2).sum(axis=1)
        return plugged - np.where(rows >= FEWEST, shares * of_means, 0.0).sum(axis=1), plugged

    def _weighed(self, counts: Floats, own: Floats) -> tuple[Floats, Floats]:
        """The same with weighted means. The variance of one is sum w^2 (d - mean)^2 / (sum w)^2 times n / (n - 1), where n is the
        effective number of rows: the above where all weights are equal."""
        weights, squares = counts * own, counts * own**2

        def of(values: Floats) -> Floats:
            return np.asarray(np.add.reduceat(values, self.starts, axis=1))

        mass, masses = of(weights), of(squares)
        known = mass > 0
        total = np.where(known, mass, 1.0)
        means = of(weights * self.gaps) / total
        spread = of(squares * self.gaps**2) - 2 * means * of(squares * self.gaps) + means**2 * masses
        rows = np.where(known, total**2 / np.where(known, masses, 1.0), 0.0)
        of_means = np.maximum(spread, 0.0) / total**2 * rows / np.maximum(rows - 1.0, 1.0)
        shares = mass / mass.sum(axis=1, keepdims=True)
        plugged = (shares * means**2).sum(axis=1)
        return plugged - np.where(rows >= FEWEST, shares * of_means, 0.0).sum(axis=1), plugged


def errors(labels: Labels, scores: Floats, seed: int, bootstrap: Bootstrap, own: Floats | None = None) -> Errors:
    """The squared error with its replicates; `own` are the rows' weights, if they have any."""
    binned = Binned(labels, scores)
    value, plugged = binned.squared(np.ones((1, len(labels))), own)
    replicates = bootstrap(len(labels), seed, lambda counts: binned.squared(counts, own)[0])
    return Errors(float(value[0]), float(plugged[0]), replicates)


def root(squared: Floats) -> Floats:
    """The error itself; 0 where chance explains more than was found."""
    value: Floats = np.sqrt(np.maximum(squared, 0.0))
    return value
