"""The identity of a source row: 64 bits over all its cells, in every dataset and format the same.

A row is its cells in the order of the sorted column names; equal numbers are equal however they were typed (7, 7.0 and the CSV
text 7.00), a missing cell is a missing cell. The hash of a row depends on that row alone, so that `evaluate` can find, years
later, which holdout rows another version was trained on. Read by `prepare` and `split_keys`.

    cells of a column -> a word of 64 bits each (numbers: those of the float64) -> row = mix(row + word), column by column

`mix` is the finaliser of splitmix64 (Steele, Lea, Flood 2014; constants of Stafford's variant 13): each of its bits depends on
all that went in. 60 million different rows share a hash by chance with a probability of 1e-4. It is no cryptographic hash:
docs/adr/0029 says what that is good for, and what not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

SCHEME = 2
"""Of what is hashed and how. Hashes of two schemes have nothing to do with each other; written wherever hashes are kept."""
BLOCK_ROWS = 32_768
"""Hashed at a time: all that is reckoned on the way stays in the processor's cache."""
FIRST_ROWS = 1024
"""Of a block, which tell whether a column of text has few different ones."""
LONGEST = 64
"""Bytes of a text up to which it is hashed beside many others; a longer one by itself."""
EXACT = 2.0**53
"""From here on a float64 is not surely the whole number that was written."""

_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MARK = r"[.eE]"
_FIRST = np.isin(np.arange(256), list(b"+-.0123456789"))
"""Bytes that a number may begin with."""

Words = NDArray[np.uint64]


def _constant(name: str) -> np.uint64:
    """A number that no cell has by chance."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


_ROW, _MISSING, _TEXT, _LARGE, _NEGATIVE, _TIME, _SPAN, _LOT = (
    _constant(name) for name in ("row", "missing", "text", "large", "negative", "time", "span", "lot")
)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no bit of a word is lost."""
_KEPT = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
"""By bytes that are left of a text."""


def row_hashes(frame: pl.DataFrame) -> Words:
    """The hash of each row."""
    return hashed(frame)[0]


def hashed(frame: pl.DataFrame, lot: Collection[str] = ()) -> tuple[Words, NDArray[np.uint32]]:
    """The hash of each row, and 32 bits of its cells in the columns `lot` alone, by which rows are drawn.

    The bits are a polynomial of the words, mixed once: cheap, for the words are there already, and rows that are equal in these
    columns are drawn together.
    """
    names, rows, lots = sorted(frame.columns), np.full(frame.height, _ROW), np.full(frame.height, _LOT)
    for start in range(0, frame.height, BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        block, found, drawn = frame[some], rows[some], lots[some]
        for name in names:
            words = _words(block[name])
            found += words
            _mix(found)
            if name in lot:
                drawn *= _FACTOR
                drawn += words
        if lot:
            _mix(drawn)
    return rows, (lots >> np.uint64(32)).astype(np.uint32)


def _mix(words: Words) -> None:
    """In place."""
    shifted = words >> np.uint64(30)
    words ^= shifted
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= np.right_shift(words, np.uint64(27), out=shifted)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= np.right_shift(words, np.uint64(31), out=shifted)


def _words(cells: pl.Series) -> Words:
    """What the cells add to their rows."""
    kind = cells.dtype
    if kind.is_float() or kind.is_decimal():
        return _numbers(cells.cast(pl.Float64), np.float64, _floats)
    if kind == pl.UInt64:
        return _numbers(cells, np.uint64, _integers)
    if kind.is_integer() and kind not in (pl.Int128, pl.UInt128):
        return _numbers(cells.cast(pl.Int64), np.int64, _integers)
    if kind in (pl.Date, pl.Datetime):
        return _numbers(cells.cast(pl.Datetime("us")).cast(pl.Int64), np.uint64, lambda moments: moments ^ _TIME)
    if kind in (pl.Duration, pl.Time):
        return _numbers(cells.cast(pl.Int64), np.uint64, lambda spans: spans ^ _SPAN)
    return _texts(_written(cells))


def _numbers(cells: pl.Series, kind: Any, words_of: Callable[[NDArray[Any]], Words]) -> Words:
    """Of cells of 64 bits, which are not copied; anything stands where one is missing."""
    array = cells.to_arrow()
    known, values = array.buffers()
    start, end = array.offset, array.offset + len(array)
    words = words_of(np.frombuffer(values, dtype=kind)[start:end])
    if array.null_count:
        bits = np.unpackbits(np.frombuffer(known, dtype=np.uint8), count=end, bitorder="little")
        np.copyto(words, _MISSING, where=bits[start:] == 0)
    return words


def _floats(numbers: NDArray[np.float64]) -> Words:
    numbers = numbers + 0.0  # -0.0 becomes 0.0
    words = numbers.view(np.uint64)
    np.copyto(words, _MISSING, where=np.isnan(numbers))
    return words


def _integers(numbers: NDArray[np.int64] | NDArray[np.uint64]) -> Words:
    """Those of the floats that are equal; beyond these there is none that surely is."""
    floats = numbers.astype(np.float64)
    words, large = floats.view(np.uint64), np.abs(floats) >= EXACT
    if large.any():
        words[large] = numbers[large].view(np.uint64) ^ np.where(numbers[large] < 0, _NEGATIVE, _LARGE)
    return words


def _written(cells: pl.Series) -> pl.Series:
    """Cells of any other kind as text (null where missing)."""
    kind = cells.dtype
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        return cells.cast(pl.String)
    texts = [None if value is None else json.dumps(value, default=repr, sort_keys=True) for value in cells.to_list()]
    return pl.Series(cells.name, texts, dtype=pl.String)


def _texts(cells: pl.Series) -> Words:
    first = cells.head(FIRST_ROWS)
    if first.n_unique() <= len(first) // 2 and len(cells) > FIRST_ROWS:  # few different ones: each is hashed once
        encoded = cells.to_arrow().dictionary_encode(null_encoding="encode")
        words: Words = _texts_of(pl.Series(encoded.dictionary, dtype=pl.String))[encoded.indices.to_numpy()]
        return words
    return _texts_of(cells)


def _texts_of(cells: pl.Series) -> Words:
    array = cells.to_arrow()
    _, places, text = array.buffers()
    begins = np.frombuffer(places, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(text, dtype=np.uint8) if text else np.zeros(0, dtype=np.uint8)
    filled = np.diff(begins) > 0  # an empty text is missing too
    if cells.null_count():
        filled &= cells.is_not_null().to_numpy()
    words, rows = np.full(len(array), _MISSING), np.flatnonzero(filled)
    if len(rows) and _FIRST[data[begins[rows]]].any():
        rows = rows[~_numbers_in(cells, words)[rows]]
    _hash_texts(words, rows, begins, data)
    return words


def _numbers_in(cells: pl.Series, words: Words) -> NDArray[np.bool_]:
    """Writes the words of the cells that are numbers, and tells which they are."""
    whole, decimal = cells.str.contains(_INTEGER), cells.str.contains(_FLOAT) & cells.str.contains(_MARK)
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(cells))
    found = np.zeros(len(cells), dtype=np.bool_)
    for which, kinds in ((whole, (pl.Int64, pl.UInt64)), (decimal, (pl.Float64,))):
        if not which.any():
            continue
        texts = cells.zip_with(which, nothing)
        for kind in kinds:
            numbers = texts.cast(kind, strict=False)
            known = numbers.is_not_null().to_numpy() & ~found
            if known.any():
                words[known] = _words(numbers)[known]
                found |= known
    return found


def _hash_texts(words: Words, rows: NDArray[np.intp], begins: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
    """Writes the words of these rows, whose texts are not empty."""
    starts = begins[rows]
    lengths = begins[rows + 1] - starts
    long = lengths > LONGEST
    for row in np.flatnonzero(long).tolist():
        text = data[starts[row] : starts[row] + lengths[row]].tobytes()
        words[rows[row]] = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    rows, starts, lengths = rows[~long], starts[~long], lengths[~long]
    padded = np.concatenate([data, np.zeros(8, dtype=np.uint8)])
    eights = np.ndarray(len(data) + 1, "<u8", padded, strides=(1,))  # at each byte the eight from there on
    found = lengths.astype(np.uint64) ^ _TEXT
    for start in range(0, LONGEST, 8):
        some = np.flatnonzero(lengths > start)
        if not len(some):
            break
        part = eights[starts[some] + start] & _KEPT[np.minimum(lengths[some] - start, 8)]
        part += found[some]
        _mix(part)
        found[some] = part
    words[rows] = found
