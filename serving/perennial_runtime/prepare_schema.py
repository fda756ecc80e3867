"""schema.json: what the training rows look like, for the trainer, `evaluate`, the serving API and its page.

    {"label": name, "time": name, "id": [...], "features": [{"name", "kind": "numeric", "nullable", "min", "max", "example"} |
                                                            {"name", "kind": "categorical", "nullable", "categories", "example"}]}

and, where a column has that role, "group", "synthetic" and "weight": name. A regression has "task": "regression" beside them,
several classes have "task": "multiclass" and "classes": [their labels in order]; without that it is a classification. Told from
the training rows alone (nothing of the holdout gets out), in the order of data.columns, a column at a time. Written by `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet

from perennial_runtime.columns import NUMERIC
from perennial_runtime.contract import CLASSIFICATION, Column
from perennial_runtime.cpus import spread
from perennial_runtime.sampling import known_numbers, rows_of, stride, word_counts

MOST_CATEGORIES = 50
_ROLES = ("feature", "label", "time", "id", "weight")
MOST_ROWS = 16_777_216
"""Of a column in memory: beyond it the example of a numeric feature is the middle of evenly chosen rows, not of all."""


def describe(
    train: Path, columns: Sequence[Column], kinds: dict[str, str], task: str = CLASSIFICATION, classes: Sequence[str | int] = ()
) -> dict[str, object]:
    """The document of schema.json for the training rows in a Parquet file; `classes` where there are several."""
    names = {role: [column.name for column in columns if column.role == role] for role in ("feature", "label", "time", "id")}
    facts = _facts(train, [name for name in names["feature"] if kinds[name] == NUMERIC], names["feature"])
    beside = {column.role: column.name for column in columns if column.role in ("group", "synthetic", "weight")}
    return {
        "label": names["label"][0],
        "time": names["time"][0] if names["time"] else None,
        "id": names["id"],
        **beside,
        "features": spread(lambda name: _feature(train, name, kinds[name], facts), names["feature"]),
        **({} if task == CLASSIFICATION else {"task": task}),
        **({"classes": list(classes)} if classes else {}),
    }


def _facts(train: Path, numeric: Sequence[str], features: Sequence[str]) -> dict[str, object]:
    """min:NAME, max:NAME and null:NAME of all rows, as the file's own statistics tell them: `prepare` has just written it."""
    facts: dict[str, object] = {}
    with pyarrow.parquet.ParquetFile(train) as file:
        footer = file.metadata
        places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
        for name in features:
            found = [footer.row_group(group).column(places[name]).statistics for group in range(footer.num_row_groups)]
            facts[f"null:{name}"] = sum(one.null_count for one in found)
            if name in numeric:
                known = [one for one in found if one.has_min_max]
                facts[f"min:{name}"] = min((one.min for one in known), default=None)
                facts[f"max:{name}"] = max((one.max for one in known), default=None)
    return facts


def _feature(train: Path, name: str, kind: str, facts: dict[str, object]) -> dict[str, object]:
    base: dict[str, object] = {"name": name, "kind": kind, "nullable": facts[f"null:{name}"] != 0}
    if kind == NUMERIC:
        middle = _middle(train, name)
        low, high = facts[f"min:{name}"], facts[f"max:{name}"]
        return {**base, "min": _number(low), "max": _number(high), "example": _number(middle)}
    categories = word_counts(train, name)["word"].head(MOST_CATEGORIES).to_list()
    return {**base, "categories": categories, "example": categories[0] if categories else None}


def _middle(train: Path, name: str) -> float | None:
    """The lower median of what is known of a numeric column."""
    rows = rows_of(train)
    every = stride(rows, MOST_ROWS)
    known = known_numbers(train, name, every, np.empty(-(-rows // every)))
    if not len(known):
        return None
    known.partition((len(known) - 1) // 2)
    return float(known[(len(known) - 1) // 2])


def _number(value: object) -> int | float | None:
    """A whole number without its .0: that is how a person would type it."""
    if not isinstance(value, (int, float)):
        return None
    return int(value) if float(value).is_integer() else float(value)
