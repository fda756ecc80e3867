"""The identity of a row: what is hashed is what was hashed of every dataset made before, cell by cell."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial_runtime import row_text
from perennial_runtime.rows import row_hashes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DECIMAL = re.compile(r"(?=.*[.eE])[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

GOLDEN = ["6a1258ddda936850", "71a59b91cb13e147", "5443cd9a1639613b", "2b290533e957c126", "ecf2f4f342a950c8"]
"""Printed by the code before numbers were written side by side."""

TEXTS = st.one_of(
    st.sampled_from(
        ["", "7", "007", "7.00", "2e0", "-2.5E-3", ".5", "+3.", "nan", "inf", "1.2.3", "-", "1e400", "9007199254740993.0"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
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
    "small": (pl.Int8, st.integers(-128, 127)),
    "unsigned": (pl.UInt64, st.integers(0, 2**64 - 1)),
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


def text_of(value: Any) -> str:
    """What a cell is in a row's text, a cell at a time."""
    if value is None or value == "":
        return "\x00"
    return next(printed(value) for kind, printed in PRINTED if isinstance(value, kind))


def text_of_float(value: float) -> str:
    if math.isnan(value):
        return "\x00"
    if math.isfinite(value) and value == math.floor(value) and abs(value) < 2**53:
        return str(int(value))
    return f"f{struct.unpack('<Q', struct.pack('<d', value))[0]}"


PRINTED: list[tuple[Any, Callable[[Any], str]]] = [
    (bool, lambda value: str(value).lower()),
    (int, str),
    ((float, Decimal), lambda value: text_of_float(float(value))),
    (str, lambda value: text_of_float(float(value)) if DECIMAL.fullmatch(value) else value),
    (datetime, lambda value: f"t{(value.replace(tzinfo=UTC) - EPOCH) // MICROSECOND}"),
    (date, lambda value: f"t{(value - EPOCH.date()) // MICROSECOND}"),
    (time, lambda value: f"d{(datetime.combine(EPOCH, value, UTC) - EPOCH) // MICROSECOND * 1000}"),
    (timedelta, lambda value: f"d{value // MICROSECOND}"),
]
"""By type: the first that fits."""


def expected(data: pl.DataFrame) -> list[int]:
    """blake2b-8 of every row's text."""
    lines = ["\x1f".join(text_of(row[name]) for name in sorted(row)) for row in data.to_dicts()]
    return [int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "little") for line in lines]


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 20))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9))
    columns = []
    for place, name in enumerate(kinds):
        kind, values = KINDS[name]
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns.append(pl.Series(f"{draw(st.integers(0, 9))}-{place}", cells, dtype=kind))
    return pl.DataFrame(columns)


@settings(max_examples=200, deadline=None)
@given(frames(), st.integers(1, 12))
def test_a_row_is_hashed_as_its_cells_one_by_one(data: pl.DataFrame, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_text, "CELLS", 1)
        patch.setattr(row_text, "FEWEST_ROWS", at_once)
        assert row_hashes(data).tolist() == expected(data)


def test_thousands_of_rows_are_hashed_as_each_by_itself() -> None:
    random = np.random.default_rng(3)
    rows = 3 * row_text.CELLS // 4
    data = pl.DataFrame(
        {
            "amount": pl.Series(random.normal(size=rows)).set(pl.Series(random.random(rows) < 0.02), None),
            "count": random.integers(-5, 100_000, rows),
            "place": pl.Series(["Genève", "Łódź", ""]).gather(random.integers(0, 3, rows)),
            "rate": np.round(random.normal(size=rows), 1),
        }
    )
    some = random.choice(rows, 500, replace=False)
    assert row_hashes(data)[some].tolist() == expected(data[some])


def test_hashes_of_a_table_that_was_hashed_by_the_first_release() -> None:
    data = pl.DataFrame(
        {
            "delay": [1.5, None, -0.0, float("nan"), 2.0**60],
            "carrier": ["AA", "", None, "7.50", "007"],
            "flight": [9007199254740993, -7, 0, None, 2**62],
            "at": pl.Series([0, 1_356_998_400_000_000, -1, None, 1], dtype=pl.Datetime("us", "UTC")),
        }
    )
    assert [f"{number:016x}" for number in row_hashes(data).tolist()] == GOLDEN


def test_columns_of_lists_are_hashed_as_json() -> None:
    data = pl.DataFrame({"tags": [["a", "b"], None, []]})
    lines = ['["a", "b"]', "\x00", "[]"]
    wanted = [int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "little") for line in lines]
    assert row_hashes(data).tolist() == wanted
