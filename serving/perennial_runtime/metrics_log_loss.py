"""The log loss of a classifier of two or of several classes, with one-sided 95 % bounds, alone and as a paired difference.

Each row's loss is -ln of the probability that its label was given, which counts as SMALLEST at least; the metric is their mean,
and less is better. It is a mean of a number of each row, so its bounds are those of such a mean (`means`), and a difference is
the mean of the rows' differences; with row weights they are the bootstrap's (`metrics_weighted`). Where all rows lose the same,
few rows are no certainty: of rows that lose otherwise there is at most the share that the exact binomial bound allows, and each
of them loses from 0 to -ln(SMALLEST). `measures` calls it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.means import mean_of
from perennial_runtime.metrics_offline import LEVEL, Estimate
from perennial_runtime.metrics_weighted import effective, mean, resampled

LOG_LOSS = "log_loss"
SMALLEST = 1e-15
LARGEST = -math.log(SMALLEST)
"""What a row can lose at most."""
Floats = NDArray[np.float64]


def losses(labels: NDArray[Any], scores: Floats) -> Floats:
    """Of each row. Labels are 0/1 beside scores [rows], or places of classes beside probabilities [rows, classes]."""
    told = np.where(labels, scores, 1.0 - scores) if scores.ndim == 1 else scores[np.arange(len(labels)), labels]
    found: Floats = np.abs(np.log(np.clip(told, SMALLEST, 1.0)))
    return found


def alone(labels: NDArray[Any], scores: Floats, seed: int, weights: Floats | None = None) -> Estimate:
    """The log loss of one classifier."""
    lost = losses(labels, scores)
    if weights is None:
        found, rows = mean_of(lost), float(len(lost))
    else:
        found, rows = resampled(mean(lost, weights), seed, len(lost)), effective(weights)
    if found.lower == found.upper:
        doubt = 1.0 - LEVEL ** (1.0 / max(1.0, rows))
        return Estimate(found.value, found.value * (1.0 - doubt), found.value + (LARGEST - found.value) * doubt)
    return Estimate(found.value, max(0.0, found.lower), found.upper)


def difference(
    labels: NDArray[Any], challenger: Floats, champion: Floats, *, seed: int, weights: Floats | None = None
) -> Estimate:
    """By how much less the challenger loses than the champion on the same rows."""
    gaps = losses(labels, champion) - losses(labels, challenger)
    return mean_of(gaps) if weights is None else resampled(mean(gaps, weights), seed, len(gaps))
