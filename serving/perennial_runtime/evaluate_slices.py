"""The holdout in parts: each value of a slice column a slice, each slice against a gate's `minimumPerSlice`.

    holdout column -> slices (most rows first, at most MOST_SLICES) -> estimate and p of each that is large enough -> adjusted p

A slice with fewer rows than `minimum_rows` is not judged, and one that lacks a class is not where the metric needs all. p is
that of "the metric of this slice is at least the minimum", one-sided against "it is less":

| metric | p |
|---|---|
| accuracy | exact binomial: P(X <= right rows), X of all rows at the rate of the minimum |
| roc_auc | Student's t: (logit AUC - logit minimum) / error, error and freedom of `metrics_offline` (of several classes |
| | `metrics_multiclass`) |
| average_precision, and all of them with row weights | normal law: the same on the logit scale, the error from the bootstrap's |

They are adjusted over all judged slices of all gates and columns by Benjamini, Hochberg: JRSS B 57 (1995) 289: of the slices
that are said to be under their minimum (adjusted p <= SLICE_LEVEL) at most that share is wrong on average, also where slices
overlap and so depend positively (Benjamini, Yekutieli: Annals of Statistics 29 (2001) 1165). `evaluate_gates` calls it; the
verdict is `perennial.core.gates`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.contract import MOST_SLICES, MULTICLASS, SLICE_LEVEL, GateSpec, SliceFound, SlicesFound, SliceSpec
from perennial_runtime.measures import Sample, alone
from perennial_runtime.metrics_offline import Estimate, Z

NAME_LENGTH = 48
TOLD = 3
"""Slices that a gate tells by name, at most."""
MISSING = "(missing)"
ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class Slice:
    """A value of a slice column. `rows` are places among the judged rows."""

    name: str
    rows: NDArray[np.intp]
    minimum_rows: int


@dataclass(frozen=True, slots=True)
class Parted:
    """The slices of all columns, most rows first within each; and per column (values, rows) that were not looked at."""

    slices: tuple[Slice, ...]
    rest: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A slice that was large enough for a gate."""

    gate: int
    part: Slice
    estimate: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class SliceGate:
    """What one gate found: the numbers of its worst slice (zeros where none was judged) and all of them counted."""

    worst: Estimate
    found: SlicesFound


def part(column: Callable[[str], pl.Series], specs: Sequence[SliceSpec]) -> Parted:
    """The slices of the judged rows; `column` gives one of their columns, which is let go before the next."""
    slices: list[Slice] = []
    rest: dict[str, tuple[int, int]] = {}
    for spec in specs:
        values = column(spec.column).alias("value")
        whole = values.to_frame().with_row_index("row").group_by("value").agg(pl.col("row"))
        groups = whole.with_columns(size=pl.col("row").list.len()).sort(["size", "value"], descending=[True, False])
        largest = groups.head(MOST_SLICES)
        for value, rows in zip(largest["value"], largest["row"], strict=True):
            slices.append(Slice(_name(spec.column, value), rows.to_numpy().astype(np.intp), spec.minimum_rows))
        beyond = groups.slice(MOST_SLICES)
        if beyond.height:
            rest[spec.column] = (beyond.height, int(beyond["size"].sum()))
    return Parted(tuple(slices), rest)


def _name(column: str, value: Any) -> str:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        word = MISSING
    else:
        word = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    name = f"{column}={word}"
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}..."


def measure_slices(
    gates: Mapping[int, GateSpec], parted: Parted, sample: Sample, seed: int
) -> tuple[dict[int, SliceGate], dict[str, Any]]:
    """What each gate with `minimumPerSlice` (by its place) found, and all of it as a document. Rows are those of `part`."""
    judged = [one for place, gate in gates.items() for one in _judged(place, gate, parted, sample, seed)]
    adjusted = adjust([one.p for one in judged])
    results = {
        place: _gate([(one, p) for one, p in zip(judged, adjusted, strict=True) if one.gate == place], parted) for place in gates
    }
    return results, _document(gates, judged, adjusted, parted, sample)


def adjust(values: Sequence[float]) -> list[float]:
    """p-values adjusted by Benjamini and Hochberg."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - takes most of a second, and is needed for slices alone

    return [float(p) for p in false_discovery_control(np.array(values), method="bh")] if values else []


def _judged(place: int, gate: GateSpec, parted: Parted, sample: Sample, seed: int) -> Iterator[Judged]:
    for one in parted.slices:
        if _why_not(gate.metric, one, sample):
            continue
        ours = sample.of(one.rows)
        estimate = alone(gate.metric, ours, seed)
        yield Judged(place, one, estimate, p_under(gate.metric, estimate, gate.limit, ours))


def _why_not(metric: str, one: Slice, sample: Sample) -> str:
    """Why a slice is not judged; empty where it is."""
    if len(one.rows) < one.minimum_rows:
        return f"{len(one.rows)} rows, under {one.minimum_rows}"
    ours = sample.of(one.rows)
    if ours.weights is not None and not ours.weights.any():
        return f"{len(one.rows)} rows, all of weight 0"
    if metric != ACCURACY and not ours.judgeable(metric):
        return f"{len(one.rows)} rows, {'not 2 of each' if ours.task == MULTICLASS else 'nearly all of one'} class"
    return ""


def p_under(metric: str, estimate: Estimate, minimum: float, sample: Sample) -> float:
    """Chance of so low a value, or a lower one, of a slice that is at its minimum."""
    from scipy.stats import binom, norm, t  # noqa: PLC0415 - see `adjust`

    labels, counts_alike = sample.labels, sample.weights is None
    if metric == ACCURACY and counts_alike:
        return float(binom.cdf(int(sample.right.sum()), len(labels), minimum))
    fewest = len(labels) if metric == ACCURACY else int(np.unique(labels, return_counts=True)[1].min())
    bounds = (estimate.lower, estimate.value, estimate.upper)
    if not 0.0 < minimum < 1.0 or not all(0.0 < one < 1.0 for one in bounds) or estimate.upper == estimate.lower:
        return _without_error(estimate.value, minimum, fewest)
    lower, value, upper = (_logit(one) for one in bounds)
    if metric == "roc_auc" and counts_alike:
        law = t(fewest - 1)
        return float(law.cdf((value - _logit(minimum)) / ((value - lower) / law.ppf(0.95))))
    return float(norm.cdf((value - _logit(minimum)) / ((upper - lower) / (2 * Z))))


def _without_error(value: float, minimum: float, rows: int) -> float:
    """Where there is no error to go by: the exact binomial bound of `metrics_offline` turned round."""
    return 1.0 if value >= minimum else float((1.0 - (minimum - value)) ** rows)


def _logit(value: float) -> float:
    return math.log(value / (1.0 - value))


def _gate(judged: Sequence[tuple[Judged, float]], parted: Parted) -> SliceGate:
    ordered = sorted(judged, key=lambda item: (item[1], item[0].p, item[0].estimate.value))
    names = {one.part.name for one, _ in judged}
    thin = [one for one in parted.slices if one.name not in names]
    largest = max(thin, key=lambda one: len(one.rows), default=None)
    found = SlicesFound(
        judged=len(judged),
        not_judged=len(thin),
        under=sum(p <= SLICE_LEVEL for _, p in judged),
        told=tuple(_told(one, p) for one, p in ordered[:TOLD]),
        thin="" if largest is None else f"{largest.name} ({len(largest.rows)} rows)",
        rest=sum(values for values, _ in parted.rest.values()),
    )
    return SliceGate(ordered[0][0].estimate if ordered else Estimate(0.0, 0.0, 0.0), found)


def _told(one: Judged, p: float) -> SliceFound:
    return SliceFound(one.part.name, len(one.part.rows), round(one.estimate.value, 4), _up(one.estimate.upper), float(f"{p:.3g}"))


def _up(value: float) -> float:
    return math.ceil(value * 10_000) / 10_000


def _document(
    gates: Mapping[int, GateSpec], judged: Sequence[Judged], adjusted: Sequence[float], parted: Parted, sample: Sample
) -> dict[str, Any]:
    """Every slice of every gate, for the evidence in the store."""
    return {
        "judged": [
            {
                "gate": one.gate,
                "slice": one.part.name,
                "rows": len(one.part.rows),
                **({} if sample.task == MULTICLASS else {"positives": int(sample.labels[one.part.rows].sum())}),
                "estimate": one.estimate.value,
                "lower": one.estimate.lower,
                "upper": one.estimate.upper,
                "p": one.p,
                "adjusted": p,
            }
            for one, p in zip(judged, adjusted, strict=True)
        ],
        "notJudged": [
            {"gate": place, "slice": one.name, "why": why}
            for place, gate in gates.items()
            for one in parted.slices
            if (why := _why_not(gate.metric, one, sample))
        ],
        "rest": {column: {"values": values, "rows": rows} for column, (values, rows) in parted.rest.items()},
    }
