"""schema.json: what the training rows look like, for the trainer, `evaluate`, the serving API and its page.

    {"label": name, "time": name, "id": [...], "features": [{"name", "kind": "numeric", "nullable", "min", "max", "example"} |
                                                            {"name", "kind": "categorical", "nullable", "categories", "example"}]}

and, where a column has that role, "group", "synthetic" and "weight": name. A regression has "task": "regression" beside them,
several classes have "task": "multiclass" and "classes": [their labels in order]; without that it is a classification. Told from
the training rows alone (nothing of the holdout gets out), in the order of data.columns, a column at a time. The example of a
number is the middle one of some rows. Written by `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet

from perennial_runtime.columns import NUMERIC
from perennial_runtime.contract import CLASSIFICATION, Column
from perennial_runtime.cpus import spread
from perennial_runtime.sampling import MOST_GROUPS, Look, some_cells, word_counts

MOST_CATEGORIES = 50
_ROLES = ("feature", "label", "time", "id", "weight")


def describe(
    train: Path, columns: Sequence[Column], kinds: dict[str, str], task: str = CLASSIFICATION, classes: Sequence[str | int] = ()
) -> dict[str, object]:
    """The document of schema.json for the training rows in a Parquet file; `classes` where there are several."""
    names = {role: [column.name for column in columns if column.role == role] for role in ("feature", "label", "time", "id")}
    facts = _facts(train, [name for name in names["feature"] if kinds[name] == NUMERIC], names["feature"])
    look = Look.at(train, MOST_GROUPS)
    beside = {column.role: column.name for column in columns if column.role in ("group", "synthetic", "weight")}
    return {
        "label": names["label"][0],
        "time": names["time"][0] if names["time"] else None,
        "id": names["id"],
        **beside,
        "features": spread(lambda name: _feature(train, name, kinds[name], facts, look), names["feature"]),
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


def _feature(train: Path, name: str, kind: str, facts: dict[str, object], look: Look) -> dict[str, object]:
    base: dict[str, object] = {"name": name, "kind": kind, "nullable": facts[f"null:{name}"] != 0}
    if kind == NUMERIC:
        low, high = facts[f"min:{name}"], facts[f"max:{name}"]
        middle = _middle(some_cells(train, name, look).drop_nulls())
        return {**base, "min": _number(low), "max": _number(high), "example": _number(low if middle is None else middle)}
    categories = word_counts(train, name)["word"].head(MOST_CATEGORIES).to_list()
    return {**base, "categories": categories, "example": categories[0] if categories else None}


def _middle(known: pl.Series) -> float | None:
    """The lower median, without a sort."""
    if known.is_empty():
        return None
    place = (len(known) - 1) // 2
    return float(np.partition(known.to_numpy(), place)[place])


def _number(value: object) -> int | float | None:
    """A whole number without its .0: that is how a person would type it."""
    if not isinstance(value, (int, float)):
        return None
    return int(value) if float(value).is_integer() else float(value)
