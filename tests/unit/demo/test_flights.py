"""The demo's data: only what is known at departure, months by their name, and requests with destinations that are new."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from demo import flights


def raw(*rows: tuple[int, str, int | None]) -> pl.DataFrame:
    """Rows of the airline data: month, destination, arrival delay."""
    count = len(rows)
    return pl.DataFrame(
        {
            "year": [2013] * count, "month": [row[0] for row in rows], "day": [9] * count,
            "sched_dep_time": [1345] * count, "dep_delay": [3] * count, "arr_delay": [row[2] for row in rows],
            "carrier": ["UA"] * count, "flight": list(range(count)), "origin": ["EWR"] * count, "dest": [row[1] for row in rows],
            "distance": [500] * count, "hour": [13] * count, "minute": [45] * count,
            "time_hour": [f"2013-{row[0]:02d}-09T18:00:00Z" for row in rows],
        },
        schema_overrides={"arr_delay": pl.Int64},
    )  # fmt: skip


def test_a_flight_is_late_from_15_minutes_on_and_one_that_never_arrived_is_left_out() -> None:
    table = flights.question(raw((1, "IAH", 14), (1, "IAH", 15), (1, "IAH", None)))
    assert table[flights.LABEL].to_list() == [0, 1]
    assert table[flights.TIME].to_list() == [datetime(2013, 1, 9, 18, tzinfo=UTC)] * 2
    assert table[flights.ROW].to_list() == ["2013-01-09-UA-0-EWR-1345", "2013-01-09-UA-1-EWR-1345"]


def test_nothing_known_only_after_departure_reaches_the_model() -> None:
    known_later = {"arr_delay", "arr_time", "air_time", "month"}
    name, content = next(flights.month_files(flights.question(raw((2, "IAH", 0))), [2]))
    assert name == "02-february.parquet"
    assert set(pl.read_parquet(io.BytesIO(content)).columns) == {flights.ROW, flights.TIME, *flights.FEATURES, flights.LABEL}
    assert not known_later & set(flights.FEATURES)


def test_new_destinations_are_those_first_flown_after_the_known_months() -> None:
    table = flights.question(raw((1, "IAH", 0), (2, "IAH", 0), (2, "ILM", 0), (2, "ILM", 0), (2, "SBN", 0)))
    assert flights.new_destinations(table, [1]) == {"ILM": 2, "SBN": 1}


def test_one_request_in_n_asks_about_a_new_destination_in_every_place_of_a_turn() -> None:
    table = flights.question(raw((1, "IAH", 0), (2, "IAH", 0), (2, "ILM", 0)))
    found = [json.loads(body)["instances"][0]["dest"] for body in flights.requests(table, [1], count=3000, new_every=3)]
    places = [number % 3 for number, dest in enumerate(found) if dest == "ILM"]
    assert found == [json.loads(body)["instances"][0]["dest"] for body in flights.requests(table, [1], count=3000, new_every=3)]
    assert set(found) == {"IAH", "ILM"}
    assert all(280 < places.count(place) < 390 for place in range(3))
    assert "ILM" not in "".join(flights.requests(table, [1], count=100, new_every=0))
    assert all(set(json.loads(body)["instances"][0]) == set(flights.FEATURES) for body in flights.requests(table, [1], count=3))


def test_an_archive_with_another_digest_is_removed_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "data" / flights.ARCHIVE
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(flights.DataError, match="removed from the cache"):
        flights.archive(tmp_path)
    assert not path.exists()


def test_minutes_are_the_delay_itself_beside_the_same_columns() -> None:
    table = flights.minutes(raw((1, "IAH", -20), (1, "IAH", 15), (1, "IAH", None)))
    assert table[flights.MINUTES].to_list() == [-20, 15]
    assert [name for name in table.columns if name != flights.MINUTES] == [*flights.question(raw((1, "IAH", 0))).columns[:-1]]
