"""Reads what the user's program said of each row, in a process of its own under resource limits.

`perennial_runtime.evaluate_sandbox` starts `python -m perennial_runtime.values_check <request.json>`, for any image may have
written the file (`evaluate_child`). The footer is judged first, and no other column than those of the metrics is ever decoded,
one at a time. `evaluate_values` says what becomes of the numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.contract import CHALLENGER_FILE
from perennial_runtime.evaluate_child import ModelRefused, carry_out

MOST = 1e12
"""As a gate's bounds: larger amounts are told in a larger unit."""


def check_footer(path: Path, names: Sequence[str], rows: int, shown: str = CHALLENGER_FILE) -> None:
    """Refused where the file has another number of rows, or a metric is no column of numbers."""
    try:
        kinds = pl.read_parquet_schema(path)
        found = int(pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as error:
        raise broken(shown, f"it can't be read as Parquet ({type(error).__name__})") from None
    if missing := [name for name in names if name not in kinds]:
        raise broken(shown, f"it has no column {' and no column '.join(missing)}")
    others = [f"{name} is {kinds[name]}" for name in names if not _is_number(kinds[name])]
    if others:
        raise broken(shown, f"{', '.join(others)}: a metric is a column of numbers")
    if found != rows:
        raise broken(shown, f"it has {found} rows for {rows} rows that were given")


def read_values(path: Path, name: str, rows: int, shown: str = CHALLENGER_FILE) -> NDArray[np.float64]:
    """The numbers of one metric, in the order of the rows. Refused where one is missing, not finite or too large."""
    try:
        column = pl.read_parquet(path, columns=[name], hive_partitioning=False, glob=False)[name].cast(pl.Float64)
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as error:
        raise broken(shown, f"column {name} can't be read ({type(error).__name__})") from None
    if len(column) != rows:
        raise broken(shown, f"column {name} has {len(column)} rows, and its footer says {rows}")
    values = column.fill_null(float("nan")).to_numpy()
    nulls, bad = column.null_count(), int((~np.isfinite(values)).sum())
    if bad:
        raise broken(shown, f"column {name}: {bad} of {len(values)} rows have no finite number ({nulls} of them none at all)")
    if large := int((np.abs(values) > MOST).sum()):
        raise broken(shown, f"column {name}: {large} of {len(values)} numbers are beyond {MOST:g}: take a larger unit")
    return values


def _is_number(kind: pl.DataType) -> bool:
    return kind.is_float() or kind.is_integer() or kind == pl.Boolean


def broken(shown: str, what: str) -> ModelRefused:
    """The refusal of a file of values."""
    return ModelRefused(
        "MetricValuesBroken",
        f"{shown} of the program in evaluation.metrics: {what}; write one finite number for each row and metric, in the order of "
        "the rows (docs/evaluation.md)",
    )


def _work(request: Mapping[str, Any], out: Path) -> None:
    path, names, rows, shown = Path(request["values"]), request["names"], int(request["rows"]), str(request["shown"])
    check_footer(path, names, rows, shown)
    for place, name in enumerate(names):
        np.save(out / f"{place}.npy", read_values(path, name, rows, shown))


if __name__ == "__main__":
    carry_out(sys.argv[1], _work)
