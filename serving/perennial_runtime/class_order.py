"""Are the probabilities of several classes in the order of the classes? Two tables against each other, or one against labels.

`parity_check` asks it of a trainer's probabilities and its model's, `check_outputs` of a model's and the labels. numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST_JUDGED = 20
"""Rows with which an order is judged; as many others have found it."""
CLEARLY = 3.0
"""By so many standard errors another order must fit better."""
LEAST = 1e-3
"""Of probability, a row: a model that answers always the same differs by rounding."""

Order = tuple[int, ...]
"""Of each class the column that holds it."""


def same_in_another_order(expected: NDArray[np.float64], found: NDArray[np.float64], limit: float) -> Order | None:
    """Of each column of the one table that of the other which is within the limit in every row, where all have their own."""
    if expected.ndim != 2 or expected.shape != found.shape:
        return None
    distances = np.stack([np.abs(found - column[:, None]).max(axis=0) for column in expected.T])
    order = _greedy(-distances)
    return order if all(distances[place, column] <= limit for place, column in enumerate(order)) else None


def fits_better(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> Order | None:
    """The order of the columns that fits the labels (places among the classes, [N]) clearly better than the one they have.

    How a column goes along with a class is their covariance, which does not ask how often either is said: of calibrated
    probabilities it is the columns' own covariance matrix, in which the right order has the greatest sum (Cauchy-Schwarz). The
    even rows find the order and the odd ones judge it, for of many orders the best one always fits the rows that chose it.
    """
    places, found = labels[1::2], probabilities[1::2]
    if len(places) < FEWEST_JUDGED:
        return None
    order = _greedy(_going_along(labels[::2], probabilities[::2]))
    every, found = np.arange(len(places)), found - found.mean(axis=0)
    gain = found[every, np.asarray(order)[places]] - found[every, places]
    needed = max(LEAST, CLEARLY * float(gain.std(ddof=1)) / math.sqrt(len(gain)))
    return order if gain.mean() > needed else None


def moved(order: Order, names: Sequence[object]) -> list[tuple[int, object]]:
    """Of an order the columns that hold another class than they should, with its name, in their own order."""
    held = dict(zip(order, names, strict=True))
    return [(column, held[column]) for column in range(len(order)) if order[column] != column]


def _going_along(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances of each class with each column, times the rows."""
    centred = probabilities - probabilities.mean(axis=0)
    return np.stack([centred[labels == place].sum(axis=0) for place in range(probabilities.shape[1])])


def _greedy(worth: NDArray[np.float64]) -> Order:
    """For each row its own column, by the greatest worth first; among equals a row's own place goes first."""
    size = len(worth)
    ranked = sorted(np.ndindex(size, size), key=lambda cell: (-worth[cell], cell[0] != cell[1], cell))
    order: dict[int, int] = {}
    taken: set[int] = set()
    for place, column in ranked:
        if place not in order and column not in taken:
            order[place] = column
            taken.add(column)
    return tuple(order[place] for place in range(size))
