"""prepare beside the version that serves: what cannot be compared is refused before a training, and what is not known goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from perennial_runtime.contract import Champion, Column, PrepareResult
from perennial_runtime.rows import SCHEME
from perennial_runtime.store import blob_path
from runtime.steps_world import COLUMNS, World, frame
from runtime.tasks_world import KINDS, kinds

SERVES = Champion("delays-v1", "identity", "bento", uid="uid-1")
SEVERAL = {"task": "multiclass", "columns": KINDS}
FIX = "take notWorseThanServingBy out of the gates for this version"
CODE = Column("code", "feature")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def write(world: World, rows: pl.DataFrame) -> None:
    rows.write_parquet(world.source / "a.parquet")


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(code=pl.col("flight") * 37 % 11)


def worded(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(code=pl.concat_str(pl.lit("c"), pl.col("flight") * 37 % 11))


def test_other_classes_are_refused_before_they_are_trained_on_and_both_lists_are_told(world: World) -> None:
    write(world, kinds())
    world.prepare(**SEVERAL)
    write(world, kinds().with_columns(pl.col("kind").replace("late", "too late")))
    found = world.refusal(uid="uid-2", champion=SERVES, **SEVERAL)
    assert found.reason == "ChampionNotComparable"
    for words in (
        "delays-v1 tells 3 classes ('late', 'early', 'on time') apart",
        "this version 3 classes ('too late', 'early', 'on time')",
        FIX,
    ):
        assert words in found.message
    assert world.store.get_result("uid-2", "prepare") is None, "another try asks again"
    assert found.data == world.prepare(uid="uid-3", **SEVERAL).data, "a later version of the same rows is known by it"


def test_another_task_is_refused(world: World) -> None:
    write(world, kinds())
    world.prepare()
    found = world.refusal(uid="uid-2", champion=SERVES, **SEVERAL)
    assert found.reason == "ChampionNotComparable"
    assert "delays-v1 was made for a classification, and this is a multiclass" in found.message


@pytest.mark.parametrize(
    ("before", "now", "rows", "words"),
    [
        ((*COLUMNS, CODE), COLUMNS, (numbered, numbered), "delays-v1 needs code, which data.columns no longer has"),
        ((*COLUMNS, CODE), (*COLUMNS, CODE), (worded, numbered), "column 'code' was categorical when delays-v1 was trained"),
        (
            COLUMNS,
            (*COLUMNS[:3], Column("early", "label"), COLUMNS[4]),
            (lambda rows: rows, lambda rows: rows.with_columns(early=1 - pl.col("late"))),
            "delays-v1 predicts late, which data.columns no longer has",
        ),
    ],
    ids=["gone", "a number now", "another label"],
)
def test_column_that_the_champion_cannot_do_without_is_refused(
    world: World,
    before: tuple[Column, ...],
    now: tuple[Column, ...],
    rows: tuple[Callable[[pl.DataFrame], pl.DataFrame], Callable[[pl.DataFrame], pl.DataFrame]],
    words: str,
) -> None:
    write(world, rows[0](frame()))
    world.prepare(columns=before)
    write(world, rows[1](frame()))
    found = world.refusal(uid="uid-2", champion=SERVES, columns=now)
    assert found.reason == "ChampionNotComparable"
    assert words in found.message
    assert FIX in found.message


def test_number_that_is_text_now_is_left_to_evaluate_for_its_cells_may_be_numbers(world: World) -> None:
    write(world, numbered(frame()))
    world.prepare(columns=(*COLUMNS, CODE))
    write(world, worded(frame()))
    assert world.prepare("uid-2", champion=SERVES, columns=(*COLUMNS, CODE)).rows == 600


def test_rows_that_were_hashed_in_another_way_are_refused(world: World) -> None:
    write(world, frame())
    first = world.prepare()
    split = json.loads(world.store.get_bytes(first.split))
    del split["row_hashes"]
    older = replace(first, split=world.store.put_bytes(json.dumps(split).encode()))
    world.store.put_result("uid-0", "prepare", older)
    found = world.refusal(uid="uid-2", champion=Champion("delays-v0", "identity", "bento", uid="uid-0"))
    assert found.reason == "ChampionNotComparable"
    assert f"of delays-v0 were hashed by scheme 1, and those of this version by scheme {SCHEME}" in found.message


def test_same_classes_are_prepared(world: World) -> None:
    write(world, kinds())
    first = world.prepare(**SEVERAL)
    assert world.prepare("uid-2", champion=SERVES, **SEVERAL) == first


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda world, first: (world.root / "store/results/uid-1/prepare.json").unlink(), "PrepareResultMissing"),
        (lambda world, first: (world.root / "store/results/uid-1/prepare.json").write_text("{"), "ResultBroken"),
        (lambda world, first: (world.root / "store" / blob_path(first.schema)).unlink(), "ObjectNotFound"),
        (lambda world, first: (world.root / "store" / blob_path(first.schema)).write_text("{}"), "DigestMismatch"),
        (lambda world, first: schema_is(world, first, b"[1, 2]"), "TypeError"),
        (lambda world, first: schema_is(world, first, b'{"task": "multiclass", "classes": ["a"]}'), "ValueError"),
        (lambda world, first: schema_is(world, first, b'{"features": [{}], "label": "late"}'), "KeyError"),
    ],
    ids=["no result", "broken result", "no schema", "altered schema", "no document", "no classes", "no features"],
)
def test_champion_of_which_the_store_tells_nothing_is_left_to_evaluate_and_the_log_says_so(
    world: World, capsys: pytest.CaptureFixture[str], spoil: Callable[[World, PrepareResult], object], why: str
) -> None:
    write(world, kinds())
    first = world.prepare(**SEVERAL)
    write(world, kinds().with_columns(pl.col("kind").replace("late", "too late")))
    spoil(world, first)
    assert world.prepare("uid-2", champion=SERVES, **SEVERAL).train_rows == first.train_rows
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (said,) = [line for line in lines if line["event"].startswith("left to evaluate")]
    assert (said["version"], said["why"]) == ("delays-v1", why)


def test_champion_whose_uid_is_not_told_is_left_to_evaluate(world: World) -> None:
    write(world, frame())
    assert world.prepare("uid-2", champion=replace(SERVES, uid="")).rows == 600


def schema_is(world: World, first: PrepareResult, body: bytes) -> None:
    world.store.put_result("uid-1", "prepare", replace(first, schema=world.store.put_bytes(body)), replace=True)
