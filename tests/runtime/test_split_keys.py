"""Held out by hash or by group: a row keeps its side for ever, and a group is on one side, whatever data comes later."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from perennial_runtime import prepare_gather, spill
from perennial_runtime.contract import Column, PrepareResult, encode_answer
from perennial_runtime.rows import SCHEME
from perennial_runtime.split_keys import KeyedSplit, from_document, keys_of, positions, to_document
from runtime.steps_world import COLUMNS, World, as_text, frame

GROUPED = (*COLUMNS, Column("household", "group"))
NO_TIME = tuple(column for column in GROUPED if column.role != "time")
BY_GROUP = {"holdout_by": "group", "salt": "model-uid", "columns": GROUPED}
BY_HASH = {"holdout_by": "hash", "salt": "model-uid"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def grouped(rows: int = 1200, groups: int = 150, seed: int = 1, start: int = 0) -> pl.DataFrame:
    """Rows of `frame`, each of one of the groups at random."""
    chance = np.random.default_rng([seed, groups])
    return frame(rows, seed, start).with_columns(
        household=pl.Series([f"h{number}" for number in chance.integers(0, groups, rows)])
    )


def sides(world: World, result: PrepareResult, column: str) -> tuple[set[Any], set[Any]]:
    return set(world.table(result.train)[column]), set(world.table(result.holdout)[column])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), st.text(max_size=40), st.sampled_from([0.01, 0.2, 0.5, 0.99])
)
def test_a_side_follows_from_key_salt_and_fraction_alone(keys: list[int], salt: str, fraction: float) -> None:
    split = KeyedSplit("hash", None, fraction, salt)
    found = split.holds_out(np.array(keys, dtype=np.uint64))
    secret = hashlib.sha256(salt.encode()).digest()
    for key, side in zip(keys, found, strict=True):
        digest = hashlib.blake2b(key.to_bytes(8, "little"), digest_size=8, key=secret).digest()
        assert side == (int.from_bytes(digest, "little") / 2**64 < fraction)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_the_share_is_the_fraction_in_expectation_and_two_models_hold_out_other_rows(fraction: float) -> None:
    keys = keys_of(pl.Series(range(20_000)))
    one, other = (KeyedSplit("hash", "id", fraction, salt).holds_out(keys) for salt in ("one", "other"))
    for count, rate in ((one.sum(), fraction), (other.sum(), fraction), ((one & other).sum(), fraction**2)):
        assert binomtest(int(count), 20_000, rate).pvalue > 1e-4


def test_positions_are_spread_evenly() -> None:
    places = positions(keys_of(pl.Series(range(20_000))), "salt") >> np.uint64(60)
    counts = np.bincount(places.astype(np.int64), minlength=16)
    assert ((counts - 1250) ** 2 / 1250).sum() < 45, "chi-squared of 15 degrees, p = 1e-4"


def test_a_key_is_the_same_however_it_is_typed() -> None:
    whole = keys_of(pl.Series([7, 8]))
    for typed in (pl.Series(["7", "8.0"]), pl.Series([7.0, 8.0]), pl.Series(["7", "8"], dtype=pl.Categorical)):
        assert (keys_of(typed) == whole).all()
    assert keys_of(pl.Series(["007"]))[0] != whole[0]


def test_a_split_by_key_reads_back_as_it_was_written() -> None:
    for split in (KeyedSplit("hash", None, 0.2, "uid"), KeyedSplit("group", "household", 0.35, "uid")):
        assert from_document(json.loads(json.dumps(to_document(split)))) == split


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(300, 500), st.integers(80, 160)), min_size=2, max_size=3),
    st.integers(0, 10_000),
    st.sampled_from([0.2, 0.5]),
    st.booleans(),
)
def test_no_group_is_on_both_sides_and_none_ever_changes_its_side(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, int]], seed: int, fraction: float, timed: bool
) -> None:
    world, start, parent = World(tmp_path_factory.mktemp("world")), 0, None
    ever: tuple[set[str], set[str]] = (set(), set())
    wish = {**BY_GROUP, "columns": GROUPED if timed else NO_TIME, "holdout_fraction": fraction, "minimum_rows": 1}
    for number, (rows, groups) in enumerate(batches):
        grouped(rows, groups, seed + number, start).write_parquet(world.source / f"{number}.parquet")
        start += rows
        result = world.prepare(f"uid-{number}", parent_uid=parent, **wish)
        parent = f"uid-{number}"
        for seen, found in zip(ever, sides(world, result, "household"), strict=True):
            seen.update(found)
        assert not ever[0] & ever[1]
        assert result.train_rows + result.holdout_rows == start
        groups_found = [len(found) for found in sides(world, result, "household")]
        assert (result.groups, result.held_out_groups) == (sum(groups_found), groups_found[1])


@pytest.mark.parametrize("columns", [COLUMNS, tuple(column for column in COLUMNS if column.role not in ("id", "time"))])
def test_a_row_keeps_its_side_by_hash_when_data_comes_and_goes(world: World, columns: tuple[Column, ...]) -> None:
    frame(800).write_parquet(world.source / "a.parquet")
    first = world.prepare(columns=columns, **BY_HASH)
    frame(500, seed=2, start=800).write_parquet(world.source / "b.parquet")
    frame(800)[300:].write_parquet(world.source / "a.parquet")
    second = world.prepare("uid-2", parent_uid="uid-1", columns=columns, **BY_HASH)
    held = [set(world.table(one.holdout)["__row_hash"]) for one in (first, second)]
    trained = [set(hashes(world, one)) for one in (first, second)]
    assert not (held[0] | held[1]) & (trained[0] | trained[1])
    assert second.rows == 1000
    assert first.cutoff == second.cutoff == ""
    assert second.key == ("flight" if columns is COLUMNS else "")


def hashes(world: World, result: PrepareResult) -> list[int]:
    document = json.loads(world.store.get_bytes(result.split))
    found: list[int] = np.load(world.store.get_file(document["train_rows"], world.root / "hashes")).tolist()
    return found


def test_the_split_goes_on_by_the_column_that_the_first_version_was_split_by(world: World) -> None:
    """A second column with the role id, which keeps a champion comparable, moves no row; nor does an id where there was none."""
    frame(600).write_parquet(world.source / "a.parquet")
    first = world.prepare(**BY_HASH)
    more = (Column("gate", "id"), *COLUMNS)
    second = world.prepare("uid-2", parent_uid="uid-1", columns=more, **{**BY_HASH, "salt": "another"})
    assert sides(world, first, "flight") == sides(world, second, "flight")
    assert world.prepare("alone", columns=more, **BY_HASH).key == "gate"
    whole = tuple(column for column in COLUMNS if column.role != "id")
    world.prepare("whole-1", columns=whole, **BY_HASH)
    assert world.prepare("whole-2", parent_uid="whole-1", **BY_HASH).key == ""


def test_rows_with_one_id_are_on_one_side(world: World) -> None:
    data = frame(900).with_columns(flight=pl.col("flight") // 3)
    data.write_parquet(world.source / "a.parquet")
    trained, held = sides(world, world.prepare(**BY_HASH), "flight")
    assert not trained & held
    assert len(trained | held) == 300


@pytest.mark.parametrize("wish", [BY_HASH, BY_GROUP, {**BY_GROUP, "columns": NO_TIME}])
def test_the_same_rows_give_the_same_digests_whatever_fits_into_memory_in_any_order_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any]
) -> None:
    one, other = World(tmp_path / "one"), World(tmp_path / "other")
    one.root.mkdir()
    other.root.mkdir()
    data = as_text(grouped(2000))
    data.write_parquet(one.source / "a.parquet")
    whole = one.prepare(**wish)
    for number in range(4):
        data[number::4][::-1].write_csv(other.source / f"{number}.csv")
    monkeypatch.setattr(spill, "BLOCK_ROWS", 64)
    monkeypatch.setattr(prepare_gather, "Runs", partial(spill.Runs, run_bytes=20_000, part_bytes=10_000))
    found = other.prepare(**wish)
    assert replace(found, listing="", schema="") == replace(whole, listing="", schema="")
    assert len(encode_answer(replace(found, key="k" * 63, rows=10**9, groups=10**8, synthetic=10**8, left_out=10**8))) < 1024


def test_by_group_the_group_is_in_both_files_and_named_for_the_trainer(world: World) -> None:
    grouped().write_parquet(world.source / "a.parquet")
    result = world.prepare(**BY_GROUP)
    assert world.table(result.train).columns == ["delay", "carrier", "late", "at", "flight", "household"]
    assert world.table(result.train)["at"].is_sorted()
    assert json.loads(world.store.get_bytes(result.schema))["group"] == "household"


def told(refused: Any, reason: str, *words: str) -> None:
    assert refused.reason == reason, refused.message
    for word in words:
        assert word in refused.message


def test_refuses_one_group_only(world: World) -> None:
    grouped(groups=1).write_parquet(world.source / "a.parquet")
    told(world.refusal(**BY_GROUP), "OneGroup", "'household'", "one value in all 1200 rows", "finer group")


def test_refuses_groups_that_all_fall_on_one_side(world: World) -> None:
    grouped(groups=2).write_parquet(world.source / "a.parquet")
    empty = {(world.refusal(**{**BY_GROUP, "salt": salt, "holdout_fraction": share}).reason) for salt, share in two_sided()}
    assert empty == {"HoldoutEmpty", "TrainingEmpty"}


def two_sided() -> list[tuple[str, float]]:
    """Salts with which both groups fall on the same side: trained, and held out."""
    keys = keys_of(pl.Series(["h0", "h1"]))
    found = []
    for share, wanted in ((0.01, False), (0.99, True)):
        salts = (f"salt-{number}" for number in range(100))
        found.append((next(s for s in salts if (KeyedSplit("group", "g", share, s).holds_out(keys) == wanted).all()), share))
    return found


def test_refuses_a_side_that_is_far_smaller_than_was_asked_for_and_says_how_many_groups_it_has(world: World) -> None:
    keys = keys_of(pl.Series([f"h{number}" for number in range(20)]))
    held = KeyedSplit("group", "household", 0.2, "model-uid").holds_out(keys)
    assert 0 < held.sum() < 20
    giant = f"h{int(np.flatnonzero(~held)[0])}"
    data = grouped(1200, 20).with_columns(
        pl.when(pl.int_range(pl.len()) % 20 > 0).then(pl.lit(giant)).otherwise("household").alias("household")
    )
    there = keys_of(data["household"].unique())
    few = int(KeyedSplit("group", "household", 0.2, "model-uid").holds_out(there).sum())
    data.write_parquet(world.source / "a.parquet")
    said = world.refusal(**BY_GROUP, minimum_rows=1000)
    told(
        said,
        "SideTooSmall",
        "holdout rows",
        f"({few} of {len(there)} groups",
        "minimumRows 1000",
        "0.2 asks for 100 at least",
        "'household'",
    )
    assert world.prepare(**BY_GROUP, minimum_rows=10).rows == 1200


@pytest.mark.parametrize(("column", "wish"), [("household", BY_GROUP), ("flight", BY_HASH)])
def test_refuses_a_row_without_what_it_is_split_by(world: World, column: str, wish: dict[str, Any]) -> None:
    data = grouped().with_columns(pl.when(pl.int_range(pl.len()) == 41).then(None).otherwise(column).alias(column))
    data.write_parquet(world.source / "a.parquet")
    told(world.refusal(**wish), "GroupMissing" if column == "household" else "IdMissing", "a.parquet", f"'{column}'", "row 42")
    as_text(data).write_csv(world.source / "a.csv")
    (world.source / "a.parquet").unlink()
    told(world.refusal(**wish), "GroupMissing" if column == "household" else "IdMissing", "a.csv", "row 42")


def test_refuses_one_class_only_on_a_side(world: World) -> None:
    data = grouped()
    split = KeyedSplit("group", "household", 0.2, "model-uid")
    held = pl.Series(split.holds_out(keys_of(data["household"])))
    data.with_columns(late=pl.when(held).then(0).otherwise("late")).write_parquet(world.source / "a.parquet")
    told(world.refusal(**BY_GROUP), "OneClass", f"{int(held.sum())} holdout rows")


def test_refuses_a_feature_that_is_the_group_again(world: World) -> None:
    grouped().with_columns(family=pl.col("household")).write_parquet(world.source / "a.parquet")
    columns = (*GROUPED, Column("family", "feature"))
    told(world.refusal(**{**BY_GROUP, "columns": columns}), "IdAsFeature", "'family'", "'household' (role group)")


CHANGES: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({**BY_HASH}, {**BY_GROUP}, ("by is group", "split by hash")),
    ({}, {**BY_HASH}, ("by is hash", "split by time")),
    ({**BY_HASH}, {}, ("by is time", "split by hash")),
    ({**BY_HASH}, {**BY_HASH, "holdout_fraction": 0.3}, ("fraction is 0.3", "with 0.2", "set it back to 0.2")),
    ({**BY_HASH}, {**BY_HASH, "columns": COLUMNS[:4]}, ("'flight'", "does not give the role id")),
    (
        {**BY_GROUP},
        {**BY_GROUP, "columns": (*COLUMNS, Column("gate", "group"))},
        ("'household'", "does not give the role group"),
    ),
    (
        {**BY_HASH, "columns": COLUMNS[:4]},
        {**BY_HASH, "columns": COLUMNS[:4], "duplicates_by": "columns"},
        ("whole rows", "flight, gate, household, minute gone"),
    ),
]


@pytest.mark.parametrize(("before", "after", "words"), CHANGES)
def test_refuses_whatever_would_move_a_row_to_the_other_side(
    world: World, before: dict[str, Any], after: dict[str, Any], words: tuple[str, ...]
) -> None:
    grouped().write_parquet(world.source / "a.parquet")
    world.prepare(**before)
    told(world.refusal(uid="uid-2", parent_uid="uid-1", **after), "SplitChanged", *words, "new ModelDeployment")
    assert world.prepare("uid-3", **after).rows == 1200


@pytest.mark.parametrize("wish", [BY_HASH, BY_GROUP, {**BY_HASH, "columns": COLUMNS[:4]}], ids=["id", "group", "whole rows"])
def test_refuses_to_go_on_with_a_split_by_hashes_of_another_scheme(world: World, wish: dict[str, Any]) -> None:
    """A version that was prepared before hashes had a scheme: its split.json does not say any."""
    grouped().write_parquet(world.source / "a.parquet")
    first = world.prepare(**wish)
    document = json.loads(world.store.get_bytes(first.split))
    assert document.pop("row_hashes") == SCHEME
    world.store.put_result("uid-old", "prepare", replace(first, split=world.store.put_bytes(json.dumps(document).encode())))
    refused = world.refusal(uid="uid-2", parent_uid="uid-old", **wish)
    told(refused, "SplitChanged", "hashes of scheme 1", f"those of scheme {SCHEME}", "new ModelDeployment")


def test_a_split_by_time_goes_on_whatever_the_scheme_of_the_hashes(world: World) -> None:
    grouped().write_parquet(world.source / "a.parquet")
    first = world.prepare()
    document = json.loads(world.store.get_bytes(first.split))
    assert document.pop("row_hashes") == SCHEME
    world.store.put_result("uid-old", "prepare", replace(first, split=world.store.put_bytes(json.dumps(document).encode())))
    assert world.prepare("uid-2", parent_uid="uid-old").holdout == first.holdout


def test_refuses_a_split_that_is_none(world: World) -> None:
    grouped().write_parquet(world.source / "a.parquet")
    first = world.prepare(**BY_GROUP)
    document = json.loads(world.store.get_bytes(first.split))
    for change in ({"salt": None}, {"by": "luck"}, {"fraction": "x"}, {"columns": 5}, {"row_hashes": "x"}):
        broken = world.store.put_bytes(json.dumps({**document, **change}).encode())
        uid = f"uid-{sorted(change)}"
        world.store.put_result(uid, "prepare", replace(first, split=broken))
        reason = world.refusal(uid="uid-2", parent_uid=uid, **BY_GROUP).reason
        assert reason in ("ParentSplitBroken", "SplitChanged" if "by" in change else "")
