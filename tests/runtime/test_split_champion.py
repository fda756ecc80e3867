"""A champion beside a challenger whose rows are held out by hash or group: rows that either was trained on are not judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perennial_runtime.contract import Champion, GateSpec
from runtime.pipeline_world import judged
from runtime.steps_world import World, frame
from runtime.test_split_keys import BY_GROUP, BY_HASH, grouped, hashes

BESIDE = GateSpec("roc_auc", not_worse_than_serving_by=0.2)
WISHES = [
    BY_HASH,
    BY_GROUP,
    {**BY_HASH, "columns": tuple(one for one in BY_GROUP["columns"] if one.role in ("feature", "label"))},
]


@pytest.mark.parametrize("wish", WISHES, ids=["hash of the id", "group", "hash of whole rows"])
def test_a_champion_of_the_same_split_was_trained_on_no_row_of_the_holdout(tmp_path: Path, wish: dict[str, Any]) -> None:
    world = World(tmp_path)
    grouped(1200).write_parquet(world.source / "a.parquet")
    first = judged(world, "one", world.prepare("one", **wish), GateSpec("roc_auc", minimum=0.5))
    grouped(900, seed=2, start=1200).write_parquet(world.source / "b.parquet")
    prepared = world.prepare("two", parent_uid="one", **wish)
    serving = Champion("delays-one", first.identity, first.bento)
    second = judged(world, "two", prepared, BESIDE, champion=serving, seed=8)
    assert second.champion == first.identity
    assert (second.dropped_rows, second.holdout_rows) == (0, prepared.holdout_rows)


@pytest.mark.parametrize("wish", [BY_HASH, BY_GROUP], ids=["hash", "group"])
def test_rows_that_a_champion_of_another_split_was_trained_on_are_dropped_and_counted(
    tmp_path: Path, wish: dict[str, Any]
) -> None:
    """As after a store that was copied from another ModelDeployment: the salt is another one, the rows are the same."""
    world = World(tmp_path)
    pl.concat([grouped(1200), frame(300, 5, 5000).with_columns(household=pl.col("flight").cast(pl.String))]).write_parquet(
        world.source / "a.parquet"
    )
    trained = world.prepare("one", **{**wish, "salt": "another"})
    first = judged(world, "one", trained, GateSpec("roc_auc", minimum=0.5))
    prepared = world.prepare("two", **wish)
    serving = Champion("delays-one", first.identity, first.bento)
    second = judged(world, "two", prepared, BESIDE, champion=serving, seed=8)
    held = set(world.table(prepared.holdout)["__row_hash"])
    both = len(held & set(hashes(world, trained)))
    assert both > 0.5 * len(held)
    assert (second.dropped_rows, second.holdout_rows) == (both, len(held) - both)
