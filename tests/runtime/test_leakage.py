"""prepare refuses data that gives the answer away, with the numbers; a reason given for a column lets it through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime import leakage
from perennial_runtime.columns import LOT
from perennial_runtime.contract import Column
from perennial_runtime.leakage import AHEAD, Sample, tells
from perennial_runtime.rows import hashed
from runtime.steps_world import COLUMNS, NOW, World, frame

AMOUNT = Column("amount", "feature")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def with_amount(rows: int = 1000) -> pl.DataFrame:
    """`steps_world` data with a number that is another one in every row."""
    return frame(rows).with_columns(amount=pl.Series(np.random.default_rng(3).normal(size=rows)))


def allowed(column: Column) -> Column:
    return replace(column, may_leak=True)


def test_honest_data_is_let_through(world: World) -> None:
    with_amount().write_parquet(world.source / "a.parquet")
    assert world.prepare(columns=(*COLUMNS, AMOUNT)).rows == 1000


@pytest.mark.parametrize(
    "leak",
    [
        pl.col("late") * 2.0 + pl.col("delay").fill_null(0.0) * 1e-4,
        pl.when(pl.col("late") == 1).then(pl.col("delay").fill_null(0.0)),
        pl.when(pl.col("late") == 1).then(pl.lit("paid")).otherwise(pl.lit("open")),
    ],
    ids=["a noisy copy", "a number that only one class has", "a word for each class"],
)
def test_a_feature_that_tells_the_label_is_refused_with_its_auc(world: World, leak: pl.Expr) -> None:
    frame(1000).with_columns(amount=leak).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, AMOUNT))
    assert refused.reason == "LabelLeaked"
    for word in ("'amount'", "AUC 1.0000", "'late'", "800 training rows", "0.995", "allowLeakage"):
        assert word in refused.message
    assert world.prepare(columns=(*COLUMNS, allowed(AMOUNT))).rows == 1000


def test_a_feature_far_from_the_label_in_the_middle_tells_it_too() -> None:
    random = np.random.default_rng(4)
    values = random.normal(size=4000)
    labels = np.abs(values) > 1
    assert tells(pl.Series(values), labels) > 0.995
    assert tells(pl.Series(values[::-1].copy()), labels) < 0.6


def test_a_word_for_each_row_tells_nothing_of_the_rows_between() -> None:
    labels = np.random.default_rng(5).random(1000) < 0.5
    assert tells(pl.Series([f"row {number}" for number in range(1000)]), labels) == pytest.approx(0.5, abs=0.05)


def test_the_auc_of_a_feature_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(6)
    labels = random.random(3000) < 0.2
    values = random.normal(size=3000) + 3 * labels
    assert tells(pl.Series(values), labels) == pytest.approx(roc_auc_score(labels, values), abs=0.002)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (pl.col("flight"), ("'amount' is column 'flight' (role id) again",)),
        (pl.format("N{}", pl.col("flight")), ("another text in each of 800 training rows",)),
        (pl.col("flight") + 7, ("is a counter", "in each of 800 training rows")),
    ],
    ids=["the id", "a text", "a counter"],
)
def test_an_id_among_the_features_is_refused(world: World, feature: pl.Expr, words: tuple[str, ...]) -> None:
    frame(1000).with_columns(amount=feature).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, AMOUNT))
    assert refused.reason == "IdAsFeature"
    for word in (*words, "role id"):
        assert word in refused.message
    assert world.prepare(columns=(*COLUMNS, allowed(AMOUNT))).rows == 1000


def test_rows_that_are_copied_to_the_other_side_under_another_id_are_refused_with_their_share(world: World) -> None:
    data = with_amount()
    copies = data[:50].with_columns(at=pl.col("at") + timedelta(days=30), flight=pl.col("flight") + 5000)
    pl.concat([data, copies]).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, AMOUNT))
    assert refused.reason == "RowsShared"
    assert 40 <= int(refused.message.split()[0]) <= 50
    for word in ("of 210 holdout rows (2", "'amount'", "over 1%", "remove the copies"):
        assert word in refused.message
    assert world.prepare(columns=(*COLUMNS, allowed(AMOUNT))).holdout_rows == 210


def test_rows_that_are_equal_because_their_features_are_coarse_are_no_leak(world: World) -> None:
    coarse = frame(1000).with_columns(delay=(pl.col("delay") / 10).round() * 10)
    coarse.write_parquet(world.source / "a.parquet")
    assert world.prepare().rows == 1000


def test_float32_numbers_of_few_digits_are_coarse() -> None:
    few = pl.Series(np.array([0.1, 12.5, 3.75, 120.4], dtype=np.float32)).cast(pl.Float64)
    many = pl.Series(np.array([0.1234567, 1.0 / 3.0, 51.48125, 120.44071], dtype=np.float32)).cast(pl.Float64)
    assert not leakage._has_digits(few).any()
    assert leakage._has_digits(many).all()


def test_a_time_by_which_the_label_is_known_is_refused(world: World) -> None:
    data = frame(1000)
    base = datetime(2013, 1, 1, tzinfo=UTC)
    mixed = data.with_columns(late=((pl.col("minute") // 10) % 2).cast(pl.Int64))
    moved = mixed.with_columns(at=pl.lit(base) + pl.duration(minutes=pl.col("minute")) + pl.duration(days=pl.col("late") * 100))
    later = moved[:200].with_columns(at=pl.lit(datetime(2014, 1, 1, tzinfo=UTC)) + pl.duration(minutes=pl.col("minute")))
    pl.concat([moved, later.with_columns(flight=pl.col("flight") + 5000)]).write_parquet(world.source / "a.parquet")
    refused = world.refusal()
    assert refused.reason == "TimeTellsLabel"
    assert "'at' (AUC" in refused.message


def test_times_for_which_there_is_a_reason_may_lie_in_the_future(world: World) -> None:
    data = frame(1000).with_columns(at=pl.when(pl.col("minute") >= 990).then(pl.lit(NOW + AHEAD)).otherwise(pl.col("at")))
    data.with_columns(pl.col("at") + timedelta(minutes=1)).write_parquet(world.source / "a.parquet")
    assert world.refusal().reason == "TimeInFuture"
    assert world.prepare(columns=tuple(allowed(one) if one.role == "time" else one for one in COLUMNS)).rows == 1000


def test_copies_are_found_in_a_sample_too(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(leakage, "SAMPLE", 300)
    data = with_amount()
    copies = data[:60].with_columns(at=pl.col("at") + timedelta(days=30), flight=pl.col("flight") + 5000)
    pl.concat([data, copies]).write_parquet(world.source / "a.parquet")
    assert world.refusal(columns=(*COLUMNS, AMOUNT)).reason == "RowsShared"


def test_the_sample_depends_on_the_rows_and_not_on_how_many_pass_by_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data, columns = with_amount(), (*COLUMNS, AMOUNT)
    data = data.with_columns(pl.Series(LOT, hashed(data, leakage.lot_columns(columns))[1]))
    kept = [column.name for column in columns]
    samples = []
    for size in (1000, 7):
        sample = Sample(kept, every=3)
        for start in range(0, 1000, size):
            sample.add(data[start : start + size])
        samples.append(sample.rows())
    assert samples[0].equals(samples[1])
    assert 250 < samples[0].height < 420
    monkeypatch.setattr(leakage, "SAMPLE", 300)
    monkeypatch.setattr(leakage, "CELLS", 6 * 100)
    assert (leakage.every(300, 2), leakage.every(301, 2), leakage.every(301, 6)) == (1, 2, 4)


def test_a_slice_with_one_value_is_refused_before_training(world: World) -> None:
    frame(1000).with_columns(gate=pl.lit("g1")).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, Column("gate", "slice")), slices=("gate",))
    assert refused.reason == "SliceOneValue"
    for word in ("'gate'", "evaluation.slices", "200 holdout rows"):
        assert word in refused.message


def test_a_column_only_for_slices_is_in_the_holdout_and_never_with_the_trainer(world: World) -> None:
    frame(1000).write_parquet(world.source / "a.parquet")
    result = world.prepare(columns=(*COLUMNS, Column("gate", "slice")), slices=("gate",))
    assert "gate" not in world.table(result.train).columns
    assert world.table(result.holdout)["gate"].n_unique() == 7
    assert "gate" not in world.store.get_bytes(result.schema).decode()
