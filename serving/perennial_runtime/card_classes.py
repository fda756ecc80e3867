"""What a model card shows of several classes: the confusion matrix, and each class by itself. `card` puts them into tables.

Names of classes come from the data, and counts of rows are told; no other value of a row is. Rows count all the same here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.metrics_multiclass import one_against_rest

MOST_SHOWN = 20
"""Classes of the confusion matrix: those with the most rows; the others together are one more."""
OTHERS = "(others)"
Floats = NDArray[np.float64]
Places = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Class:
    """A class on rows that the model never saw. None: there is no row to tell it by."""

    name: str
    rows: int
    answered: int
    """Rows that the model said it of."""
    precision: float | None
    """Share of those that are of it."""
    recall: float | None
    """Share of its rows that the model said it of."""
    auc: float | None
    """Of the class against all others."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many rows of each class (a line) the model took for each (a column)."""

    names: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Classes:
    """All that is shown of several classes."""

    each: Sequence[Class]
    confusion: Confusion


def classes(names: Sequence[str], labels: Places, scores: Floats) -> Classes:
    """Of labels as places among the names, and probabilities [rows, classes]."""
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(table, (labels, scores.argmax(axis=1)), 1)
    each = [_class(place, name, table, labels, scores) for place, name in enumerate(names)]
    return Classes(each, _confusion(names, table))


def _class(place: int, name: str, table: NDArray[np.int64], labels: Places, scores: Floats) -> Class:
    mine = labels == place
    hits, rows, answered = (int(found) for found in (table[place, place], table[place].sum(), table[:, place].sum()))
    both = 0 < rows < len(labels)
    return Class(
        name=name,
        rows=rows,
        answered=answered,
        precision=hits / answered if answered else None,
        recall=hits / rows if rows else None,
        auc=one_against_rest(mine, scores[:, place], np.ones(len(labels))).auc if both else None,
    )


def _confusion(names: Sequence[str], table: NDArray[np.int64]) -> Confusion:
    """The matrix, of the largest classes where there are many, in the order that they have anyway."""
    if len(names) <= MOST_SHOWN:
        return Confusion(names, table.tolist())
    largest = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[:MOST_SHOWN])
    group = np.full(len(names), MOST_SHOWN)
    group[largest] = np.arange(MOST_SHOWN)
    few = np.zeros((MOST_SHOWN + 1, MOST_SHOWN + 1), dtype=np.int64)
    np.add.at(few, (group[:, None], group[None, :]), table)
    return Confusion([*(names[place] for place in largest), OTHERS], few.tolist())
