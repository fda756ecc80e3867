"""Parquet files -> the arrays that evaluate works on: features, labels, row hashes, and the trainer's own scores.

train.parquet and holdout.parquet were written by `prepare` and are trusted; parity.parquet was written by the trainer and is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.contract import PARITY_NAME, PARITY_ROWS
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.onnx_check import ModelRefused
from perennial_runtime.scoring import NUMERIC, Schema

HASH_COLUMN = "__row_hash"
PARITY_BYTES = 16 * 1024 * 1024
"""A file of 512 rows and two columns has a few kB."""


def read_table(frame: pl.DataFrame, schema: Schema) -> Table:
    """The schema's features of a frame."""
    numbers: dict[str, NDArray[np.float64]] = {}
    texts: dict[str, tuple[list[str], NDArray[np.int32]]] = {}
    for feature in schema["features"]:
        name = feature["name"]
        if feature["kind"] == NUMERIC:
            numbers[name] = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        else:
            texts[name] = _codes(frame[name].cast(pl.String).fill_null(""))
    return Table(rows=frame.height, numbers=numbers, texts=texts)


def _codes(column: pl.Series) -> tuple[list[str], NDArray[np.int32]]:
    values = column.unique().sort()
    lookup = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
    joined = column.to_frame("value").join(lookup, on="value", how="left", maintain_order="left")
    return values.to_list(), joined["code"].to_numpy()


def read_labels(frame: pl.DataFrame, schema: Schema) -> NDArray[np.bool_]:
    """The label column as booleans."""
    labels: NDArray[np.bool_] = frame[schema["label"]].cast(pl.Int8).to_numpy() == 1
    return labels


def read_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """64-bit hashes of the source rows."""
    return frame[HASH_COLUMN].cast(pl.UInt64).to_numpy()


def read_parity(path: Path, train_rows: int) -> NDArray[np.float64]:
    """The trainer's own scores of the first rows of train.parquet, in order. Raises ModelRefused for anything else."""
    expected = min(PARITY_ROWS, train_rows)
    size = path.stat().st_size
    if size > PARITY_BYTES:
        raise _broken(f"it has {size} bytes, for two columns and {expected} rows")
    try:
        frame = pl.read_parquet(path, n_rows=PARITY_ROWS + 1)
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as error:
        raise _broken(f"it is no Parquet file ({type(error).__name__})") from None
    missing = [name for name in ("row", "score") if name not in frame.columns]
    if missing:
        raise _broken(f"it has no column {' and no column '.join(missing)}")
    return _parity_scores(frame, expected)


def _parity_scores(frame: pl.DataFrame, expected: int) -> NDArray[np.float64]:
    if not frame.schema["row"].is_integer() or not frame.schema["score"].is_float():
        found = f"{frame.schema['row']} and {frame.schema['score']}"
        raise _broken(f"its columns row and score are {found}, not int64 and float64")
    rows: NDArray[Any] = frame["row"].drop_nulls().sort().to_numpy()
    if len(rows) != frame.height or not np.array_equal(rows, np.arange(expected)):
        raise _broken(f"its column row is not exactly 0 .. {expected - 1} (it has {frame.height} rows)")
    scores = frame.sort("row")["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if not np.isfinite(scores).all():
        raise _broken("its column score holds null, NaN or infinite values")
    return scores


def _broken(what: str) -> ModelRefused:
    return ModelRefused(
        "ParityBroken",
        f"{PARITY_NAME}: {what}; write columns row (int64) and score (float64) for the first rows of train.parquet",
    )
