"""Which method measures a metric: `metrics_regression` for numbers, `metrics_multiclass` for several classes, `metrics_weighted`
for two classes of rows that have weights, `metrics_offline` for two classes of rows that all count the same, and
`metrics_log_loss` for that one of any classes. `evaluate_gates` and `evaluate_slices` ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import metrics_log_loss, metrics_multiclass, metrics_offline, metrics_regression, metrics_weighted
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION
from perennial_runtime.metrics_log_loss import LOG_LOSS
from perennial_runtime.metrics_offline import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the holdout: labels (of several classes their places, of a regression numbers), a model's scores (probabilities
    [rows, classes], predictions), and the rows' weights if they have any."""

    labels: NDArray[Any]
    scores: Floats
    weights: Floats | None = None
    task: str = CLASSIFICATION

    def of(self, rows: NDArray[Any]) -> Sample:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Sample(self.labels[rows], self.scores[rows], weights, self.task)

    @property
    def counted(self) -> NDArray[Any]:
        """Labels of the rows that have a weight at all."""
        return self.labels if self.weights is None else self.labels[self.weights > 0]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Rows whose class the model tells."""
        if self.task == MULTICLASS:
            return metrics_multiclass.right(self.labels, self.scores)
        return metrics_offline.right(self.labels, self.scores)

    def judgeable(self, metric: str) -> bool:
        """The rows that count are enough for it: of both classes, of each of several, or of different numbers."""
        if self.task == MULTICLASS:
            return metrics_multiclass.judgeable(metric, self.counted, self.scores.shape[1])
        if self.task == REGRESSION:
            return metrics_regression.judgeable(self.counted)
        return metrics_offline.judgeable(self.counted)


def alone(metric: str, sample: Sample, seed: int) -> Estimate:
    """The metric of one model."""
    labels, scores, weights = sample.labels, sample.scores, sample.weights
    if sample.task == REGRESSION:
        return metrics_regression.alone(metric, labels, scores, seed, weights)
    if metric == LOG_LOSS:
        return metrics_log_loss.alone(labels, scores, seed, weights)
    if sample.task == MULTICLASS:
        return metrics_multiclass.alone(metric, labels, scores, seed, weights)
    if weights is not None:
        return metrics_weighted.alone(metric, labels, scores, seed, weights)
    return metrics_offline.alone(metric, labels, scores, seed)


def difference(metric: str, sample: Sample, champion: Floats, seed: int) -> Estimate:
    """By how much the sample's scores are better than the champion's on the same rows: of an error, by how much less it is."""
    labels, ours, weights = sample.labels, sample.scores, sample.weights
    if sample.task == REGRESSION:
        return metrics_regression.difference(metric, labels, ours, champion, seed=seed, weights=weights)
    if metric == LOG_LOSS:
        return metrics_log_loss.difference(labels, ours, champion, seed=seed, weights=weights)
    if sample.task == MULTICLASS:
        return metrics_multiclass.difference(metric, labels, ours, champion, seed=seed, weights=weights)
    if weights is not None:
        return metrics_weighted.difference(metric, labels, ours, champion, seed=seed, weights=weights)
    return metrics_offline.difference(metric, labels, ours, champion, seed)
