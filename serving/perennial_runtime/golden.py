"""Golden requests: a few rows with the scores that the judged model gave, put into the Bento.

`perennial_runtime.golden_run` sends them through a serving pod before it turns ready: if the pod answers other scores, its
preprocessing, runtime or file is not what was judged (training-serving skew). Rows are chosen for variety: nulls, extremes,
every top category, then evenly over the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import CLASSIFICATION, output_of
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.parity_check import nearest
from perennial_runtime.predict import MAX_TEXT
from perennial_runtime.scoring import NUMERIC, Schema, task_of

ROWS = 32
MOST_TEXT = 32_768
"""Characters of one row, so that all rows together are a request of a size that is taken, however they are escaped."""
TOLERANCE = 1e-4


def golden_document(schema: Schema, table: Table, scores: NDArray[np.float64]) -> dict[str, Any]:
    """golden.json: {tolerance, rows, scores}, at most ROWS rows that the serving schema accepts; and what an answer is called,
    where that is not score. Of several classes a row's scores are a list."""
    chosen = choose(schema, table)
    columns = {name: column[chosen] for name, column in table.columns().items()}
    rows = [
        {feature["name"]: _value(feature, columns[feature["name"]][place]) for feature in schema["features"]}
        for place in range(len(chosen))
    ]
    task, wanted = task_of(schema), scores[chosen]
    of_numbers = {} if task == CLASSIFICATION else {"answer": output_of(task)}
    tolerance = nearest(wanted, TOLERANCE, task)
    return {"tolerance": tolerance, "rows": rows, "scores": wanted.tolist(), **of_numbers}


def choose(schema: Schema, table: Table, rows: int = ROWS) -> list[int]:
    """Row numbers, ascending: round-robin over what each feature has to show, filled up evenly. Raises ModelRefused."""
    allowed = np.flatnonzero(_servable(schema, table))
    if len(allowed) == 0:
        raise ModelRefused(
            "NoRowServable",
            f"every row holds a text of more than {MAX_TEXT} characters, or {MOST_TEXT} in all, which the predict API does not "
            "take: shorten that column, or leave it out of the features",
        )
    if len(allowed) <= rows:
        return [int(row) for row in allowed]
    interesting = [_interesting(feature, table, allowed) for feature in schema["features"]]
    chosen: dict[int, None] = {}
    while interesting and len(chosen) < rows // 2 + rows // 4:
        interesting = [source for source in interesting if _take(source, chosen)]
    for row in allowed[np.linspace(0, len(allowed) - 1, rows).astype(int)]:
        if len(chosen) < rows:
            chosen.setdefault(int(row))
    return sorted(chosen)[:rows]


def _take(source: Iterator[int], chosen: dict[int, None]) -> bool:
    row = next(source, None)
    if row is not None:
        chosen.setdefault(row)
    return row is not None


def _servable(schema: Schema, table: Table) -> NDArray[np.bool_]:
    """Rows that the typed predict API takes: no infinite number, no endless text, null only where training had nulls."""
    good = np.ones(table.rows, dtype=bool)
    characters = np.zeros(table.rows, dtype=np.int64)
    for feature in schema["features"]:
        name = feature["name"]
        if feature["kind"] == NUMERIC:
            column = table.numbers[name]
            good &= np.isfinite(column) | (np.isnan(column) & bool(feature["nullable"]))
            continue
        values, codes = table.texts[name]
        lengths = np.array([len(value) for value in values], dtype=np.int64)[codes]
        good &= (lengths <= MAX_TEXT) & ((lengths > 0) | bool(feature["nullable"]))
        characters += lengths
    return good & (characters <= MOST_TEXT)


def _interesting(feature: dict[str, Any], table: Table, allowed: NDArray[np.intp]) -> Iterator[int]:
    name = feature["name"]
    if feature["kind"] == NUMERIC:
        column = table.numbers[name][allowed]
        nulls = np.flatnonzero(np.isnan(column))
        yield from (int(allowed[place]) for place in nulls[:1])
        if len(nulls) < len(column):
            yield int(allowed[np.nanargmin(column)])
            yield int(allowed[np.nanargmax(column)])
        return
    values, codes = table.texts[name]
    present, first = np.unique(codes[allowed], return_index=True)
    rank = {value: place for place, value in enumerate(feature.get("categories", []))}
    found = [
        (-1 if values[code] == "" else rank.get(values[code], len(rank)), int(place))
        for code, place in zip(present, first, strict=True)
    ]
    yield from (int(allowed[place]) for _, place in sorted(found))


def _value(feature: dict[str, Any], value: Any) -> float | str | None:
    if feature["kind"] == NUMERIC:
        return None if np.isnan(value) else float(value)
    return None if value == "" and feature["nullable"] else str(value)
