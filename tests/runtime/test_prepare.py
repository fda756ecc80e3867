"""prepare: what it writes from good data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime.contract import Column, PrepareResult, encode_answer
from perennial_runtime.rows import row_hashes
from runtime.steps_world import COLUMNS, World, as_text, frame


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_splits_the_newest_fifth_off_and_keeps_only_declared_columns(world: World) -> None:
    data = frame(600)
    data.write_parquet(world.source / "a.parquet")
    result = world.prepare()
    train, holdout = world.table(result.train), world.table(result.holdout)
    assert (result.rows, result.train_rows, result.holdout_rows, result.duplicates) == (600, 480, 120, 0)
    assert train.columns == ["delay", "carrier", "late", "at", "flight"]
    assert holdout.columns == [*train.columns, "__row_hash"]
    assert train["at"].max() < holdout["at"].min()
    assert result.cutoff == "2013-01-01T08:00:00Z"
    assert result.positive_rate == pytest.approx(data[:480]["late"].mean(), abs=1e-6)
    assert len(encode_answer(result)) < 1024


def test_the_schema_tells_what_the_training_rows_look_like(world: World) -> None:
    frame(600).write_parquet(world.source / "a.parquet")
    result = world.prepare()
    schema = json.loads(world.store.get_bytes(result.schema))
    train = world.table(result.train)
    delay, carrier = schema["features"]
    assert (schema["label"], schema["time"], schema["id"]) == ("late", "at", ["flight"])
    assert (delay["kind"], delay["nullable"]) == ("numeric", True)
    assert (delay["min"], delay["max"]) == (train["delay"].min(), train["delay"].max())
    assert (carrier["kind"], carrier["categories"], carrier["example"]) == ("categorical", ["AA", "B6", "UA"], "AA")


def test_the_same_data_gives_the_same_digests_in_any_order_of_files(world: World, tmp_path: Path) -> None:
    data = frame(600)
    data[:300].write_parquet(world.source / "a.parquet")
    data[300:].write_parquet(world.source / "b.parquet")
    other = World(tmp_path / "other")
    other.root.mkdir()
    data[::-1].write_parquet(other.source / "z.parquet")
    assert replace(world.prepare(), listing="") == replace(other.prepare(), listing="")


def test_csv_gives_the_same_rows_as_parquet_and_gzip_too(world: World, tmp_path: Path) -> None:
    data = as_text(frame(600))
    data[:200].write_parquet(world.source / "a.parquet")
    data[200:400].write_csv(world.source / "b.csv")
    data[400:].write_csv(world.source / "c.csv.gz", compression="gzip")
    other = World(tmp_path / "other")
    other.root.mkdir()
    data.write_csv(other.source / "one.csv")
    mixed, text = world.prepare(), other.prepare()
    assert replace(mixed, listing="") == replace(text, listing="")
    assert mixed.rows == 600


def test_a_month_without_decimals_does_not_change_a_row(world: World) -> None:
    whole = pl.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert (row_hashes(whole) == row_hashes(whole.with_columns(pl.col("x").cast(pl.Float64)))).all()
    assert (row_hashes(whole) == row_hashes(pl.DataFrame({"y": ["a", "b"], "x": ["1.00", "2e0"]}))).all()
    assert row_hashes(pl.DataFrame({"x": ["007"]}))[0] != row_hashes(pl.DataFrame({"x": ["7"]}))[0]


def test_a_long_number_keeps_all_its_digits(world: World) -> None:
    near = row_hashes(pl.DataFrame({"id": [9007199254740993, 9007199254740992]}))
    assert near[0] != near[1]


def test_a_missing_cell_is_the_same_in_every_format() -> None:
    numbers = pl.DataFrame({"x": pl.Series([None, float("nan")], dtype=pl.Float64), "y": [None, ""]})
    hashes = row_hashes(numbers)
    assert hashes[0] == hashes[1]
    assert hashes[0] == row_hashes(pl.DataFrame({"x": [None], "y": [None]}, schema={"x": pl.String, "y": pl.String}))[0]


def test_na_is_missing_in_a_column_of_numbers_and_a_word_in_a_column_of_text(world: World) -> None:
    text = as_text(frame(300)).with_columns(pl.col("delay").cast(pl.String).fill_null("NA"), pl.col("carrier").fill_null("NA"))
    text.write_csv(world.source / "a.csv")
    train = world.table(world.prepare().train)
    assert train.schema["delay"] == pl.Float64
    assert train["delay"].null_count() > 0
    assert "NA" in train["carrier"].to_list()
    assert train["carrier"].null_count() == 0


def test_true_and_false_are_labels_and_numbers(world: World) -> None:
    data = as_text(frame(300)).with_columns(pl.col("late") == 1, (pl.col("delay") > 0).fill_null(value=True))
    data.write_csv(world.source / "a.csv")
    train = world.table(world.prepare().train)
    assert set(train["late"]) == {0, 1}
    assert set(train["delay"]) == {0.0, 1.0}


@pytest.mark.parametrize(
    "form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.000+00:00", "%Y-%m-%dT%H:%M:%S+0000"]
)
def test_times_are_read_as_people_write_them(world: World, form: str) -> None:
    data = frame(300)
    data.with_columns(pl.col("at").dt.strftime(form)).write_csv(world.source / "a.csv")
    assert world.table(world.prepare().train)["at"].to_list() == data["at"][:240].to_list()


def test_duplicates_are_counted_and_kept_once(world: World) -> None:
    data = frame(1000)
    pl.concat([data, data[10:14], data[900:903]]).write_parquet(world.source / "a.parquet")
    result = world.prepare()
    assert (result.rows, result.duplicates, result.train_rows + result.holdout_rows) == (1007, 7, 1000)
    assert world.table(result.holdout)["__row_hash"].is_unique().all()


def test_rows_that_differ_only_in_an_undeclared_column_are_no_duplicates(world: World) -> None:
    data = frame(300)
    pl.concat([data, data.with_columns(gate=pl.lit("other"))]).write_parquet(world.source / "a.parquet")
    assert world.prepare().duplicates == 0


def test_a_later_version_keeps_every_row_on_its_side_and_cuts_a_new_window(world: World) -> None:
    frame(600).write_parquet(world.source / "a.parquet")
    first = world.prepare("uid-1")
    frame(400, seed=2, start=600).write_parquet(world.source / "b.parquet")
    second = world.prepare("uid-2", parent_uid="uid-1")
    windows = json.loads(world.store.get_bytes(second.split))["windows"]
    assert len(windows) == 2
    assert second.holdout_rows == 120 + 80
    assert set(world.table(first.holdout)["__row_hash"]) <= set(world.table(second.holdout)["__row_hash"])
    trained = np.load(world.store.get_file(json.loads(world.store.get_bytes(second.split))["train_rows"], world.root / "rows"))
    assert len(trained) == second.train_rows
    assert not set(trained.tolist()) & set(world.table(second.holdout)["__row_hash"])


def test_a_step_that_has_ended_answers_with_its_result_and_reads_nothing(world: World) -> None:
    frame(600).write_parquet(world.source / "a.parquet")
    first = world.prepare()
    (world.source / "a.parquet").write_bytes(b"gone")
    assert world.prepare() == first
    assert isinstance(world.store.get_result("uid-1", "prepare"), PrepareResult)


def test_one_object_may_be_named_and_bookkeeping_files_are_left_alone(world: World) -> None:
    frame(300).write_parquet(world.source / "a.parquet")
    frame(100, seed=3).write_parquet(world.source / "b.parquet")
    (world.source / "_SUCCESS").write_text("")
    (world.source / ".a.parquet").write_text("junk")
    assert world.prepare("one", source=f"file://{world.source}/a.parquet").rows == 300
    assert world.prepare("all").rows == 400


def test_a_parquet_feature_may_be_boolean_decimal_or_categorical(world: World) -> None:
    data = frame(300).with_columns(
        pl.col("late").cast(pl.Boolean),
        pl.col("delay").fill_null(0).cast(pl.Decimal(10, 1)),
        pl.col("carrier").cast(pl.Categorical),
    )
    data.write_parquet(world.source / "a.parquet")
    train = world.table(world.prepare().train)
    assert (train.schema["delay"], train.schema["carrier"], train.schema["late"]) == (pl.Float64, pl.String, pl.Int64)


def test_a_file_whose_column_is_all_missing_takes_the_type_of_the_others(world: World) -> None:
    data = frame(300)
    data[:150].write_parquet(world.source / "a.parquet")
    data[150:].with_columns(pl.lit(None).alias("delay")).write_parquet(world.source / "b.parquet")
    assert world.table(world.prepare().train).schema["delay"] == pl.Float64


def test_columns_of_one_role_only_are_needed(world: World) -> None:
    frame(300).write_parquet(world.source / "a.parquet")
    columns = tuple(column for column in COLUMNS if column.role != "id")
    assert world.prepare(columns=(*columns, Column("gate", "feature"))).rows == 300
