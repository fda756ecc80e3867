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
_BEFORE = pl.Series(["", "-", "f", _MISSING])
"""What stands before the digits of a number: nothing, a minus, the mark of bits; alone: the mark of a missing cell."""


def row_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """blake2b-8 of each row's canonical text."""
    pieces: list[pl.Series | pl.Expr] = []
    for name in sorted(frame.columns):
        pieces += [pl.lit(_CELL)] if pieces else []
        pieces += _pieces(frame[name])
    lines = pl.select(pl.concat_str(pieces, ignore_nulls=True)).to_series().cast(pl.Binary).to_list()
    blake2b = hashlib.blake2b
    joined = b"".join([blake2b(line, digest_size=8).digest() for line in lines])
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _pieces(cells: pl.Series) -> list[pl.Series | pl.Expr]:
    """What makes up the cells' texts, side by side; null is no text."""
    kind = cells.dtype
    if kind.is_float() or kind.is_decimal():
        return list(_float_pieces(cells.cast(pl.Float64)))
    text = _canonical(cells)
    return [text.fill_null(_MISSING) if text.null_count() else text]


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
    """The cells as text (null where missing)."""
    sign, digits = _float_pieces(numbers)
    text = pl.select(pl.concat_str([sign, digits], ignore_nulls=True)).to_series().rename(numbers.name)
    return text.set(text == _MISSING, None)


def _float_pieces(numbers: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Whole numbers as their digits, others as their bits (a printed float depends on the printer's version): what stands before
    the digits, and the digits, null where missing. One cast for both kinds: it is most of the work of a row's hash."""
    numbers = numbers.fill_nan(None)
    missing = numbers.is_null().to_numpy()
    values = numbers.fill_null(0.5).to_numpy() + 0.0  # -0.0 becomes 0.0
    whole = (np.floor(values) == values) & (np.abs(values) < _EXACT)
    digits = np.ascontiguousarray(values).view(np.uint64).copy()
    digits[whole] = np.abs(values[whole]).astype(np.uint64)
    before = np.where(whole, (values < 0).astype(np.uint32), np.uint32(2))
    before[missing] = 3
    shown = pl.Series(numbers.name, digits)
    return _BEFORE.gather(before), (shown.set(pl.Series(missing), None) if missing.any() else shown).cast(pl.String)
