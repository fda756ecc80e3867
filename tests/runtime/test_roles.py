"""Rows that were made are never judged by; what is sensitive is never read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest

from perennial_runtime.contract import Column, GateSpec, Step
from runtime.pipeline_world import judged
from runtime.steps_world import COLUMNS, World, as_text, frame
from runtime.test_split_keys import BY_GROUP, BY_HASH, GROUPED, grouped, told

MADE = Column("made", "synthetic")
SECRET = "4929-1234-5678-9012"
"""A value of the sensitive column, as it stands in no other."""
SENSITIVE = (*COLUMNS, Column("card", "sensitive"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def with_made(data: pl.DataFrame, every: int = 3) -> pl.DataFrame:
    return data.with_columns(made=pl.int_range(pl.len()) % every == 0)


@pytest.mark.parametrize("wish", [{"columns": COLUMNS}, {**BY_HASH, "columns": COLUMNS}, BY_GROUP])
def test_rows_that_were_made_are_trained_on_or_left_out_and_never_held_out(world: World, wish: dict[str, Any]) -> None:
    data = with_made(grouped())
    data.write_parquet(world.source / "a.parquet")
    result = world.prepare(**{**wish, "columns": (*wish["columns"], MADE)})
    trained, held = world.table(result.train), world.table(result.holdout)
    made = set(data.filter("made")["flight"].cast(pl.String))
    assert not set(held["flight"]) & made
    assert set(trained.filter("made")["flight"]) == set(trained["flight"]) & made
    assert "made" not in held.columns
    assert result.synthetic == len(made) == 400
    assert result.left_out == 400 - trained["made"].sum() > 0
    assert result.train_rows + result.holdout_rows + result.left_out == 1200
    assert result.duplicates == 0
    assert json.loads(world.store.get_bytes(result.schema))["synthetic"] == "made"


def test_the_newest_fraction_is_of_real_rows_and_no_made_row_is_newer_than_they_are(world: World) -> None:
    real, made = frame(600), frame(300, seed=4, start=450)
    data = pl.concat(
        [real.with_columns(made=pl.lit(value=False)), made.with_columns(made=pl.lit(value=True), flight=pl.col("flight") + 9000)]
    )
    data.write_parquet(world.source / "a.parquet")
    result = world.prepare(columns=(*COLUMNS, MADE))
    trained = world.table(result.train)
    assert (result.holdout_rows, result.cutoff) == (120, "2013-01-01T08:00:00Z")
    assert trained.filter("made")["at"].to_list() == made["at"][:30].to_list(), "from minute 450 to the cut at 480"
    assert (result.synthetic, result.left_out) == (300, 270)


def test_made_rows_of_a_group_that_is_held_out_are_left_out(world: World) -> None:
    with_made(grouped(), 2).write_parquet(world.source / "a.parquet")
    result = world.prepare(**{**BY_GROUP, "columns": (*GROUPED, MADE)})
    assert not set(world.table(result.train)["household"]) & set(world.table(result.holdout)["household"])


@pytest.mark.parametrize("flags", [(1, 0), (1.0, 0.0), ("true", "false"), ("True", "False"), ("1", "0")])
def test_a_flag_is_a_boolean_or_0_and_1_in_any_format(world: World, flags: tuple[Any, Any]) -> None:
    data = with_made(frame(300)).with_columns(made=pl.col("made").replace_strict({True: flags[0], False: flags[1]}))
    if isinstance(flags[0], str):
        as_text(data).write_csv(world.source / "a.csv")
    else:
        data.write_parquet(world.source / "a.parquet")
    assert world.prepare(columns=(*COLUMNS, MADE)).synthetic == 100


@pytest.mark.parametrize(
    ("cell", "reason"),
    [(None, "SyntheticMissing"), (float("nan"), "SyntheticMissing"), ("", "SyntheticMissing"), (2, "SyntheticNotBoolean"),
     ("maybe", "SyntheticNotBoolean"), (0.5, "SyntheticNotBoolean")],
)  # fmt: skip
def test_refuses_a_flag_that_says_nothing(world: World, cell: object, reason: str) -> None:
    usual = "false" if isinstance(cell, str) else False if cell is None else type(cell)(0)
    flags = [cell if row == 7 else usual for row in range(300)]
    frame(300).with_columns(made=pl.Series(flags)).write_parquet(world.source / "a.parquet")
    told(world.refusal(columns=(*COLUMNS, MADE)), reason, "a.parquet", "'made'", "row 8")


def test_refuses_a_flag_of_another_type(world: World) -> None:
    frame(300).with_columns(made=pl.col("at")).write_parquet(world.source / "a.parquet")
    told(world.refusal(columns=(*COLUMNS, MADE)), "SyntheticNotBoolean", "'made'", "Datetime")


def test_made_rows_do_not_count_as_rows_that_there_are(world: World) -> None:
    with_made(frame(300)).write_parquet(world.source / "a.parquet")
    told(world.refusal(columns=(*COLUMNS, MADE), minimum_rows=201), "TooFewRows", "200 different rows beside 100 synthetic ones")
    assert world.prepare(columns=(*COLUMNS, MADE), minimum_rows=200).rows == 300


# ---- sensitive ---------------------------------------------------------------------------------------------------------------


def planted(rows: int = 900) -> pl.DataFrame:
    return frame(rows).with_columns(card=pl.lit(SECRET))


def found_in(folder: Path) -> Iterator[Path]:
    """Files that hold the value, in any of the ways in which a table may hold it."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        body = path.read_bytes()
        text = pl.read_parquet(path).write_ndjson() if body[:4] == b"PAR1" else ""
        if SECRET.encode() in body or SECRET in text:
            yield path


@pytest.mark.parametrize("form", ["parquet", "csv", "csv.gz"])
def test_a_sensitive_value_is_in_no_artifact_log_or_message_of_any_step(
    world: World, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    data = planted()
    match form:
        case "parquet":
            data.write_parquet(world.source / "a.parquet")
        case "csv":
            as_text(data).write_csv(world.source / "a.csv")
        case _:
            as_text(data).write_csv(world.source / "a.csv.gz", compression="gzip")
    assert form == "csv.gz" or list(found_in(world.source)), "the search finds it where it is"
    prepared = world.prepare(columns=SENSITIVE)
    result = judged(world, "uid-1", prepared, GateSpec("roc_auc", minimum=0.5))
    assert result.card is not None
    assert world.store.get_result("uid-1", Step.EVALUATE, "none") == result
    assert not [path for path in found_in(world.root) if not path.is_relative_to(world.source)]
    assert "card" not in world.table(prepared.train).columns
    assert "card" not in world.table(prepared.holdout).columns
    written = "".join(capfd.readouterr())
    assert "rows put in order" in written
    assert SECRET not in written


def test_a_sensitive_column_does_not_tell_rows_apart(world: World) -> None:
    planted().write_parquet(world.source / "a.parquet")
    with_column = world.prepare(columns=SENSITIVE)
    planted().drop("card").write_parquet(world.source / "a.parquet")
    without = world.prepare("uid-2")
    assert (with_column.train, with_column.holdout, with_column.schema) == (without.train, without.holdout, without.schema)
    pl.concat([planted(), planted()[:20].with_columns(card=pl.lit("other"))]).write_parquet(world.source / "a.parquet")
    told(world.refusal(uid="uid-3", columns=SENSITIVE), "TooManyDuplicates", "20 of 920")


def test_a_parquet_file_is_not_asked_for_a_sensitive_column(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    whole = pyarrow.parquet.ParquetFile.iter_batches

    def noted(self: Any, *args: Any, columns: list[str], **given: Any) -> Any:
        asked.extend([columns] if "minute" in self.schema_arrow.names else [])  # the source's, not those of prepare's own files
        return whole(self, *args, columns=columns, **given)

    planted().write_parquet(world.source / "a.parquet")
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", noted)
    world.prepare(columns=SENSITIVE)
    assert asked == [[name for name in planted().columns if name != "card"]]


def test_refuses_data_without_its_sensitive_column_and_tells_nothing_of_what_is_there(world: World) -> None:
    (world.source / "a.csv").write_text(f"7.5,AA,2013-01-01T00:00:00Z,1,55,{SECRET}\n8.5,AA,2013-01-01T00:01:00Z,0,56,{SECRET}\n")
    said = world.refusal(columns=SENSITIVE)
    told(said, "ColumnMissing", "a.csv", "'card' (role sensitive)", "correct data.columns or the file")
    assert SECRET not in said.message
    frame(100).write_parquet(world.source / "a.parquet")
    (world.source / "a.csv").unlink()
    told(world.refusal(columns=SENSITIVE), "ColumnMissing", "a.parquet", "'card' (role sensitive)")


@pytest.mark.parametrize("line", [f"{SECRET},1", f'"{SECRET}', f"{SECRET}\0"])
def test_a_broken_row_is_told_without_its_cells(world: World, capfd: pytest.CaptureFixture[str], line: str) -> None:
    body = as_text(planted(50)).write_csv()
    (world.source / "a.csv").write_text(f"{body}{line}\n")
    said = world.refusal(columns=SENSITIVE)
    assert "a.csv" in said.message
    assert SECRET not in said.message + "".join(capfd.readouterr())


def test_refuses_folders_that_are_named_by_sensitive_values_before_any_is_told(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = world.source / f"card={SECRET}"
    folder.mkdir()
    frame(100).write_parquet(folder / "a.parquet")
    said = world.refusal(columns=SENSITIVE)
    told(said, "SensitiveInPath", "'card'", "take it out of the paths")
    assert SECRET not in said.message + "".join(capfd.readouterr())


def test_a_file_of_nothing_but_sensitive_columns_is_refused_unread(world: World) -> None:
    pl.DataFrame({"card": [SECRET] * 9}).write_csv(world.source / "a.csv")
    told(world.refusal(columns=SENSITIVE), "ColumnMissing", "a.csv")


def test_other_values_in_a_sensitive_column_change_no_byte(world: World) -> None:
    chance = np.random.default_rng(3)
    planted().write_parquet(world.source / "a.parquet")
    one = world.prepare(columns=SENSITIVE)
    planted().with_columns(card=pl.Series(chance.random(900))).write_parquet(world.source / "a.parquet")
    other = world.prepare("uid-2", columns=SENSITIVE)
    for name in ("data", "train", "holdout", "schema", "split"):
        assert getattr(one, name) == getattr(other, name), name
