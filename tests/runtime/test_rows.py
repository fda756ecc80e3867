"""The identity of a row: each is hashed as its cells one by one, equal values are equal, and nothing else is."""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perennial_runtime import rows
from perennial_runtime.rows import hashed, row_hashes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INTEGER = re.compile(r"0|-?[1-9][0-9]*")
DECIMAL = re.compile(r"(?=.*[.eE])[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
ALL = 2**64

GOLDEN = ["b664143236efb694", "52894526e27ef48d", "5d134c18aacea678", "a24efc5ec66b4a48", "277ed32b5ae39f68"]
"""Hashes are kept with models for years: these never change unless SCHEME does."""

TEXTS = st.one_of(
    st.sampled_from(["", "7", "007", "-7", "-0", "7.00", "2e0", "-2.5E-3", ".5", "+3.", "nan", "inf", "1.2.3", "-", "1e400"]),
    st.sampled_from(["9007199254740993.0", "9007199254740993", "-9223372036854775808", "18446744073709551615", "9" * 30, "7\n"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text("ab", min_size=60, max_size=70),
)
FLOATS = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, -1.0, 9999.0, 10000.0, 2.0**53, -(2.0**53), 2.0**53 - 1, 5e-324]),
    st.integers(-(2**54), 2**54).map(float),
)
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "float": (pl.Float64, FLOATS),
    "narrow": (pl.Float32, st.floats(width=32)),
    "decimal": (pl.Decimal(20, 3), st.integers(-(10**9), 10**9).map(lambda thousandths: Decimal(thousandths) / 1000)),
    "integer": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "near": (pl.Int64, st.integers(2**53 - 3, 2**53 + 3) | st.integers(-(2**53) - 3, -(2**53) + 3)),
    "small": (pl.Int8, st.integers(-128, 127)),
    "unsigned": (pl.UInt64, st.integers(0, 2**64 - 1)),
    "wide": (pl.Int128, st.integers(-(2**100), 2**100)),
    "flag": (pl.Boolean, st.booleans()),
    "text": (pl.String, TEXTS),
    "category": (pl.Categorical, TEXTS),
    "moment": (pl.Datetime("us"), st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1))),
    "zoned": (pl.Datetime("us", "UTC"), st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))),
    "day": (pl.Date, st.dates()),
    "hour": (pl.Time, st.times()),
    "span": (pl.Duration("us"), st.timedeltas(timedelta(-(10**6)), timedelta(10**6))),
    "nothing": (pl.Null, st.none()),
}


def digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed(word: int) -> int:
    """The finaliser of splitmix64, on Python's own numbers."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % ALL
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % ALL
    return word ^ (word >> 31)


def word_of(value: Any) -> int:
    """What a cell is in a row's hash."""
    if value is None or value == "":
        return digest("missing")
    return next(word(value) for kind, word in WORDS if isinstance(value, kind))


def word_of_float(value: float) -> int:
    if math.isnan(value):
        return digest("missing")
    return int(struct.unpack("<Q", struct.pack("<d", value + 0.0))[0])


def word_of_integer(value: int) -> int:
    if abs(value) < 2**53:
        return word_of_float(float(value))
    if not -(2**63) <= value < 2**64:
        return word_of_words(str(value))
    return value % ALL ^ digest("large" if value > 0 else "negative")


def word_of_text(value: str) -> int:
    if INTEGER.fullmatch(value):
        return word_of_integer(int(value))
    return word_of_float(float(value)) if DECIMAL.fullmatch(value) else word_of_words(value)


def word_of_words(value: str) -> int:
    body = value.encode()
    if len(body) > 64:
        return digest(value)
    found = digest("text") ^ len(body)
    for start in range(0, len(body), 8):
        found = mixed((found + int.from_bytes(body[start : start + 8], "little")) % ALL)
    return found


WORDS: list[tuple[Any, Callable[[Any], int]]] = [
    (bool, lambda value: word_of_words(str(value).lower())),
    (int, word_of_integer),
    ((float, Decimal), lambda value: word_of_float(float(value))),
    (str, word_of_text),
    (datetime, lambda value: (value.replace(tzinfo=UTC) - EPOCH) // MICROSECOND % ALL ^ digest("time")),
    (date, lambda value: (value - EPOCH.date()) // MICROSECOND % ALL ^ digest("time")),
    (time, lambda value: (datetime.combine(EPOCH, value, UTC) - EPOCH) // MICROSECOND * 1000 ^ digest("span")),
    (timedelta, lambda value: value // MICROSECOND % ALL ^ digest("span")),
]
"""By type: the first that fits."""


def expected(data: pl.DataFrame) -> list[int]:
    """The hash of every row, a cell at a time."""
    found = []
    for row in data.to_dicts():
        hashed = digest("row")
        for name in sorted(row):
            hashed = mixed((hashed + word_of(row[name])) % ALL)
        found.append(hashed)
    return found


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(1, 20))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9))
    columns = []
    for place, name in enumerate(kinds):
        kind, values = KINDS[name]
        cells = draw(st.lists(st.none() | values, min_size=height, max_size=height))
        columns.append(pl.Series(f"{draw(st.integers(0, 9))}-{place}", cells, dtype=kind))
    return pl.DataFrame(columns)


@settings(max_examples=200, deadline=None)
@given(frames(), st.integers(1, 12))
def test_a_row_is_hashed_as_its_cells_one_by_one(data: pl.DataFrame, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK_ROWS", at_once)
        patch.setattr(rows, "FIRST_ROWS", 3)
        assert row_hashes(data).tolist() == expected(data)


def test_thousands_of_rows_are_hashed_as_each_by_itself() -> None:
    random = np.random.default_rng(3)
    height = 3 * rows.BLOCK_ROWS // 2
    data = pl.DataFrame(
        {
            "amount": pl.Series(random.normal(size=height)).set(pl.Series(random.random(height) < 0.02), None),
            "count": random.integers(-5, 100_000, height),
            "place": pl.Series(["Genève", "Łódź", ""]).gather(random.integers(0, 3, height)),
            "rate": np.round(random.normal(size=height), 1),
        }
    )
    some = random.choice(height, 500, replace=False)
    assert row_hashes(data)[some].tolist() == expected(data[some])


def golden_table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "delay": [1.5, None, -0.0, float("nan"), 2.0**60],
            "carrier": ["AA", "", None, "7.50", "007"],
            "flight": [9007199254740993, -7, 0, None, 2**62],
            "at": pl.Series([0, 1_356_998_400_000_000, -1, None, 1], dtype=pl.Datetime("us", "UTC")),
            "note": ["delayed by fog", "x" * 65, "Łódź", "True", "12345678"],
        }
    )


def test_hashes_of_this_scheme_never_change() -> None:
    assert rows.SCHEME == 2
    assert [f"{number:016x}" for number in row_hashes(golden_table()).tolist()] == GOLDEN


@pytest.mark.parametrize("threads", ["1", "8"])
def test_hashes_are_the_same_with_any_number_of_threads(threads: str) -> None:
    code = (
        "import numpy as np, polars as pl\nfrom perennial_runtime.rows import row_hashes\n"
        "n = 100_000\n"
        "columns = {'a': np.arange(n) / 7, 'b': np.arange(n).astype(str), 'c': np.arange(n).astype(np.int32)}\n"
        "data = pl.DataFrame(columns)\n"
        "print(int(np.bitwise_xor.reduce(row_hashes(data) * np.arange(1, 2 * n, 2, dtype=np.uint64))))"
    )
    environment = {**os.environ, "POLARS_MAX_THREADS": threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "18280737614677541734"


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_is_the_same_in_every_type_and_as_text(number: int) -> None:
    cells: list[pl.Series] = [
        pl.Series([number]),
        pl.Series([float(number)]),
        pl.Series([str(number)]),
        pl.Series([f"{number}.0"]),
        pl.Series([str(number)], dtype=pl.Categorical),
    ]
    cells += [pl.Series([number], dtype=kind) for kind in (pl.Int8, pl.Int16, pl.Int32) if abs(number) < 128]
    cells += [pl.Series([number], dtype=pl.UInt64)] if number >= 0 else []
    cells += [pl.Series([Decimal(number)], dtype=pl.Decimal(20, 2))] if abs(number) < 10**13 else []  # polars rounds larger ones
    assert len({int(row_hashes(each.alias("x").to_frame())[0]) for each in cells}) == 1


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_a_number_is_the_same_as_its_text(numbers: list[float]) -> None:
    finite = [number for number in numbers if math.isfinite(number)] or [0.5]
    texts = [f"{number:.17e}" for number in finite]
    assert (row_hashes(pl.DataFrame({"x": finite})) == row_hashes(pl.DataFrame({"x": texts}))).all()


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_moment_is_the_same_in_every_unit_and_zone(unit: Any) -> None:
    moments = pl.Series("at", [datetime(2013, 1, 1, 5), datetime(1969, 12, 31), None])
    wanted = row_hashes(moments.to_frame())
    typed = moments.cast(pl.Datetime(unit))
    assert (row_hashes(typed.to_frame()) == wanted).all()
    zoned = typed.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    assert (row_hashes(zoned.to_frame()) == wanted).all()
    days = moments.cast(pl.Date).cast(pl.Datetime("us"))
    assert (row_hashes(days.to_frame()) == row_hashes(days.cast(pl.Date).to_frame())).all()


@pytest.mark.parametrize(
    "kind", [pl.Float64, pl.Float32, pl.Int64, pl.UInt64, pl.String, pl.Boolean, pl.Date, pl.Duration, pl.Null]
)
def test_a_missing_cell_is_the_same_in_every_type(kind: Any) -> None:
    empty = row_hashes(pl.DataFrame({"x": [""]}))
    assert row_hashes(pl.DataFrame({"x": [None]}, schema={"x": kind}))[0] == empty[0]
    assert row_hashes(pl.DataFrame({"x": [float("nan")]}))[0] == empty[0]


def test_columns_count_by_the_order_of_their_names_and_not_as_they_come() -> None:
    data = pl.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]})
    assert (row_hashes(data) == row_hashes(data.select("c", "a", "b"))).all()
    assert (row_hashes(data) == row_hashes(data.rename({"b": "bb"}))).all()
    assert (row_hashes(data) != row_hashes(data.rename({"b": "z"}))).all()
    assert (row_hashes(data) != row_hashes(data.with_columns(d=None))).all()


def test_a_table_without_rows_has_no_hashes() -> None:
    assert len(row_hashes(golden_table().head(0))) == 0


def test_columns_of_lists_are_hashed_as_json() -> None:
    data = pl.DataFrame({"tags": [["a", "b"], None, []]})
    wanted = [
        mixed((digest("row") + word) % ALL) for word in (word_of_words('["a", "b"]'), digest("missing"), word_of_words("[]"))
    ]
    assert row_hashes(data).tolist() == wanted


# ---- unlike rows -------------------------------------------------------------------------------------------------------------


def grid(values: NDArray[Any], columns: int) -> pl.DataFrame:
    """Every combination."""
    places = np.meshgrid(*[np.arange(len(values))] * columns, indexing="ij")
    return pl.DataFrame({f"c{number}": values[place.ravel()] for number, place in enumerate(places)})


def days_of(first: NDArray[np.int64]) -> NDArray[Any]:
    return first.astype("datetime64[D]")


STRUCTURED: dict[str, Callable[[], pl.DataFrame]] = {
    "a counter": lambda: pl.DataFrame({"n": np.arange(1_000_000)}),
    "a counter of large numbers": lambda: pl.DataFrame({"n": np.arange(2**60, 2**60 + 300_000)}),
    "pairs of small integers": lambda: grid(np.arange(-300, 300), 2),
    "triples of small integers": lambda: grid(np.arange(70), 3),
    "zeros and ones": lambda: grid(np.arange(2), 17),
    "pairs of powers of two": lambda: grid(2.0 ** np.arange(-300, 300), 2),
    "pairs of hundredths": lambda: grid(np.arange(600) / 100, 2),
    "texts of counters": lambda: pl.DataFrame({"id": [f"id-{number:09}" for number in range(100_000)]}),
    "bytes at every place": lambda: pl.DataFrame(
        {"t": ["a" * i + b + "a" * j for i in range(40) for j in range(40) for b in "bcd"]}
    ),
    "lengths of one letter": lambda: pl.DataFrame({"t": ["\0" * size for size in range(1, 200)]}),
    "days": lambda: pl.DataFrame({"d": days_of(np.arange(-50_000, 50_000))}),
    "a cell that moves": lambda: pl.DataFrame(np.vstack([np.where(np.eye(64, dtype=bool), k, 0) for k in range(1, 2000)])),
    "missing cells": lambda: pl.DataFrame(np.where(np.array(grid(np.arange(2), 15)) == 1, np.nan, 0.0)),
}


@pytest.mark.parametrize("which", STRUCTURED)
def test_unlike_rows_have_unlike_hashes_however_alike_they_look(which: str) -> None:
    data = STRUCTURED[which]()
    assert len(np.unique(row_hashes(data))) == data.height


@pytest.mark.parametrize("which", ["a counter", "pairs of small integers", "zeros and ones", "texts of counters", "days"])
def test_hashes_of_structured_rows_are_evenly_spread(which: str) -> None:
    """Each bit is set in half of them, and the highest and the lowest byte are all numbers alike (chi-square, 255 degrees)."""
    hashes = row_hashes(STRUCTURED[which]())
    bits = np.unpackbits(hashes.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little").mean(axis=0)
    assert np.abs(bits - 0.5).max() < 4 / np.sqrt(len(hashes)) * 0.5 * 1.5
    for shift in (0, 56):
        counts = np.bincount(((hashes >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), minlength=256)
        chi = float(((counts - len(hashes) / 256) ** 2 / (len(hashes) / 256)).sum())
        assert 140 < chi < 400


@pytest.mark.parametrize("column", ["number", "word", "count"])
def test_each_bit_of_a_cell_changes_half_of_the_hash(column: str) -> None:
    random = np.random.default_rng(5)
    height = 4000
    data = pl.DataFrame(
        {"a": 1.0, "count": random.integers(0, 2**40, height), "number": random.normal(size=height), "z": ["b"] * height}
    ).with_columns(word=pl.Series(["".join(map(chr, row)) for row in random.integers(97, 112, (height, 12))]))
    before = row_hashes(data)
    for bit in range(40):
        if column == "word":
            texts = [text[: bit % 12] + chr(ord(text[bit % 12]) ^ (1 << bit % 4)) + text[bit % 12 + 1 :] for text in data["word"]]
            changed = data.with_columns(word=pl.Series(texts))
        else:
            kind = data[column].dtype
            raw = data[column].to_numpy().view(np.uint64) ^ np.uint64(1 << bit)
            changed = data.with_columns(pl.Series(column, raw.view(np.int64) if kind == pl.Int64 else raw.view(np.float64)))
        flipped = np.bitwise_count(before ^ row_hashes(changed))
        assert abs(float(flipped.mean()) - 32) < 0.5
        assert 3 < float(flipped.std()) < 5  # a binomial of 64 bits has 4


def test_a_lot_tells_of_its_columns_alone() -> None:
    data = pl.DataFrame({"a": [1.5, 2.0, 1.5, None], "b": ["x", "y", "x", "x"], "id": [1, 2, 3, 4]})
    rows, lots = hashed(data, ("a", "b"))
    assert rows.tolist() == row_hashes(data).tolist()
    assert lots[0] == lots[2]
    assert len(set(lots.tolist())) == 3
    as_text = pl.DataFrame({"b": data["b"], "a": ["1.50", "2", "1.5", None], "id": ["9", "8", "7", "6"]})
    assert hashed(as_text, ("a", "b"))[1].tolist() == lots.tolist()
    for changed in (data.with_columns(a=pl.col("a") + 1), data.with_columns(b=pl.col("b") + "!")):
        assert hashed(changed, ("a", "b"))[1][0] != lots[0]


def test_lots_are_spread_evenly() -> None:
    data = pl.DataFrame({"a": np.arange(60_000) % 300 / 4, "b": np.arange(60_000) // 300})
    for every in (2, 3, 64):
        shares = np.bincount(hashed(data, ("a", "b"))[1] % every, minlength=every) / 60_000
        assert np.abs(shares - 1 / every).max() < 5 * np.sqrt(1 / every / 60_000)
