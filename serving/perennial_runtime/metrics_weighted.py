"""Metrics of a classifier on rows that have weights, each with one-sided 95 % bounds, alone and as a paired difference.

The values are those of scikit-learn with `sample_weight`. The formulas of `metrics_offline` for bounds (DeLong, Wilson, Agresti
and Min) are of rows that all count the same, so that here every bound is a percentile of the bootstrap: a row is drawn with its
weight, and a difference has both classifiers on the same rows. Where no replicate differs, rows are counted by their effective
number, (sum of weights)^2 / sum of squared weights (Kish: Survey Sampling, 1965, 11.7). `measures` calls it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import calibration
from perennial_runtime.metrics_offline import CALIBRATION, Estimate, Ranked, between, bootstrap, right, without_variance

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Value = Callable[[Floats], Floats]
"""[replicates, rows] row counts -> a value for each replicate."""


def alone(metric: str, labels: Labels, scores: Floats, seed: int, weights: Floats) -> Estimate:
    """The metric of one classifier."""
    if metric == CALIBRATION:
        found = calibration.errors(labels, scores, seed, bootstrap, weights)
        return between(calibration.root(np.array([found.value])), calibration.root(found.centred))
    return measured(_value(metric, labels, scores, weights), seed, weights)


def difference(metric: str, labels: Labels, challenger: Floats, champion: Floats, *, seed: int, weights: Floats) -> Estimate:
    """By how much the challenger is better than the champion on the same rows: of an error, by how much less it has."""
    if metric == CALIBRATION:
        ours, theirs = (calibration.errors(labels, one, seed, bootstrap, weights) for one in (challenger, champion))
        value = calibration.root(np.array([theirs.value])) - calibration.root(np.array([ours.value]))
        return between(value, calibration.root(theirs.centred) - calibration.root(ours.centred))
    own, other = (_value(metric, labels, one, weights) for one in (challenger, champion))
    return resampled(lambda counts: own(counts) - other(counts), seed, len(labels))


def measured(value: Value, seed: int, weights: Floats) -> Estimate:
    """The value, from 0 to 1, on the rows as they are; perfect on few rows is no certainty."""
    estimate = resampled(value, seed, len(weights))
    if estimate.lower == estimate.upper:
        return without_variance(estimate.value, max(1, int(effective(weights))))
    return estimate


def resampled(value: Value, seed: int, rows: int) -> Estimate:
    """The value on the rows as they are, and percentiles of the bootstrap."""
    return between(value(np.ones((1, rows))), bootstrap(rows, seed, value))


def mean(values: Floats, weights: Floats) -> Value:
    """The weighted mean of a number of each row; exactly that number where all rows have the same, or the replicates would differ
    by rounding and look like an interval."""
    one = values[weights.argmax()]
    apart = values - one
    return lambda counts: np.asarray(one + (counts * weights) @ apart / (counts @ weights))


def effective(weights: Floats) -> float:
    """How many rows of one weight would say as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _value(metric: str, labels: Labels, scores: Floats, weights: Floats) -> Value:
    if metric == "roc_auc":
        pairs = _Pairs(labels, scores)
        return lambda counts: pairs.auc(counts * weights)
    if metric == "accuracy":
        return mean(right(labels, scores).astype(np.float64), weights)
    ranked = Ranked(labels, scores)
    return lambda counts: ranked.average_precision(counts * weights)


class _Pairs:
    """A classifier's rows in the order of its scores, for the AUC under many row weights at once."""

    def __init__(self, labels: Labels, scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.labels = labels[self.order].astype(np.float64)
        self.starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # rows of equal score are one group

    def auc(self, weights: Floats) -> Floats:
        """One value for each row of `weights` [replicates, rows]: the weight of pairs of both classes that are in order, those of
        equal scores by half. A replicate without one of the classes says nothing: 0.5."""
        ordered = weights[:, self.order]
        positives = np.add.reduceat(ordered * self.labels, self.starts, axis=1)
        negatives = np.add.reduceat(ordered * (1.0 - self.labels), self.starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        won = np.einsum("ij,ij->i", positives, below + negatives / 2)
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), 0.5)
