"""Data on a claim: read where it lies, with the columns that its folders name, and never by a link out of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from perennial_runtime import source as sources
from perennial_runtime import source_folder
from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import Column
from perennial_runtime.source import Source
from perennial_runtime.source_files import partition
from runtime.steps_world import COLUMNS, World, as_text, frame


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def by_gate(world: World, data: pl.DataFrame) -> None:
    """A folder for each gate; the column is in no file."""
    for (gate,), rows in data.group_by("gate"):
        folder = world.source / f"gate={gate}"
        folder.mkdir()
        rows.drop("gate").write_parquet(folder / "part-0.parquet")


def test_what_folders_are_named_after_becomes_a_column_with_the_same_rows_as_if_it_stood_in_the_file(world: World) -> None:
    data = frame(600)
    columns = (*COLUMNS, Column("gate", "feature"))
    by_gate(world, data)
    in_folders = world.prepare("folders", columns=columns)
    data.write_parquet(world.root / "one.parquet")
    one = world.prepare("one", columns=columns, source=f"file://{world.root}/one.parquet")
    assert replace(one, listing="") == replace(in_folders, listing="")


def test_numbers_in_the_names_of_folders_are_numbers(world: World) -> None:
    data = frame(600)
    for hour, rows in ((0, data[:300]), (1, data[300:])):
        (world.source / f"hour={hour}").mkdir()
        rows.write_parquet(world.source / f"hour={hour}" / "a.parquet")
    train = world.table(world.prepare(columns=(*COLUMNS, Column("hour", "feature"))).train)
    assert train.schema["hour"] == pl.Float64
    assert train["hour"].value_counts().sort("hour").rows() == [(0.0, 300), (1.0, 180)]


def test_a_folders_name_says_nothing_where_the_file_has_the_column_or_nobody_asks_for_it(world: World) -> None:
    data = frame(300)
    data.write_parquet(world.source / "a.parquet")
    plain = world.prepare("plain")
    (world.source / "a.parquet").unlink()
    (world.source / "delay=0" / "year=2013").mkdir(parents=True)
    data.write_parquet(world.source / "delay=0" / "year=2013" / "a.parquet")
    assert replace(world.prepare("named"), listing="") == replace(plain, listing="")


def test_names_are_decoded_and_the_word_for_no_value_is_missing() -> None:
    assert partition("year=2013/dest=New%20York/a.parquet") == {"year": "2013", "dest": "New York"}
    assert partition("dest=__HIVE_DEFAULT_PARTITION__/x/a=b.parquet") == {"dest": None}


def test_a_file_outside_of_the_named_folders_lacks_the_column(world: World) -> None:
    data = frame(300)
    by_gate(world, data)
    data.drop("gate").write_parquet(world.source / "z.parquet")
    refused = world.refusal(columns=(*COLUMNS, Column("gate", "feature")))
    assert (refused.reason, "z.parquet has no column 'gate'" in refused.message) == ("ColumnMissing", True)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_only_declared_columns_are_read_where_they_alone_tell_rows_apart(world: World, suffix: str) -> None:
    data = as_text(frame(300))
    extra = data.with_columns(junk=pl.lit("x")), data.with_columns(junk=pl.lit(7), more=pl.lit(1.5))
    results = []
    for number, one in enumerate(extra):
        folder = world.source / str(number)
        folder.mkdir()
        getattr(one, f"write_{suffix}")(folder / f"a.{suffix}")
        results.append(world.prepare(f"v{number}", source=f"file://{folder}/", duplicates_by="columns"))
    assert replace(results[0], listing="") == replace(results[1], listing="")
    twice = pl.concat([extra[0], extra[0].with_columns(junk=pl.lit("y"))])
    getattr(twice, f"write_{suffix}")(world.source / "0" / f"a.{suffix}")
    refused = world.refusal(source=f"file://{world.source}/0/", duplicates_by="columns")
    assert (refused.reason, "all columns that data.columns names" in refused.message) == ("TooManyDuplicates", True)


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_followed(world: World) -> None:
    frame(300).write_parquet(world.source / "a.parquet")
    (world.root / "keys.csv").write_text("AKIAKEY\nsecret\n")
    (world.source / "b.parquet").symlink_to(world.root / "keys.csv")
    refused = world.refusal()
    assert (refused.reason, "b.parquet is a link" in refused.message) == ("LinkLeadsOut", True)
    assert "AKIAKEY" not in refused.message
    (world.source / "b.parquet").unlink()
    (world.source / "_hidden").mkdir()
    (world.source / "a.parquet").rename(world.source / "_hidden" / "real.parquet")
    (world.source / "a.parquet").symlink_to("_hidden/real.parquet")
    assert world.prepare().rows == 300


def test_a_folder_or_file_that_is_not_there_is_refused(world: World) -> None:
    for source in (f"file://{world.root}/none/", f"file://{world.source}/none.csv"):
        assert world.refusal(source=source).reason == "ObjectNotFound"


@pytest.mark.parametrize("where", ["nowhere.parquet", "a.parquet"], ids=["to nothing", "to itself"])
def test_a_link_that_leads_nowhere_is_refused_with_the_fix(world: World, where: str) -> None:
    (world.source / "a.parquet").symlink_to(where)
    refused = world.refusal()
    assert (refused.reason, "a.parquet is a link" in refused.message) == ("LinkBroken", True)
    assert "put the file itself there" in refused.message


def test_a_pipe_or_folder_with_a_files_name_is_refused_and_not_waited_for(world: World) -> None:
    os.mkfifo(world.source / "a.parquet")
    refused = world.refusal()
    assert (refused.reason, "a.parquet is no regular file" in refused.message) == ("FileWrongType", True)
    (world.source / "b.csv").mkdir()
    assert world.refusal(source=f"file://{world.source}/b.csv").reason == "FileWrongType"


def test_a_file_that_is_gone_when_it_is_its_turn_is_tried_again(world: World) -> None:
    path = world.source / "a.csv"
    path.write_text("delay\n1\n")
    source = Source(f"file://{world.source}/", world.root / "none")
    [file] = source.files()
    path.unlink()
    with pytest.raises(Unavailable, match=r"a\.csv"), source.opened(file, world.root):
        pass


def test_a_claim_that_fails_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(OSError(errno.ESTALE, "Stale file handle", str(folder)))
        yield "", [], []

    monkeypatch.setattr(source_folder.os, "walk", fails)
    with pytest.raises(Unavailable, match="Stale file handle"):
        Source(f"file://{world.source}/", world.root / "none").files()


def test_more_files_than_are_taken_are_refused_before_all_are_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 2)
    for name in ("a.csv", "b.csv", "notes.txt", "c.csv"):
        (world.source / name).write_text("delay\n1\n")
    refused = world.refusal()
    assert (refused.reason, "more than 2 files" in refused.message) == ("TooManyFiles", True)


@pytest.mark.parametrize("change", ["written over", "removed"])
def test_a_file_that_changes_while_the_source_is_read_is_noticed(world: World, change: str) -> None:
    for name in ("a", "b"):
        (world.source / f"{name}.csv").write_text("delay\n1\n")
    source = Source(f"file://{world.source}/", world.root / "none")
    before = source.files()
    (world.source / "c.csv").write_text("delay\n1\n")
    source.check_unchanged(before)
    path = world.source / "b.csv"
    path.unlink()
    if change == "written over":
        path.write_text("delay\n2\n")
    with pytest.raises(Unavailable) as caught:
        source.check_unchanged(before)
    assert caught.value.reason == "SourceChanged"
    assert ("b.csv was changed" if change == "written over" else "b.csv is gone") in caught.value.message


def test_a_scheme_that_nothing_reads_is_refused(world: World) -> None:
    with pytest.raises(Refused) as caught:
        Source("http://files.example/a.csv", world.root)
    assert caught.value.reason == "UriNotSupported"
