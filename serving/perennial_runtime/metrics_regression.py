"""Metrics of predicted numbers on a holdout, each with one-sided 95 % bounds, alone and as a paired difference of two models.

| metric | value | better |
|---|---|---|
| rmse | root of the mean squared error, in the label's unit | less |
| mae | mean absolute error, in the label's unit | less |
| r2 | 1 - mean squared error / variance of the label on the same rows | more |

Bounds are percentiles of the bootstrap over rows (`metrics_offline.bootstrap`); a difference is resampled with both models on the
same rows, and positive where the challenger is better. With row weights every mean is a weighted one, as in scikit-learn, and a
row is drawn with its weight. `measures` calls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.metrics_offline import Estimate, between, bootstrap

METRICS = ("rmse", "mae", "r2")
MORE_IS_BETTER = ("r2",)
FEWEST = 2
Floats = NDArray[np.float64]


def judgeable(labels: Floats) -> bool:
    """There are rows enough, and they differ: else nothing is explained."""
    return len(labels) >= FEWEST and bool(np.ptp(labels) > 0)


class _Errors:
    """A model's errors, for its metrics under many row weights at once."""

    def __init__(self, labels: Floats, predictions: Floats) -> None:
        gaps = predictions - labels
        self._squares, self._sizes = gaps**2, np.abs(gaps)
        self._labels = labels - labels.mean()  # of large numbers that differ little the variance would be lost

    def value(self, metric: str, weights: Floats) -> Floats:
        """One value for each row of `weights` [replicates, rows]."""
        total = weights.sum(axis=1)
        if metric == "mae":
            return np.asarray(weights @ self._sizes / total)
        mean = weights @ self._squares / total
        if metric == "rmse":
            return np.asarray(np.sqrt(mean))
        variance = weights @ self._labels**2 / total - (weights @ self._labels / total) ** 2
        varies = variance > 0
        return np.where(varies, 1.0 - mean / np.where(varies, variance, 1.0), 0.0)  # 0: as scikit-learn has it


def alone(metric: str, labels: Floats, predictions: Floats, seed: int, weights: Floats | None = None) -> Estimate:
    """The metric of one model."""
    errors = _Errors(labels, predictions)
    own = np.ones(len(labels)) if weights is None else weights
    drawn = bootstrap(len(labels), seed, lambda counts: errors.value(metric, counts * own))
    return between(errors.value(metric, own[None, :]), drawn)


def difference(
    metric: str, labels: Floats, challenger: Floats, champion: Floats, *, seed: int, weights: Floats | None = None
) -> Estimate:
    """By how much the challenger is better than the champion on the same rows."""
    ours, theirs = _Errors(labels, challenger), _Errors(labels, champion)
    own = np.ones(len(labels)) if weights is None else weights
    sign = 1.0 if metric in MORE_IS_BETTER else -1.0

    def gap(counts: Floats) -> Floats:
        weighed = counts * own
        return sign * (ours.value(metric, weighed) - theirs.value(metric, weighed))

    return between(gap(np.ones((1, len(labels)))), bootstrap(len(labels), seed, gap))
