"""The rows that `prepare` wrote -> the arrays that evaluate works on: features, labels, row hashes.

A file may be larger than memory: its rows come in batches (`tables`), and only what is one number for each row is whole
(and scores: of several classes one for each of them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet
from numpy.typing import NDArray

from perennial_runtime.columns import numbers_in
from perennial_runtime.contract import MULTICLASS, REGRESSION
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.scoring import CATEGORICAL, NUMERIC, Schema, classes_of, task_of
from perennial_runtime.tabular import rows_at_once

HASH_COLUMN = "__row_hash"
KNOWN_ROWS = 4_000_000
"""Hashes of training rows that are in memory at a time."""
Hashes = NDArray[np.uint64]


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns."""
    with pyarrow.parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def head(path: Path, rows: int, schema: Schema) -> pl.DataFrame:
    """The features of the first rows."""
    lazy = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    return lazy.select([feature["name"] for feature in schema["features"]]).head(rows).collect()


def tables(path: Path, schema: Schema, read: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame) -> Iterator[Table]:
    """The schema's features of all rows, a batch at a time; `read` may change a batch first."""
    names = [feature["name"] for feature in schema["features"]]
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        # one thread: while it reads, another process scores
        for batch in file.iter_batches(batch_size=rows_at_once(len(names)), columns=names, use_threads=False):
            yield read_table(read(pl.DataFrame(batch)), schema)


def seen_rows(hashes: Hashes, trained: Path) -> NDArray[np.bool_]:
    """Which rows are among those that a version was trained on; its hashes, which ascend, are read a piece at a time."""
    known = np.load(trained, mmap_mode="r", allow_pickle=False)
    pieces = (np.asarray(known[start : start + KNOWN_ROWS]) for start in range(0, len(known), KNOWN_ROWS))
    ordered = np.sort(hashes)
    found = [_among(ordered, piece) for piece in pieces]
    seen = np.concatenate(found) if found else ordered[:0]
    return np.isin(hashes, seen) if len(seen) else np.zeros(len(hashes), dtype=np.bool_)


def _among(ordered: Hashes, piece: Hashes) -> Hashes:
    """Those that the piece has too; both ascend."""
    near = ordered[np.searchsorted(ordered, piece[0]) : np.searchsorted(ordered, piece[-1], side="right")]
    common: Hashes = near[piece[np.searchsorted(piece, near)] == near]
    return common


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


def read_labels(path: Path, schema: Schema) -> NDArray[Any]:
    """The label column as booleans; of several classes as each label's place among them, of a regression as numbers."""
    if task_of(schema) == MULTICLASS:
        classes = list(classes_of(schema))
        cells = read_column(path, schema["label"])
        return cells.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64).to_numpy()
    if task_of(schema) == REGRESSION:
        return read_column(path, schema["label"]).cast(pl.Float64).to_numpy()
    labels: NDArray[np.bool_] = read_column(path, schema["label"]).cast(pl.Int8).to_numpy() == 1
    return labels


def read_weights(path: Path, schema: Schema) -> NDArray[np.float64] | None:
    """How much each row counts; None where all count the same."""
    name = schema.get("weight")
    return None if name is None else read_column(path, str(name)).cast(pl.Float64).to_numpy()


def read_hashes(path: Path) -> Hashes:
    """64-bit hashes of the source rows."""
    return read_column(path, HASH_COLUMN).cast(pl.UInt64).to_numpy()


def read_column(path: Path, name: str) -> pl.Series:
    """All of one column."""
    return pl.scan_parquet(path, hive_partitioning=False, glob=False).select(name).collect(engine="streaming")[name]


def newest(path: Path, time: str) -> int | None:
    """The latest time of a file, in microseconds since 1970; None where it has no rows."""
    moment = pl.col(time).cast(pl.Datetime("us", "UTC")).cast(pl.Int64).max()
    found: int | None = (
        pl.scan_parquet(path, hive_partitioning=False, glob=False).select(moment).collect(engine="streaming").item()
    )
    return found


class KindDiffers(ValueError):
    """A feature is not what a schema of other data says: its name and both kinds."""

    def __init__(self, name: str, wanted: str, found: str) -> None:
        super().__init__(f"{name} was {wanted} and is {found}")
        self.name = name
        self.wanted = wanted
        self.found = found


def in_kinds_of(schema: Schema, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the features in the kinds of `schema`, which was written for other data. Raises KindDiffers.

    Text that holds numbers alone, as a column of the role id does, is a number as it was in a CSV file (`columns`). A number
    can't become the text that it was: 7 may have been 7, 7.0 or 007.
    """
    return frame.with_columns([_in_kind(frame[item["name"]], item["kind"]) for item in schema["features"]])


def _in_kind(cells: pl.Series, wanted: str) -> pl.Series:
    found = CATEGORICAL if cells.dtype == pl.String else NUMERIC if cells.dtype.is_numeric() else f"of type {cells.dtype}"
    if found == wanted:
        return cells
    numbers = numbers_in(cells.set(cells == "", None)) if found == CATEGORICAL else None
    if numbers is None:
        raise KindDiffers(cells.name, wanted, found)
    return numbers
