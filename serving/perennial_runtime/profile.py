"""The profile of the training data that a Bento carries: what each feature looked like, and how the model scored it.

`perennial_runtime.evaluate` writes it as profile.json; a live replica can compare what it is asked with it. Quantiles are exact
and on a fixed grid, so the same data gives the same bytes; a sketch would not. Of more than MOST_ROWS rows every so-manieth is
looked at, and `every` says so: rows are in the order of their times. Of a file of more than MOST_GROUPS row groups so many are
read, evenly chosen: so many spans of the training data's time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.cpus import spread
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.scoring import NUMERIC, Schema

GRID = 101
"""Quantiles at 0, 1, .. 100 per cent."""
TOP_VALUES = 50
MOST_ROWS = 2_097_152
MOST_GROUPS = 32


def profile_document(
    schema: Schema, rows: int, every: int, column: Callable[[dict[str, Any]], Table], scores: NDArray[np.float64]
) -> dict[str, Any]:
    """profile.json: rows, features by name, and the distribution of scores. `column` gives a feature of every so-manieth row."""
    described = spread(lambda feature: _described(feature, column(feature)), schema["features"])
    features = {feature["name"]: found for feature, found in zip(schema["features"], described, strict=True)}
    thinned = {"every": every} if every > 1 else {}
    told = scores if scores.ndim == 1 else scores.max(axis=1)  # of several classes the most probable one's
    return {"rows": rows, **thinned, "features": features, "scores": _numeric(told)}


def _described(feature: dict[str, Any], table: Table) -> dict[str, Any]:
    name = feature["name"]
    return _numeric(table.numbers[name]) if feature["kind"] == NUMERIC else _categorical(*table.texts[name])


def read_profile(body: bytes) -> dict[str, Any]:
    """A profile as it was stored. Raises ValueError, KeyError or TypeError where it is none."""
    document = json.loads(body)
    features: dict[str, dict[str, Any]] = {}
    for name, found in document["features"].items():
        common = {"kind": str(found["kind"]), "count": int(found["count"]), "nullRate": float(found["nullRate"])}
        if common["kind"] != NUMERIC:
            top = {str(value): int(count) for value, count in found["top"].items()}
            features[str(name)] = {**common, "top": top, "remainder": int(found["remainder"])}
        else:
            quantiles = [float(value) for value in found["quantiles"]] if common["count"] else []
            features[str(name)] = {**common, "quantiles": quantiles}
    return {"rows": int(document["rows"]), "features": features}


def _numeric(column: NDArray[np.float64]) -> dict[str, Any]:
    present = column[np.isfinite(column)]
    found: dict[str, Any] = {"kind": "numeric", "count": len(present), "nullRate": _share(np.isnan(column))}
    if len(present) == 0:
        return found
    quantiles = np.quantile(present, np.linspace(0, 1, GRID), method="inverted_cdf")
    return found | {
        "min": float(present.min()),
        "max": float(present.max()),
        "mean": float(present.mean()),
        "standardDeviation": float(present.std()),
        "quantiles": [float(value) for value in quantiles],
    }


def _categorical(values: list[str], codes: NDArray[np.int32]) -> dict[str, Any]:
    counts = np.bincount(codes, minlength=len(values))
    present = [(values[place], int(count)) for place, count in enumerate(counts) if count and values[place] != ""]
    ranked = sorted(present, key=lambda item: (-item[1], item[0]))
    total = len(codes)
    return {
        "kind": "categorical",
        "count": sum(count for _, count in ranked),
        "nullRate": _share(np.array([value == "" for value in values], dtype=bool)[codes]) if total else 0.0,
        "distinct": len(ranked),
        "top": dict(ranked[:TOP_VALUES]),
        "remainder": sum(count for _, count in ranked[TOP_VALUES:]),
    }


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else 0.0
