"""Metrics of a classifier of several classes on a holdout, each with one-sided 95 % bounds, alone and as a paired difference.

Labels are places of classes, scores are probabilities [rows, classes]; more is better of both metrics.

| metric | value | alone | challenger minus champion |
|---|---|---|---|
| accuracy | share of rows whose class is the most probable one (of equal ones the first) | Wilson | Agresti-Min |
| roc_auc | mean over the classes of the AUC of that class against the rest | see below, logit scale | see below |

Each class's AUC is a mean over its rows, and one over all the others, of DeLong's placements (`metrics_offline`): a row's
influence on it is (placement - AUC) / rows of its side. A row is on one side for each class, so the mean AUC moves by the mean of
its influences, and the variance is the sum of their squares: with n / (n - 1) within each class of n rows, as DeLong has it, and
the influence that a class has as a whole beside it, for the rows are drawn from all classes together and not a number of each.
Of two classes that is DeLong's variance to the digit. The covariances between the classes' AUCs are in it, for one row
carries all of its influences. A difference has the differences of both models' influences. A class with under FEW_ROWS rows gets
Hanley and McNeil's error where it is the larger one, one that is told perfectly the error of the exact binomial bound, and the
quantile is Student's by the rarest class.

Row weights multiply a row's placements and influence (linearization: Binder, International Statistical Review 51 (1983) 279);
rows are counted by their effective number then, and accuracy is resampled (`metrics_weighted`). `measures` calls it; coverage:
tests/benchmarks/simulate_multiclass.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.metrics_offline import (
    FEW_ROWS,
    LEVEL,
    SMALLEST_CLASS,
    Estimate,
    Z,
    expit,
    hanley_mcneil,
    share,
    share_difference,
    student,
    without_variance,
)
from perennial_runtime.metrics_weighted import effective, mean, measured, resampled

AUC = "roc_auc"
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[Any]
"""Of classes: whole numbers from 0."""


def judgeable(metric: str, labels: Places, classes: int) -> bool:
    """There are the rows that a variance needs; for the AUC of each class."""
    if metric == AUC:
        return int(np.bincount(labels, minlength=classes).min()) >= SMALLEST_CLASS
    return len(labels) >= SMALLEST_CLASS


def right(labels: Places, scores: Floats) -> Flags:
    """Rows whose class is the most probable one."""
    found: Flags = scores.argmax(axis=1) == labels
    return found


def alone(metric: str, labels: Places, scores: Floats, seed: int, weights: Floats | None = None) -> Estimate:
    """The metric of one classifier."""
    if metric == AUC:
        return _auc(labels, scores, weights)
    found = right(labels, scores)
    return share(found) if weights is None else measured(mean(found.astype(np.float64), weights), seed, weights)


def difference(
    metric: str, labels: Places, challenger: Floats, champion: Floats, *, seed: int, weights: Floats | None = None
) -> Estimate:
    """By how much the challenger is better than the champion on the same rows."""
    if metric == AUC:
        return _auc_difference(labels, challenger, champion, weights)
    ours, theirs = right(labels, challenger), right(labels, champion)
    if weights is None:
        return share_difference(ours, theirs)
    return resampled(mean(ours.astype(np.float64) - theirs, weights), seed, len(labels))


# ---- ROC AUC -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OneAgainstRest:
    """A class's AUC, and how each row moves it."""

    auc: float
    influence: Floats
    rows: float
    """The effective number of the class's rows."""
    others: float

    @property
    def doubt(self) -> float:
        """The least variance that few rows leave: 0 where there are enough of them."""
        fewest = min(self.rows, self.others)
        if self.auc in (0.0, 1.0):
            return float(((1.0 - LEVEL ** (1.0 / max(1.0, fewest))) / Z) ** 2)
        return hanley_mcneil(self.auc, self.rows, self.others) ** 2 if fewest < FEW_ROWS else 0.0


def one_against_rest(mine: Flags, scores: Floats, weights: Floats) -> OneAgainstRest:
    """Of the class whose rows are `mine`; both sides must have rows with a weight."""
    _, places = np.unique(scores, return_inverse=True)
    own, rest = (np.bincount(places, weights * side) for side in (mine, ~mine))
    own_up_to, rest_up_to = np.cumsum(own), np.cumsum(rest)
    below = (rest_up_to - rest / 2) / rest_up_to[-1]
    above = (own_up_to[-1] - own_up_to + own / 2) / own_up_to[-1]
    placed = np.where(mine, below[places], above[places])
    auc = min(1.0, float(np.average(placed[mine], weights=weights[mine])))
    shares = weights / np.where(mine, own_up_to[-1], rest_up_to[-1])
    return OneAgainstRest(auc, shares * (placed - auc), effective(weights[mine]), effective(weights[~mine]))


@dataclass(frozen=True, slots=True)
class _Mean:
    """The mean of all classes' AUCs."""

    auc: float
    influence: Floats
    fewest: float
    """Effective rows of the rarest class."""
    doubt: float
    """Variance to be added for classes with few rows."""


def _mean(labels: Places, scores: Floats, weights: Floats) -> _Mean:
    classes = scores.shape[1]
    influence, aucs, fewest, doubt = np.zeros(len(labels)), [], math.inf, 0.0
    for place in range(classes):
        mine = labels == place
        found = one_against_rest(mine, scores[:, place], weights)
        influence += found.influence / classes
        aucs.append(found.auc)
        fewest = min(fewest, found.rows)
        if found.doubt:
            doubt += max(0.0, found.doubt - _variance(found.influence, mine.astype(np.intp), weights)) / classes**2
    return _Mean(math.fsum(aucs) / classes, influence, fewest, doubt)


def _variance(influence: Floats, groups: Places, weights: Floats) -> float:
    """Of a sum of the rows' influences, which are 0 in all."""
    counts = weights > 0
    rows = np.bincount(groups, counts)
    known = rows > 0
    means = np.bincount(groups, influence * counts) / np.where(known, rows, 1.0)
    within = np.bincount(groups, np.where(counts, influence - means[groups], 0.0) ** 2)
    squares = np.bincount(groups, weights**2)
    alike = np.bincount(groups, weights) ** 2 / np.where(known, squares, 1.0)
    corrected = within * alike / np.maximum(alike - 1.0, np.finfo(np.float64).eps)
    return float((np.where(known, corrected, 0.0) + rows * means**2).sum())


def _auc(labels: Places, scores: Floats, weights: Floats | None) -> Estimate:
    own = np.ones(len(labels)) if weights is None else weights
    found = _mean(labels, scores, own)
    error = math.sqrt(_variance(found.influence, labels, own) + found.doubt)
    if found.auc in (0.0, 1.0) or error == 0.0:
        return without_variance(found.auc, max(1, int(found.fewest)))
    center = math.log(found.auc / (1.0 - found.auc))
    spread = _quantile(found.fewest) * error / (found.auc * (1.0 - found.auc))
    return Estimate(found.auc, expit(center - spread), expit(center + spread))


def _auc_difference(labels: Places, challenger: Floats, champion: Floats, weights: Floats | None) -> Estimate:
    own = np.ones(len(labels)) if weights is None else weights
    ours, theirs = (_mean(labels, one, own) for one in (challenger, champion))
    half = _quantile(ours.fewest) * math.sqrt(_variance(ours.influence - theirs.influence, labels, own))
    gap = ours.auc - theirs.auc
    return Estimate(gap, gap - half, gap + half)


def _quantile(rows: float) -> float:
    return student(max(1.0, rows - 1.0))
