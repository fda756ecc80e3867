"""Columns of a Parquet file that may be larger than memory, looked at one at a time: whole, or evenly thinned out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Look:
    """Some of a long file: every so-manieth row group, and of these every so-manieth row. What is left out is not read."""

    groups: int = 1
    rows: int = 1

    @classmethod
    def at(cls, path: Path, groups: int, rows: int = sys.maxsize) -> Look:
        """At so many row groups and rows at most, evenly chosen."""
        with pyarrow.parquet.ParquetFile(path) as file:
            skipped = stride(file.num_row_groups, groups)
            return cls(skipped, stride(-(-file.metadata.num_rows // skipped), rows))

    @property
    def every(self) -> int:
        """One row stands for so many."""
        return self.groups * self.rows


def some_cells(path: Path, column: str, look: Look) -> pl.Series:
    """The cells that are looked at, in order, a row group at a time."""
    pieces, passed = [], 0
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        for group in range(0, file.num_row_groups, look.groups):
            cells = pl.Series(column, file.read_row_group(group, columns=[column]).column(0))
            pieces.append(cells.gather_every(look.rows, -passed % look.rows) if look.rows > 1 else cells)
            passed += len(cells)
    return pl.concat(pieces)


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
