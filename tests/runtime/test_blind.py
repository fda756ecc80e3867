"""The evaluation is blind: no row of the holdout leaves a trace in what a trainer is given, so none in what it trains."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from perennial_runtime.contract import PrepareResult, TrainSpec
from perennial_runtime.fetch import fetch
from perennial_runtime.recipes.train import train
from runtime.steps_world import World, frame

HELD_OUT = 120
"""Of 600 rows: the newest fifth."""


def changed(data: pl.DataFrame) -> pl.DataFrame:
    """The same rows, but those of the newest fifth tell the opposite, of another carrier, with other delays."""
    old, new = data.head(data.height - HELD_OUT), data.tail(HELD_OUT)
    return pl.concat(
        [old, new.with_columns(late=1 - pl.col("late"), carrier=pl.lit("ZZ"), delay=pl.col("delay") * -3 + 1000)], how="vertical"
    )


def prepared(folder: Path, data: pl.DataFrame) -> tuple[World, PrepareResult]:
    folder.mkdir()
    world = World(folder)
    data.write_parquet(world.source / "a.parquet")
    return world, world.prepare()


def trained(world: World, result: PrepareResult, folder: Path) -> dict[str, bytes]:
    """Every file that a trainer is given, and the model that a recipe makes of them."""
    folder.mkdir()
    (folder / "out").mkdir()
    spec = TrainSpec(
        version="delays-v1", uid="uid-1", attempt=1, store=world.spec().store, train=result.train, schema=result.schema, seed=7,
        task="classification", algorithm="logistic-regression", hyperparameters={},
    )  # fmt: skip
    fetch(spec, world.store, folder / "train.parquet", folder / "params.json", folder / "out")
    with threadpool_limits(1):
        train("logistic-regression", folder / "params.json", folder / "train.parquet", folder / "out")
    given = {name: (folder / name).read_bytes() for name in ("train.parquet", "params.json")}
    return given | {name: (folder / "out" / name).read_bytes() for name in ("model.onnx", "parity.parquet")}


def test_other_rows_in_the_holdout_change_no_byte_that_is_trained_on_or_trained(tmp_path: Path) -> None:
    data = frame(600)
    one, first = prepared(tmp_path / "one", data)
    other, second = prepared(tmp_path / "other", changed(data))
    assert first.holdout_rows == second.holdout_rows == HELD_OUT
    assert first.holdout != second.holdout, "they do differ"
    assert first.data != second.data
    assert trained(one, first, tmp_path / "a") == trained(other, second, tmp_path / "b")


@pytest.mark.parametrize("number", [0, 479])
def test_another_row_in_the_training_data_does_change_it(tmp_path: Path, number: int) -> None:
    data = frame(600)
    _, first = prepared(tmp_path / "one", data)
    flipped = data.with_row_index("n").with_columns(
        late=pl.when(pl.col("n") == number).then(1 - pl.col("late")).otherwise("late")
    )
    _, second = prepared(tmp_path / "other", flipped)
    assert first.train != second.train


def test_params_tell_nothing_of_the_holdout(tmp_path: Path) -> None:
    world, result = prepared(tmp_path / "one", frame(600))
    given = trained(world, result, tmp_path / "a")
    words = json.dumps(json.loads(given["params.json"]))
    assert result.holdout not in words
    assert result.split not in words
    assert result.data not in words
