"""Measures the gates: labels and scores in, GateMeasurements out, every one of them whether it will pass or not.

Called by `perennial_runtime.evaluate`; the verdicts are `perennial.core.gates`'. Rows that either version was trained on are
left out of everything; a gate that compares with the serving version is not measured when nothing serves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import GateMeasurement, GateSpec
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.metrics_offline import Estimate, alone, difference, judgeable, needed_rows

MINIMUM = "minimum"
NOT_WORSE = "notWorseThanServingBy"
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Blind:
    """The blind holdout, row by row. `champion` is None when nothing serves; NaN where the champion can't answer."""

    labels: NDArray[np.bool_]
    scores: NDArray[np.float64]
    champion: NDArray[np.float64] | None
    seen: NDArray[np.bool_]
    """Rows that either version was trained on."""

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows that count for a minimum."""
        return ~self.seen

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Rows that count for a comparison."""
        return self.judged if self.champion is None else self.judged & ~np.isnan(self.champion)


def measure(gates: Sequence[GateSpec], blind: Blind, seed: int) -> tuple[GateMeasurement, ...]:
    """A measurement for each gate that can be measured, in order. Raises ModelRefused when too few rows are left."""
    found = []
    for gate in gates:
        if gate.minimum is not None:
            found.append(_minimum(gate.metric, gate.minimum, blind, seed))
        elif gate.not_worse_than_serving_by is not None and blind.champion is not None:
            found.append(_not_worse(gate.metric, gate.not_worse_than_serving_by, blind, blind.champion, seed))
    return tuple(found)


def _minimum(metric: str, limit: float, blind: Blind, seed: int) -> GateMeasurement:
    rows = _enough(blind, blind.judged)
    return _measurement(metric, MINIMUM, limit, alone(metric, blind.labels[rows], blind.scores[rows], seed), int(rows.sum()))


def _not_worse(metric: str, margin: float, blind: Blind, champion: NDArray[np.float64], seed: int) -> GateMeasurement:
    rows = _enough(blind, blind.compared)
    found = difference(metric, blind.labels[rows], blind.scores[rows], champion[rows], seed)
    return _measurement(metric, NOT_WORSE, 0.0 - margin, found, int(rows.sum()))


def _enough(blind: Blind, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels = blind.labels[rows]
    if judgeable(labels):
        return rows
    raise ModelRefused(
        "HoldoutTooSmall",
        f"{len(labels)} holdout rows ({int(labels.sum())} of class 1) are left after dropping {int((~rows).sum())} that "
        "a version was trained on or that the serving version can't score: at least 2 of each class are needed; add newer data",
    )


def _measurement(metric: str, kind: str, limit: float, found: Estimate, rows: int) -> GateMeasurement:
    exact = GateMeasurement(
        metric=metric, kind=kind, limit=limit, estimate=found.value, lower=found.lower, upper=found.upper, needed_rows=0
    )
    return shortened(exact, rows)


def shortened(gate: GateMeasurement, rows: int, decimals: int = DECIMALS) -> GateMeasurement:
    """Fewer decimals, for the termination message. Bounds are rounded outwards: a gate may turn undecided, never decided."""
    scale = 10**decimals
    lower = math.floor(gate.lower * scale) / scale
    upper = math.ceil(gate.upper * scale) / scale
    short = Estimate(round(gate.estimate, decimals), lower, upper)
    return replace(gate, estimate=short.value, lower=lower, upper=upper, needed_rows=needed_rows(short, gate.limit, rows))
