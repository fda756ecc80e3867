"""Which method measures a metric: `metrics_regression` for numbers, `metrics_weighted` for classes of rows that have weights,
`metrics_offline` for classes of rows that all count the same. `evaluate_gates` and `evaluate_slices` ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import metrics_offline, metrics_regression, metrics_weighted
from perennial_runtime.contract import CLASSIFICATION, REGRESSION
from perennial_runtime.metrics_offline import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the holdout: labels (of a regression numbers), a model's scores (predictions), and the rows' weights if they have
    any."""

    labels: NDArray[Any]
    scores: Floats
    weights: Floats | None = None
    task: str = CLASSIFICATION

    def of(self, rows: NDArray[Any]) -> Sample:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Sample(self.labels[rows], self.scores[rows], weights, self.task)

    @property
    def judgeable(self) -> bool:
        """Those that count are enough: of both classes, or of different numbers."""
        labels = self.labels if self.weights is None else self.labels[self.weights > 0]
        return metrics_regression.judgeable(labels) if self.task == REGRESSION else metrics_offline.judgeable(labels)


def alone(metric: str, sample: Sample, seed: int) -> Estimate:
    """The metric of one model."""
    if sample.task == REGRESSION:
        return metrics_regression.alone(metric, sample.labels, sample.scores, seed, sample.weights)
    if sample.weights is not None:
        return metrics_weighted.alone(metric, sample.labels, sample.scores, seed, sample.weights)
    return metrics_offline.alone(metric, sample.labels, sample.scores, seed)


def difference(metric: str, sample: Sample, champion: Floats, seed: int) -> Estimate:
    """By how much the sample's scores are better than the champion's on the same rows: of an error, by how much less it is."""
    labels, ours, weights = sample.labels, sample.scores, sample.weights
    if sample.task == REGRESSION:
        return metrics_regression.difference(metric, labels, ours, champion, seed=seed, weights=weights)
    if weights is not None:
        return metrics_weighted.difference(metric, labels, ours, champion, seed=seed, weights=weights)
    return metrics_offline.difference(metric, labels, ours, champion, seed)
