"""Columns -> the canonical texts of their rows, thousands of rows at a time and no Python for any one of them.

    Floats, Integers, Texts -> lines -> (bytes of all texts, where each begins)

`rows` says what stands in a text and hashes it. Numbers that stand side by side are written as one table of cells

    separator  mark  -  \\0  d d d d  d d d d  d d d d  d d d d  d d d d

and a mask of as many bits a cell tells which places are kept: \\0 alone of a missing cell, no leading zeros, a mark only where
there is one. Printing each column and joining what was printed takes three times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

SEPARATOR = "\x1f"
MISSING = "\x00"
CELLS = 65_536
"""Of numbers in one table: with all that is reckoned on the way it stays in the processor's cache."""
FEWEST_ROWS = 256
EXACT = 2.0**53
"""From here on a float64 is not surely the whole number that was written."""

_PLACES = 32
"""Of a cell. The last eight are never kept: a mask of 32 bits is one number."""
_HEAD, _DIGITS = 4, 20
_SEPARATOR, _MARK, _MINUS, _NONE = (np.uint8(1 << place) for place in range(_HEAD))
"""Bits of a cell's first places."""
_GROUP = 10**4
"""Four digits are looked up at once: 20 are more than 2**64 has."""
_HALF, _QUARTER = np.uint64(10**8), np.uint32(_GROUP)
_FOUR = np.frombuffer(b"".join(b"%04d" % number for number in range(_GROUP)), dtype=np.uint32)
_POWERS = np.array([10**power for power in range(1, _DIGITS)], dtype=np.uint64)
_KEPT = np.array([((1 << digits) - 1) << (_HEAD + _DIGITS - digits) for digits in range(_DIGITS + 1)], dtype="<u4")
"""The mask of so many digits, without what stands before them."""
_KEPT_TOP = np.array([_KEPT[len(str(top)) + 16] if top else 0 for top in range(_GROUP)], dtype="<u4")
"""The same by the first four of all the digits, unless they are 0."""

Words = NDArray[np.uint64]
Bits = NDArray[np.uint8]
Lines = tuple[bytes, list[int]]
"""The texts of some rows one after the other, and where each begins; the last number is the end of all."""


@dataclass(frozen=True, slots=True)
class Floats:
    """Neighbouring columns of Float64. Whole numbers are written as their digits, others as those of their bits, after `f`."""

    cells: pl.DataFrame

    @property
    def marks(self) -> str:
        """What stands before the digits in each column, where anything does."""
        return "f" * self.cells.width

    def digits(self, start: int, stop: int) -> tuple[Words, Bits]:
        """What is printed of each cell, and what stands before it."""
        values = self.cells.slice(start, stop - start).to_numpy(order="c") + 0.0  # null is NaN now, and -0.0 is 0.0
        before = _either(np.isnan(values), _SEPARATOR | _NONE, _SEPARATOR | _MARK)
        whole = np.nonzero((np.floor(values) == values) & (np.abs(values) < EXACT))
        exact = values[whole]
        before[whole] = _either(exact < 0, _SEPARATOR | _MINUS, _SEPARATOR)
        words = values.view(np.uint64)
        words[whole] = np.abs(exact).astype(np.uint64)
        return words, before


@dataclass(frozen=True, slots=True)
class Integers:
    """Neighbouring columns, all of Int64 or all of UInt64. Written as they are, after their column's mark (a space: none)."""

    cells: pl.DataFrame
    """Any number where one is missing."""
    missing: Sequence[NDArray[np.bool_] | None]
    marks: str

    def digits(self, start: int, stop: int) -> tuple[Words, Bits]:
        """What is printed of each cell, and what stands before it."""
        values = self.cells.slice(start, stop - start).to_numpy(order="c")
        marked = np.array([_SEPARATOR if mark == " " else _SEPARATOR | _MARK for mark in self.marks])
        negative = values < 0
        words, before = values.view(np.uint64), marked | _either(negative, _MINUS, np.uint8(0))
        if negative.any():
            words = np.where(negative, np.negative(words), words)  # modulo 2**64, so that the least of all is right too
        for place, missing in enumerate(self.missing):
            if missing is not None:
                before[missing[start:stop], place] = _SEPARATOR | _NONE
        return words, before


def _either(flags: NDArray[np.bool_], yes: np.uint8, no: np.uint8) -> Bits:
    """numpy.where, ten times as fast."""
    return flags.view(np.uint8) * (yes - no) + no


@dataclass(frozen=True, slots=True)
class Texts:
    """A column printed already; null is missing."""

    cells: pa.LargeStringArray


Numbers = Floats | Integers


def lines(pieces: Sequence[Numbers | Texts], rows: int) -> Iterator[Lines]:
    """The texts of all rows, in order. There is at least one piece."""
    numbers = sum(0 if isinstance(piece, Texts) else piece.cells.width for piece in pieces)
    size = min(rows, max(FEWEST_ROWS, CELLS // max(1, numbers)))
    tables = [piece if isinstance(piece, Texts) else _Table(piece, size, first=place == 0) for place, piece in enumerate(pieces)]
    for start in range(0, rows, size):
        yield _joined(tables, start, min(start + size, rows))


def _joined(pieces: Sequence[_Table | Texts], start: int, stop: int) -> Lines:
    if len(pieces) == 1 and isinstance(pieces[0], _Table):
        found = pieces[0].texts(start, stop)
    else:
        kind, given = pa.large_string(), list[pa.LargeStringArray | pa.LargeStringScalar]()
        for piece in pieces:
            if isinstance(piece, _Table):
                given.append(piece.texts(start, stop))
                continue
            given += [pa.scalar(SEPARATOR, kind)] if given else []
            given.append(piece.cells.slice(start, stop - start))
        found = pyarrow.compute.binary_join_element_wise(
            *given, pa.scalar("", kind), null_handling="replace", null_replacement=MISSING
        )
    _, begins, data = found.buffers()
    return data.to_pybytes(), np.frombuffer(begins, dtype=np.int64).tolist()


class _Table:
    """Columns of numbers, written side by side. Its memory is used again for each piece of the rows: fresh pages cost more than
    what is reckoned in them."""

    def __init__(self, numbers: Numbers, rows: int, *, first: bool) -> None:
        self._numbers, self._first, width = numbers, first, len(numbers.marks)
        self._cells = np.zeros((rows, width, _PLACES // 4), dtype=np.uint32)
        for place, mark in enumerate(numbers.marks):
            self._cells[:, place, 0] = np.frombuffer(f"{SEPARATOR}{mark}-{MISSING}".encode(), np.uint32)
        self._high, self._rest = (np.empty(rows * width, dtype=np.uint64) for _ in range(2))
        self._eight, self._four, self._kept = (np.empty(rows * width, dtype=np.uint32) for _ in range(3))

    def texts(self, start: int, stop: int) -> pa.LargeStringArray:
        """Each row's cells with a separator before each, but for the first of all."""
        rows = stop - start
        words, before = self._numbers.digits(start, stop)
        if self._first:
            before[:, 0] &= ~_SEPARATOR
        width, words, cells = words.shape[1], words.reshape(-1), self._cells[:rows].reshape(-1, _PLACES // 4)
        kept = self._keep(self._print(words, cells), words, before.reshape(-1))
        places, begins = len(cells) * _PLACES, np.zeros(rows + 1, dtype=np.int64)
        begins[1:] = np.cumsum(np.bitwise_count(kept), dtype=np.int64)[width - 1 :: width]
        data = pyarrow.compute.filter(_array(pa.uint8(), places, cells), _array(pa.bool_(), places, kept)).buffers()[1]
        return pa.Array.from_buffers(pa.large_string(), rows, [None, pa.py_buffer(begins), data])

    def _print(self, words: Words, cells: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """All 20 digits of each number into its cell; returns the first four as a number."""
        high, rest = self._high[: len(words)], self._rest[: len(words)]
        self._print_eight(words, np.floor_divide(words, _HALF, out=high), cells[:, 4:6])
        top = np.floor_divide(high, _HALF, out=rest).astype(np.uint32)
        self._print_eight(high, rest, cells[:, 2:4])
        cells[:, 1] = _FOUR.take(top)
        return top

    def _print_eight(self, words: Words, high: Words, cells: NDArray[np.uint32]) -> None:
        """The last eight digits of the words; `high` is what stands before them."""
        eight, four = self._eight[: len(words)], self._four[: len(words)]
        np.subtract(words, high * _HALF, out=eight, casting="unsafe")
        np.floor_divide(eight, _QUARTER, out=four)
        cells[:, 0] = _FOUR.take(four)
        eight -= np.multiply(four, _QUARTER, out=four)
        cells[:, 1] = _FOUR.take(eight)

    def _keep(self, top: NDArray[np.uint32], words: Words, before: Bits) -> NDArray[np.uint32]:
        """The masks of the cells."""
        kept = np.take(_KEPT_TOP, top, out=self._kept[: len(words)], mode="clip")
        small = np.flatnonzero(top == 0)
        kept[small] = _KEPT[np.searchsorted(_POWERS, words[small], side="right") + 1]
        kept[np.flatnonzero(before & _NONE)] = 0
        kept |= before
        return kept


def _array(kind: pa.DataType, length: int, memory: NDArray[np.uint32]) -> pa.Array:
    return pa.Array.from_buffers(kind, length, [None, pa.py_buffer(memory)])
