"""The identity of a source row: 64 bits over all its cells, in every dataset and format the same.

A row is its cells in the order of the sorted column names; equal numbers are equal however they were typed (7, 7.0 and the CSV
text 7.00), a missing cell is a missing cell. The hash of a row depends on that row alone, so that `evaluate` can find, years
later, which holdout rows another version was trained on. Read by `prepare`.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import polars as pl
from numpy.typing import NDArray

_CELL = "\x1f"
_MISSING = "\x00"
_FLOAT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MARK = r"[.eE]"
_EXACT = 2.0**53


def row_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """blake2b-8 of each row's canonical text."""
    cells = [_canonical(frame[name]).fill_null(_MISSING) for name in sorted(frame.columns)]
    lines = pl.select(pl.concat_str(cells, separator=_CELL)).to_series()
    blake2b = hashlib.blake2b
    joined = b"".join([blake2b(line.encode(), digest_size=8).digest() for line in lines])
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _canonical(cells: pl.Series) -> pl.Series:
    """The cells as text (null where missing)."""
    kind = cells.dtype
    if kind.is_integer() or kind == pl.Boolean:
        return cells.cast(pl.String)
    if kind.is_float() or kind.is_decimal():
        return _float_text(cells.cast(pl.Float64))
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return _text(cells.cast(pl.String))
    if kind in (pl.Date, pl.Datetime):
        return "t" + cells.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.String)
    if kind in (pl.Duration, pl.Time):
        return "d" + cells.cast(pl.Int64).cast(pl.String)
    texts = [None if value is None else json.dumps(value, default=repr, sort_keys=True) for value in cells.to_list()]
    return pl.Series(cells.name, texts, dtype=pl.String)


def _text(cells: pl.Series) -> pl.Series:
    cells = cells.set(cells == "", None)
    decimal = cells.str.contains(_FLOAT) & cells.str.contains(_MARK)
    if not decimal.any():
        return cells
    numbers = cells.zip_with(decimal, pl.Series([None], dtype=pl.String).new_from_index(0, len(cells))).cast(pl.Float64)
    return _float_text(numbers).zip_with(decimal.fill_null(value=False), cells)


def _float_text(numbers: pl.Series) -> pl.Series:
    """Whole numbers as their digits, others as their bits (a printed float depends on the printer's version)."""
    numbers = numbers.fill_nan(None)
    values = numbers.fill_null(0.0).to_numpy() + 0.0  # -0.0 becomes 0.0
    bits = ("f" + pl.Series(numbers.name, np.ascontiguousarray(values).view(np.uint64)).cast(pl.String)).rename(numbers.name)
    whole = (np.floor(values) == values) & (np.abs(values) < _EXACT)
    digits = pl.Series(numbers.name, np.where(whole, values, 0.0).astype(np.int64)).cast(pl.String)
    texts = digits.zip_with(pl.Series(whole), bits)
    return texts.set(numbers.is_null(), None)
