"""The identity of a source row: 64 bits over all its cells, in every dataset and format the same.

A row is its cells in the order of the sorted column names; equal numbers are equal however they were typed (7, 7.0 and the CSV
text 7.00), a missing cell is a missing cell. The hash of a row depends on that row alone, so that `evaluate` can find, years
later, which holdout rows another version was trained on. Read by `prepare`; `row_text` writes the cells side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import row_text
from perennial_runtime.row_text import EXACT, MISSING, Numbers, Texts

_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MARK = r"[.eE]"
_FIRST = np.isin(np.arange(256), list(b"+-.0123456789"))
"""Bytes that a number may begin with."""
_BEFORE = pl.Series(["", "-", "f", MISSING])
"""What stands before the digits of a number: nothing, a minus, the mark of bits; alone: the mark of a missing cell."""
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


def row_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """blake2b-8 of each row's canonical text."""
    pieces = list(_pieces([_column(frame[name]) for name in sorted(frame.columns)]))
    blank, found = hashlib.blake2b(digest_size=8), []
    for text, begins in row_text.lines(pieces, frame.height):
        for start, end in pairwise(begins):
            row = blank.copy()  # cheaper than a new one with its parameters
            row.update(text[start:end])
            found.append(row.digest())
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A column that `row_text` prints: Float64, Int64 or UInt64, and what stands before its digits."""

    cells: pl.Series
    mark: str = " "


def _column(cells: pl.Series) -> _Numbers | Texts:
    """The cells, ready to be written side by side."""
    kind = cells.dtype
    if kind.is_float() or kind.is_decimal():
        return _Numbers(cells.cast(pl.Float64))
    if kind in _INTEGERS:
        return _Numbers(cells if kind == pl.UInt64 else cells.cast(pl.Int64))
    if kind in (pl.Date, pl.Datetime):
        return _Numbers(cells.cast(pl.Datetime("us")).cast(pl.Int64), "t")
    if kind in (pl.Duration, pl.Time):
        return _Numbers(cells.cast(pl.Int64), "d")
    return _canonical(cells)


def _pieces(columns: Sequence[_Numbers | Texts]) -> Iterator[Numbers | Texts]:
    """Neighbouring columns of numbers of one type are written together."""
    for _, group in groupby(columns, lambda column: column.cells.dtype if isinstance(column, _Numbers) else id(column)):
        together = list(group)
        numbers = [column for column in together if isinstance(column, _Numbers)]
        yield from (column for column in together if not isinstance(column, _Numbers))
        if numbers:
            yield _together(numbers)


def _together(columns: Sequence[_Numbers]) -> Numbers:
    cells = [column.cells for column in columns]
    if cells[0].dtype == pl.Float64:
        return row_text.Floats(pl.DataFrame(cells))
    missing = [each.is_null().to_numpy() if each.null_count() else None for each in cells]
    return row_text.Integers(
        pl.DataFrame([each.fill_null(0) for each in cells]), missing, "".join(column.mark for column in columns)
    )


def _canonical(cells: pl.Series) -> Texts:
    """The cells as text (null where missing)."""
    kind = cells.dtype
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return _text(cells.cast(pl.String))
    if kind.is_integer() or kind == pl.Boolean:
        return Texts(cells.cast(pl.String).to_arrow())
    texts = [None if value is None else json.dumps(value, default=repr, sort_keys=True) for value in cells.to_list()]
    return Texts(pl.Series(cells.name, texts, dtype=pl.String).to_arrow())


def _text(cells: pl.Series) -> Texts:
    empty = cells == ""
    cells = cells.set(empty, None) if empty.any() else cells
    words = Texts(cells.to_arrow())
    if not _may_be_numbers(words):
        return words
    decimal = cells.str.contains(_FLOAT) & cells.str.contains(_MARK)
    if not decimal.any():
        return words
    numbers = cells.zip_with(decimal, pl.Series([None], dtype=pl.String).new_from_index(0, len(cells))).cast(pl.Float64)
    return Texts(_float_text(numbers).zip_with(decimal.fill_null(value=False), cells).to_arrow())


def _may_be_numbers(words: Texts) -> bool:
    """Whether any begins like a number: most columns of words are known by that."""
    _, begins, text = words.cells.buffers()
    first, rows = words.cells.offset, len(words.cells)
    places = np.frombuffer(begins, dtype=np.int64)[first : first + rows + 1]
    firsts = places[:-1][places[1:] > places[:-1]]
    return bool(_FIRST[np.frombuffer(text, dtype=np.uint8)[firsts]].any()) if len(firsts) else False


def _float_text(numbers: pl.Series) -> pl.Series:
    """The cells as text (null where missing)."""
    sign, digits = _float_pieces(numbers)
    text = pl.select(pl.concat_str([sign, digits], ignore_nulls=True)).to_series().rename(numbers.name)
    return text.set(text == MISSING, None)


def _float_pieces(numbers: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Whole numbers as their digits, others as their bits (a printed float depends on the printer's version): what stands before
    the digits, and the digits, null where missing."""
    numbers = numbers.fill_nan(None)
    missing = numbers.is_null().to_numpy()
    values = numbers.fill_null(0.5).to_numpy() + 0.0  # -0.0 becomes 0.0
    whole = (np.floor(values) == values) & (np.abs(values) < EXACT)
    digits = np.ascontiguousarray(values).view(np.uint64).copy()
    digits[whole] = np.abs(values[whole]).astype(np.uint64)
    before = np.where(whole, (values < 0).astype(np.uint32), np.uint32(2))
    before[missing] = 3
    shown = pl.Series(numbers.name, digits)
    return _BEFORE.gather(before), (shown.set(pl.Series(missing), None) if missing.any() else shown).cast(pl.String)
