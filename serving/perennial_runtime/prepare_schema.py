"""schema.json: what the training rows look like, for the trainer, `evaluate`, the serving API and its page.

    {"label": name, "time": name, "id": [...], "features": [{"name", "kind": "numeric", "nullable", "min", "max", "example"} |
                                                            {"name", "kind": "categorical", "nullable", "categories", "example"}]}

Told from the training rows alone (nothing of the holdout gets out), in the order of data.columns. Written by `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from perennial_runtime.columns import NUMERIC
from perennial_runtime.contract import Column

MOST_CATEGORIES = 50


def describe(train: pl.DataFrame, columns: Sequence[Column], kinds: dict[str, str]) -> dict[str, object]:
    """The document of schema.json."""
    names = {role: [column.name for column in columns if column.role == role] for role in ("feature", "label", "time", "id")}
    return {
        "label": names["label"][0],
        "time": names["time"][0] if names["time"] else None,
        "id": names["id"],
        "features": [_feature(train[name], kinds[name]) for name in names["feature"]],
    }


def _feature(cells: pl.Series, kind: str) -> dict[str, object]:
    base: dict[str, object] = {"name": cells.name, "kind": kind, "nullable": cells.null_count() > 0}
    known = cells.drop_nulls()
    if kind == NUMERIC:
        ordered = known.sort()
        middle = ordered[(len(ordered) - 1) // 2] if len(ordered) else None
        return {**base, "min": _number(known.min()), "max": _number(known.max()), "example": _number(middle)}
    counts = known.to_frame("word").group_by("word").len().sort(["len", "word"], descending=[True, False])
    categories = [str(word) for word in counts["word"].head(MOST_CATEGORIES)]
    return {**base, "categories": categories, "example": categories[0] if categories else None}


def _number(value: object) -> int | float | None:
    """A whole number without its .0: that is how a person would type it."""
    if not isinstance(value, (int, float)):
        return None
    return int(value) if float(value).is_integer() else float(value)
