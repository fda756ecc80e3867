"""The holdout as a champion needs it, whose schema was told from other data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from perennial_runtime.evaluate_rows import KindDiffers, in_kinds_of, read_table

SCHEMA: dict[str, Any] = {"features": [{"name": "hour", "kind": "numeric"}, {"name": "carrier", "kind": "categorical"}]}
FRAME = pl.DataFrame({"hour": [7.0, None], "carrier": ["AA", None]})


def test_columns_of_the_same_kinds_stay_as_they_are() -> None:
    assert in_kinds_of(SCHEMA, FRAME).equals(FRAME)


@pytest.mark.parametrize("cells", [["7", ""], ["7.0", None], ["7e0", "NA"]])
def test_text_that_holds_numbers_alone_is_a_number_as_it_was_in_csv(cells: list[str | None]) -> None:
    asked = in_kinds_of(SCHEMA, FRAME.with_columns(hour=pl.Series(cells)))
    assert asked["hour"].to_list() == [7.0, None]


def test_text_of_true_and_false_is_the_number_that_it_was() -> None:
    assert in_kinds_of(SCHEMA, FRAME.with_columns(hour=pl.Series(["true", "false"])))["hour"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hour": ["7", "noon"]}, ("hour", "numeric", "categorical")),
        ({"carrier": [7.0, 8.5]}, ("carrier", "categorical", "numeric")),
        ({"carrier": [0, 1]}, ("carrier", "categorical", "numeric")),
        (
            {"hour": [datetime(2013, 1, 1, tzinfo=UTC)] * 2},
            ("hour", "numeric", "of type Datetime(time_unit='us', time_zone='UTC')"),
        ),
    ],
)
def test_a_column_that_cannot_be_what_it_was_is_told_with_both_kinds(change: dict[str, Any], told: tuple[str, ...]) -> None:
    with pytest.raises(KindDiffers) as caught:
        in_kinds_of(SCHEMA, FRAME.with_columns(**{name: pl.Series(cells) for name, cells in change.items()}))
    assert (caught.value.name, caught.value.wanted, caught.value.found) == told


def test_an_absent_value_is_nan_or_the_empty_text() -> None:
    table = read_table(in_kinds_of(SCHEMA, FRAME), SCHEMA)
    assert table.numbers["hour"][0] == 7.0
    assert table.columns()["carrier"].tolist() == ["AA", ""]
