"""Measures the gates: labels and scores in, GateMeasurements out, every one of them whether it will pass or not.

Called by `perennial_runtime.evaluate`, with the metrics of `measures`; the verdicts are `perennial.core.gates`'. Rows that either
version was trained on are left out of everything; a gate that compares with the serving version is not measured when nothing
serves. Neighbours: `evaluate_slices` for the parts of the holdout, `evaluate_facts` for what is no metric of the scores,
`evaluate_values` for metrics of the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION, GateMeasurement, GateSpec, SmallestClass
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_facts import Fact
from perennial_runtime.evaluate_slices import SliceGate
from perennial_runtime.evaluate_values import Own, measured
from perennial_runtime.measures import Sample, alone, difference
from perennial_runtime.metrics_multiclass import AUC
from perennial_runtime.metrics_offline import SMALLEST_CLASS, Estimate, needed_rows, needed_rows_below

MAXIMUM = "maximum"
PER_SLICE = "minimumPerSlice"
IN_THE_LABELS_UNIT = ("rmse", "mae")
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Blind:
    """The blind holdout, row by row. `champion` is None when nothing serves; NaN where the champion can't answer."""

    labels: NDArray[Any]
    """Classes, of several their places among `classes`, or the numbers of a regression."""
    scores: NDArray[np.float64]
    champion: NDArray[np.float64] | None
    seen: NDArray[np.bool_]
    """Rows that either version was trained on."""
    weights: NDArray[np.float64] | None = None
    task: str = CLASSIFICATION
    classes: tuple[str, ...] = ()
    """Of several, in the order of their probabilities."""

    @property
    def sample(self) -> Sample:
        """All rows, with the challenger's scores."""
        return Sample(self.labels, self.scores, self.weights, self.task)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows that count for a minimum."""
        return ~self.seen

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Rows that count for a comparison."""
        if self.champion is None:
            return self.judged
        return self.judged & ~unanswered(self.champion)


def unanswered(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that a model can't answer."""
    return np.asarray(np.isnan(scores.reshape(len(scores), -1)).any(axis=1))


@dataclass(frozen=True, slots=True)
class Beside:
    """What gates hold against a version besides the scores of the whole holdout."""

    facts: Mapping[str, Fact] = field(default_factory=dict)
    slices: Mapping[int, SliceGate] = field(default_factory=dict)
    """By the gate's place."""
    own: Mapping[str, Own] = field(default_factory=dict)


def measure(gates: Sequence[GateSpec], blind: Blind, seed: int, beside: Beside | None = None) -> tuple[GateMeasurement, ...]:
    """A measurement for each gate that can be measured, in order. Raises ModelRefused when too few rows are left."""
    beside = beside or Beside()
    found = [_measured(place, gate, blind, seed, beside) for place, gate in enumerate(gates)]
    return tuple(one for one in found if one is not None)


def _measured(place: int, gate: GateSpec, blind: Blind, seed: int, beside: Beside) -> GateMeasurement | None:
    if gate.minimum_per_slice is not None:
        part = beside.slices.get(place)
        return None if part is None else replace(_measurement(gate, part.worst, 0), slices=part.found)
    if gate.metric in beside.facts:
        fact = beside.facts[gate.metric]
        return _measurement(gate, fact.estimate, fact.rows)
    if gate.metric in beside.own:
        return _own(gate, blind, beside.own[gate.metric])
    if gate.not_worse_than_serving_by is None:
        rows = enough(blind, blind.judged, gate.metric)
        found = alone(gate.metric, blind.sample.of(rows), seed)
        return replace(_measurement(gate, found, int(rows.sum())), smallest=_smallest(blind, rows, gate.metric))
    if blind.champion is None:
        return None
    rows = enough(blind, blind.compared, gate.metric)
    found = difference(gate.metric, blind.sample.of(rows), blind.champion[rows], seed)
    return replace(_measurement(gate, found, int(rows.sum())), smallest=_smallest(blind, rows, gate.metric))


def _smallest(blind: Blind, rows: NDArray[np.bool_], metric: str) -> SmallestClass | None:
    """The class with the fewest of the rows (of equal ones the first), where the metric is a mean over the classes."""
    if blind.task != MULTICLASS or metric != AUC:
        return None
    return _fewest(blind, blind.labels[rows])


def _fewest(blind: Blind, labels: NDArray[Any]) -> SmallestClass:
    counts = np.bincount(labels, minlength=len(blind.classes))
    few = int(counts.argmin())
    return SmallestClass(blind.classes[few], int(counts[few]))


def _own(gate: GateSpec, blind: Blind, own: Own) -> GateMeasurement | None:
    rows = blind.judged if gate.not_worse_than_serving_by is None else blind.compared
    enough(blind, rows, gate.metric)
    found = measured(gate, own, blind.compared[blind.judged])
    return None if found is None else _measurement(gate, found, int(rows.sum()))


def enough(blind: Blind, rows: NDArray[np.bool_], metric: str) -> NDArray[np.bool_]:
    """Those of the rows that have a weight at all, if they can be judged by the metric. Raises ModelRefused."""
    counted = rows if blind.weights is None else rows & (blind.weights > 0)
    labels = blind.labels[counted]
    if blind.sample.of(counted).judgeable(metric):
        return counted
    of_class, needed = _lacking(blind, labels, metric)
    raise ModelRefused(
        "HoldoutTooSmall",
        f"{len(labels)} holdout rows{of_class} are left after dropping {int((~rows).sum())} that "
        f"a version was trained on or that the serving version can't score: {needed} are needed; add newer data",
    )


def _lacking(blind: Blind, labels: NDArray[Any], metric: str) -> tuple[str, str]:
    """Which rows are left, and which are needed."""
    if blind.task == REGRESSION:
        return "", "at least 2 of different labels"
    if blind.task == MULTICLASS and metric != AUC:
        return "", f"for {metric} at least {SMALLEST_CLASS}"
    if blind.task == MULTICLASS:
        few = _fewest(blind, labels)
        return f" ({few.rows} of class {few.name!r})", f"for {AUC} at least {SMALLEST_CLASS} of each class"
    return f" ({int(labels.sum())} of class 1)", "at least 2 of each class"


def _measurement(gate: GateSpec, found: Estimate, rows: int) -> GateMeasurement:
    exact = GateMeasurement(
        metric=gate.metric,
        kind=gate.kind,
        limit=gate.limit,
        estimate=found.value,
        lower=found.lower,
        upper=found.upper,
        needed_rows=0,
    )
    return shortened(exact, rows)


def shortened(gate: GateMeasurement, rows: int, decimals: int = DECIMALS) -> GateMeasurement:
    """Fewer decimals, for the termination message. Bounds are rounded outwards: a gate may turn undecided, never decided."""
    if gate.lower == gate.estimate == gate.upper:  # exact, and exact it stays
        value = round(gate.estimate, DECIMALS + _larger_by(gate))
        return replace(gate, estimate=value, lower=value, upper=value, needed_rows=0)
    decimals += _larger_by(gate)
    scale = 10.0**decimals
    lower = math.floor(gate.lower * scale) / scale
    upper = math.ceil(gate.upper * scale) / scale
    short = Estimate(round(gate.estimate, decimals), lower, upper)
    return replace(gate, estimate=short.value, lower=lower, upper=upper, needed_rows=_needed(gate, short, rows))


def _larger_by(gate: GateMeasurement) -> int:
    """How many decimals more a number in a unit of the user's needs: 0 for errors of about one, fewer for larger ones."""
    largest = max(abs(gate.lower), abs(gate.upper))
    return -math.floor(math.log10(largest)) if gate.metric in IN_THE_LABELS_UNIT and largest > 0 else 0


def _needed(gate: GateMeasurement, short: Estimate, rows: int) -> int:
    if gate.kind == PER_SLICE:
        return 0
    return (needed_rows_below if gate.kind == MAXIMUM else needed_rows)(short, gate.limit, rows)
