"""What a model card shows in numbers: curves on the blind holdout, calibration, residuals, and how far the training data moved.

`perennial_runtime.card` puts them into words and tables, `card_plots` into pictures. No value of a row comes out of here: scores,
shares and distances only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.metrics_offline import Estimate, judgeable, share, student

BINS = 10
FEWEST_PER_BIN = 5
HISTOGRAM = 20
MOST_POINTS = 150
Point = tuple[float, float]
Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of about the same score: their mean score, and the share of class 1 among them with its bounds."""

    score: float
    observed: Estimate
    rows: int


@dataclass(frozen=True, slots=True)
class Curves:
    """A classifier of two classes on rows that it never saw."""

    roc: list[Point]
    """(false positive rate, true positive rate)."""
    precision: list[Point]
    """(recall, precision)."""
    calibration: list[Bin]
    scores: tuple[list[Point], list[Point]]
    """Of class 0 and of class 1: (score, share of the class's rows)."""


@dataclass(frozen=True, slots=True)
class Residual:
    """Rows of about the same prediction: its mean, and how far the labels are over it on average, with the bounds of that mean.
    `spread` is the standard deviation of the residuals."""

    prediction: float
    mean: Estimate
    spread: float
    rows: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A feature in the training data of this version beside that of its parent.

    `distance`, from 0 to 1: of numbers Kolmogorov-Smirnov's, the largest difference of the two distribution functions, here at
    the 101 quantiles that a profile keeps; of categories the total variation, half the sum of the differences of their shares.
    """

    feature: str
    kind: str
    distance: float
    missing_before: float
    missing_now: float


def curves(labels: Labels, scores: Floats) -> Curves | None:
    """None where a class has too few rows to say anything."""
    if not judgeable(labels):
        return None
    hits, alarms = _cumulative(labels, scores)
    recall = hits / hits[-1]
    edges = np.linspace(0.0, 1.0, HISTOGRAM + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    shares = [np.histogram(scores[labels == label], edges)[0] / int((labels == label).sum()) for label in (False, True)]
    return Curves(
        roc=_thinned(np.append(0.0, (alarms - hits) / (alarms[-1] - hits[-1])), np.append(0.0, recall)),
        precision=_thinned(recall, hits / alarms),
        calibration=_calibration(labels, scores),
        scores=(_points(middles, shares[0]), _points(middles, shares[1])),
    )


def residuals(labels: Floats, predictions: Floats) -> list[Residual]:
    """Label minus prediction, in bins of the same number of rows by prediction; empty where a bin would have too few rows to say
    anything. Bounds are Student's."""
    if len(labels) < FEWEST_PER_BIN:
        return []
    places = _places(predictions, min(BINS, len(labels) // FEWEST_PER_BIN))
    found = []
    for place in np.unique(places):
        gaps = (labels - predictions)[places == place]
        if len(gaps) >= FEWEST_PER_BIN:
            middle, spread = float(gaps.mean()), float(gaps.std(ddof=1))
            half = student(len(gaps) - 1) * spread / math.sqrt(len(gaps))
            mean = Estimate(middle, middle - half, middle + half)
            found.append(Residual(float(predictions[places == place].mean()), mean, spread, len(gaps)))
    return found


def drift(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """Each feature that both profiles have with the same kind, the one that moved most first."""
    found = []
    for name, feature in now["features"].items():
        other = before["features"].get(name)
        if other is None or other["kind"] != feature["kind"]:
            continue
        distance = _categories_apart(other, feature) if feature["kind"] == "categorical" else _numbers_apart(other, feature)
        found.append(Drift(name, feature["kind"], distance, other["nullRate"], feature["nullRate"]))
    return sorted(found, key=lambda one: (-one.distance, one.feature))


def _cumulative(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """For each distinct score, from the highest on: how many rows of class 1 have at least that, and how many rows at all."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return np.cumsum(labels[order])[last].astype(np.float64), (last + 1).astype(np.float64)


def _calibration(labels: Labels, scores: Floats) -> list[Bin]:
    """Bins of the same number of rows, by score; rows of one score stay together."""
    places = _places(scores, BINS)
    return [
        Bin(float(scores[places == place].mean()), share(labels[places == place]), int((places == place).sum()))
        for place in np.unique(places)
    ]


def _places(scores: Floats, bins: int) -> NDArray[np.intp]:
    bounds = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    return np.searchsorted(bounds, scores, side="right")


def _numbers_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    if not one["count"] or not other["count"]:
        return float(bool(one["count"]) != bool(other["count"]))
    first, second = (np.asarray(found["quantiles"]) for found in (one, other))
    places = np.concatenate([first, second])
    below = [np.searchsorted(quantiles, places, side="right") / len(quantiles) for quantiles in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _categories_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """What is not among the most frequent ones is one category of its own."""
    if not one["count"] or not other["count"]:
        return float(bool(one["count"]) != bool(other["count"]))
    names = sorted({*one["top"], *other["top"]})
    shares = [
        np.array([*(found["top"].get(name, 0) for name in names), found["remainder"]]) / found["count"] for found in (one, other)
    ]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _thinned(across: Floats, up: Floats) -> list[Point]:
    kept = np.unique(np.linspace(0, len(across) - 1, min(len(across), MOST_POINTS)).round().astype(int))
    return _points(across[kept], up[kept])


def _points(across: Floats, up: Floats) -> list[Point]:
    return [(round(float(x), 4), round(float(y), 4)) for x, y in zip(across, up, strict=True)]
