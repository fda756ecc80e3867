"""Columns of a Parquet file that may be larger than memory, looked at one at a time: whole, or evenly thinned out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet

COUNTED_ROWS = 1_000_000
MOST_GROUPS = 8
"""About a million rows as `spill` writes them."""
MOST_WORDS = 1_000_000
"""Different words that are counted at once. With more of them the rarer half is forgotten now and then."""


def rows_of(path: Path) -> int:
    """How many rows the file has."""
    with pyarrow.parquet.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def stride(rows: int, most: int) -> int:
    """Every so-manieth row makes at most `most` of them; 1: all."""
    return max(1, -(-rows // most))


def thinned(path: Path, columns: list[str], every: int) -> pl.DataFrame:
    """Rows 0, `every`, 2 * `every` .. of these columns."""
    lazy = pl.scan_parquet(path, hive_partitioning=False, glob=False).select(columns)
    if every > 1:
        lazy = lazy.with_row_index("__place").filter(pl.col("__place") % every == 0).drop("__place")
    return lazy.collect(engine="streaming")


def some_cells(path: Path, column: str) -> pl.Series:
    """The cells of MOST_GROUPS row groups at most, evenly chosen: a look at a column that costs the same however long it is."""
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        groups = range(0, file.num_row_groups, stride(file.num_row_groups, MOST_GROUPS))
        return pl.Series(column, file.read_row_groups(groups, columns=[column]).column(0))


def word_counts(path: Path, column: str) -> pl.DataFrame:
    """Columns word and len of the cells that hold one; the most frequent first, then by word."""
    found: pl.DataFrame | None = None
    for cells in _pieces(path, column):
        counts = cells.drop_nulls().to_frame("word").group_by("word").len()
        found = counts if found is None else pl.concat([found, counts]).group_by("word").agg(pl.col("len").sum())
        if found.height > MOST_WORDS:
            found = found.sort(["len", "word"], descending=[True, False]).head(MOST_WORDS // 2)
    if found is None:
        raise ValueError(f"{path.name} has no rows")
    return found.sort(["len", "word"], descending=[True, False])


def _pieces(path: Path, column: str) -> Iterator[pl.Series]:
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=COUNTED_ROWS, columns=[column]):
            yield pl.Series(column, batch.column(0), dtype=pl.String)
