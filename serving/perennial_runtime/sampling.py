"""Columns of a Parquet file that may be larger than memory, looked at one at a time: whole, or evenly thinned out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet
from numpy.typing import NDArray

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
    """The cells of a column that are looked at, in order."""
    return some_rows(path, [column], look)[0][column]


def some_rows(path: Path, columns: list[str], look: Look) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The rows that are looked at, in order, and their places in the file; a row group at a time."""
    pieces, places, passed = [], [], 0
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        starts = np.cumsum([0] + [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        for group in range(0, file.num_row_groups, look.groups):
            rows = pl.DataFrame(file.read_row_group(group, columns=columns)).select(columns)  # they come in the file's order
            first = -passed % look.rows
            pieces.append(rows.gather_every(look.rows, first) if look.rows > 1 else rows)
            places.append(np.arange(starts[group] + first, starts[group + 1], look.rows))
            passed += rows.height
    return pl.concat(pieces), np.concatenate(places)


def word_counts(path: Path, column: str) -> pl.DataFrame:
    """Columns word and len of the cells that hold one; the most frequent first, then by word."""
    found: pl.DataFrame | None = None
    for counts in _counts(path, column):
        found = counts if found is None else pl.concat([found, counts]).group_by("word").agg(pl.col("len").sum())
        if found.height > MOST_WORDS:
            found = found.sort(["len", "word"], descending=[True, False]).head(MOST_WORDS // 2)
    if found is None:
        raise ValueError(f"{path.name} has no rows")
    return found.sort(["len", "word"], descending=[True, False])


def _counts(path: Path, column: str) -> Iterator[pl.DataFrame]:
    """Columns word and len, a piece of the file at a time. What the file has once, in a dictionary, is looked at once."""
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, read_dictionary=[column]) as file:
        for batch in file.iter_batches(batch_size=COUNTED_ROWS, columns=[column]):
            counts = batch.column(0).value_counts()
            words = pl.Series("word", counts.field("values").dictionary_decode(), dtype=pl.String)
            yield pl.DataFrame({"word": words, "len": pl.Series(counts.field("counts"), dtype=pl.UInt32)}).drop_nulls("word")
