"""Rows that count more than others: what is refused, what the trainer learns of it, and every gate again by scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from threadpoolctl import threadpool_limits

from perennial_runtime import export
from perennial_runtime.contract import Column, GateSpec, SliceSpec
from perennial_runtime.evaluate_slices import measure_slices, p_under, part
from perennial_runtime.measures import Sample, alone
from perennial_runtime.recipes import models
from perennial_runtime.recipes.encoders import RateEncoder
from perennial_runtime.recipes.hyperparameters import resolve
from runtime.steps_world import COLUMNS, World
from runtime.tasks_world import NUMBERS, Made, made, weighed

PAYS = Column("pays", "weight")
GATES = (
    GateSpec("roc_auc", minimum=0.5),
    GateSpec("average_precision", minimum=0.3),
    GateSpec("accuracy", minimum=0.5),
    GateSpec("calibration_error", maximum=0.5),
    GateSpec("roc_auc", not_worse_than_serving_by=0.2),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.of(tmp_path_factory.mktemp("world"), weighed())


@pytest.fixture(scope="module")
def classes(world: World) -> Made:
    first = made(world, gates=GATES[:1], task="classification", columns=(*COLUMNS, PAYS), hyperparameters={"max_iter": 2})
    return made(world, "uid-2", gates=GATES, task="classification", columns=(*COLUMNS, PAYS), champion=first.champion())


# ---- data ----


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(None, "3 missing or NaN"), (float("nan"), "3 missing or NaN"), (float("inf"), "3 infinite"), (-1.0, "3 under 0")],
)
def test_weights_that_are_none_are_refused_with_their_count(tmp_path: Path, wrong: float | None, words: str) -> None:
    world = World(tmp_path)
    spoilt = pl.when(pl.col("minute").is_in([7, 8, 300])).then(pl.lit(wrong, pl.Float64)).otherwise(pl.col("pays"))
    weighed(400).with_columns(pays=spoilt).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, PAYS))
    assert refused.reason == "WeightWrong"
    for word in ("'pays' (role weight) is no finite number of 0 or more in 3 of 400 rows", words, "a.parquet, row 8"):
        assert word in refused.message


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (pl.lit(0.0), "is 0 in 80 of 80 holdout rows, all of them"),
        (pl.when(pl.col("minute") < 320).then(0.0).otherwise(1.0), "is 0 in 320 of 320 training rows, all of them"),
        (pl.col("late").cast(pl.Float64), "holdout rows, all but "),
    ],
    ids=["everywhere", "in training", "in a class"],
)
def test_weights_that_leave_nothing_to_count_are_refused(tmp_path: Path, weights: pl.Expr, words: str) -> None:
    world = World(tmp_path)
    weighed(400).with_columns(pays=weights).write_parquet(world.source / "a.parquet")
    refused = world.refusal(columns=(*COLUMNS, PAYS))
    assert refused.reason == "WeightsZero"
    assert words in refused.message


def test_weights_are_in_both_sides_and_are_no_feature(classes: Made) -> None:
    assert classes.params["weight"] == "pays"
    assert "pays" not in [one["name"] for one in classes.params["features"]]
    assert classes.train["pays"].dtype == classes.holdout["pays"].dtype == pl.Float64
    assert (classes.train["pays"] == 0).any()


# ---- judgement ----


def test_every_gate_is_scikit_learns_with_the_weights_of_the_holdout(classes: Made) -> None:
    labels, weights = classes.holdout["late"].to_numpy(), classes.holdout["pays"].to_numpy()
    scores = classes.answers(classes.holdout, "score")
    found = {named: gate["estimate"] for named, gate in classes.evidence.items()}
    assert found["roc_auc", "minimum"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=2e-6)
    precision = average_precision_score(labels, scores, sample_weight=weights)
    assert found["average_precision", "minimum"] == pytest.approx(precision, abs=2e-6)
    accuracy = accuracy_score(labels, scores >= 0.5, sample_weight=weights)
    assert found["accuracy", "minimum"] == pytest.approx(accuracy, abs=2e-6)
    assert abs(found["roc_auc", "minimum"] - roc_auc_score(labels, scores)) > 1e-4, "the weights say something"
    for gate in classes.gates.values():
        assert gate.lower <= gate.estimate <= gate.upper
        assert gate.lower < gate.upper
    assert "Rows count by their weights here" in classes.card["markdown"]
    assert "Rows count by their weights here" in classes.card["html"]


def test_errors_of_a_regression_are_scikit_learns_with_weights(world: World) -> None:
    gates = (GateSpec("rmse", maximum=12.0), GateSpec("mae", maximum=9.0), GateSpec("r2", minimum=0.5))
    numbers = made(world, "uid-3", gates=gates, task="regression", columns=(*NUMBERS, PAYS))
    labels, weights = numbers.holdout["arrival"].to_numpy(), numbers.holdout["pays"].to_numpy()
    predictions = numbers.answers(numbers.holdout, "prediction")
    found = {metric: gate["estimate"] for (metric, _), gate in numbers.evidence.items()}
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, predictions, sample_weight=weights), rel=1e-5)
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, predictions, sample_weight=weights), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(labels, predictions, sample_weight=weights), abs=1e-5)
    claims = json.loads((numbers.out / "metrics.json").read_text())
    assert claims["inner_rows"] < 0.1 * numbers.train.height, "rows of no weight are left out"


def test_a_slice_with_weights_has_its_p_from_the_bootstrap_and_one_of_no_weight_is_not_judged() -> None:
    chance = np.random.default_rng(3)
    labels = chance.random(900) < 0.4
    scores = 1 / (1 + np.exp(-(chance.normal(size=900) + 2 * labels - 1)))
    cities = chance.choice(["Bonn", "Jena", "Kiel"], 900)
    weights = np.where(cities == "Kiel", 0.0, chance.gamma(2.0, 1.0, 900))
    scores = np.where(cities == "Jena", chance.random(900), scores)
    parted = part(pl.DataFrame({"city": cities}).get_column, [SliceSpec("city", 100)])
    for metric in ("roc_auc", "accuracy"):
        gate = GateSpec(metric, minimum_per_slice=0.75)
        results, document = measure_slices({0: gate}, parted, Sample(labels, scores, weights), 7)
        assert (results[0].found.judged, results[0].found.not_judged, results[0].found.under) == (2, 1, 1)
        assert results[0].found.told[0].name == "city=Jena"
        assert "all of weight 0" in document["notJudged"][0]["why"]


def test_a_slice_at_its_minimum_is_found_under_it_as_often_as_it_should_be() -> None:
    """Accuracy of 0.8 with weights: p is at most 5 % in about 5 % of the draws."""
    under, runs = 0, 300
    for seed in range(runs):
        chance = np.random.default_rng(seed)
        labels = chance.random(300) < 0.5
        right = chance.random(300) < 0.8
        sample = Sample(labels, np.where(right == labels, 0.9, 0.1), chance.gamma(2.0, 1.0, 300))
        under += p_under("accuracy", alone("accuracy", sample, seed), 0.8, sample) <= 0.05
    assert 0.01 < under / runs < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


# ---- training ----


FEATURES = (export.Feature("delay", "numeric"), export.Feature("carrier", "categorical"))


def fitted(algorithm: str, rows: models.Rows) -> Any:
    with threadpool_limits(1):
        return models.fit(algorithm, FEATURES, resolve(algorithm, {"max_iter": 20}), seed=7, data=rows, report=lambda *_: None)


def told(weights: np.ndarray[Any, Any] | None, **columns: pl.Expr) -> models.Rows:
    data = weighed(900).with_columns(**columns)
    return models.Rows(export.columns(data, FEATURES), data["late"].to_numpy(), weights)


@pytest.mark.parametrize("algorithm", ["gradient-boosting", "logistic-regression"])
def test_weights_that_are_all_the_same_change_no_model(algorithm: str) -> None:
    columns = told(None).columns
    plain = fitted(algorithm, told(None)).predict_proba(columns)[:, 1]
    same = fitted(algorithm, told(np.full(900, 4.0)).weighing()).predict_proba(columns)[:, 1]
    assert same == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("algorithm", ["gradient-boosting", "logistic-regression"])
def test_rows_of_no_weight_might_as_well_not_be_there(algorithm: str) -> None:
    some = np.arange(900) % 3 > 0
    rows = told(some.astype(float))
    without = models.Rows(rows.columns.filter(pl.Series(some)), rows.labels[some], np.ones(int(some.sum())))
    ours, theirs = (fitted(algorithm, one).predict_proba(rows.columns)[:, 1] for one in (rows.weighing(), without))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("algorithm", ["gradient-boosting", "logistic-regression"])
def test_rows_that_count_more_pull_the_model_their_way(algorithm: str) -> None:
    rows = told(None)
    heavy = np.where((rows.columns["carrier"] == "UA").to_numpy() & (rows.labels == 1), 20.0, 1.0)
    weighty = fitted(algorithm, models.Rows(rows.columns, rows.labels, heavy).weighing())
    gained = weighty.predict_proba(rows.columns)[:, 1] - fitted(algorithm, rows).predict_proba(rows.columns)[:, 1]
    of_ua = (rows.columns["carrier"] == "UA").to_numpy()
    assert gained[of_ua].mean() > gained[~of_ua].mean() + 0.1


def test_rates_of_weighted_rows_are_those_of_rows_that_are_there_so_often() -> None:
    chance = np.random.default_rng(1)
    words, labels = chance.choice(["a", "b", "c"], (300, 1)), (chance.random(300) < 0.4).astype(np.int64)
    times = chance.integers(1, 4, 300)
    weighted = RateEncoder().fit(words, labels, sample_weight=times.astype(float))
    repeated = RateEncoder().fit(np.repeat(words, times, axis=0), np.repeat(labels, times))
    assert weighted.rates_[0] == pytest.approx(repeated.rates_[0])
    assert weighted.default_ == pytest.approx(repeated.default_)


# ---- classes ----


def test_balanced_classes_count_the_same_as_a_whole() -> None:
    rows = told(None)
    found = rows.by_class({"balanced": 1.0})
    assert found.weights is not None
    assert found.weights[rows.labels == 1].sum() == pytest.approx(found.weights[rows.labels == 0].sum())
    assert found.weights.mean() == pytest.approx(1)
    twice = models.Rows(rows.columns, rows.labels, np.where(rows.labels == 1, 2.0, 1.0)).by_class({"balanced": 1.0})
    assert twice.weights == pytest.approx(found.weights), "by weights, not by rows"


def test_given_weights_of_classes_stand_in_their_ratio_and_move_the_scores() -> None:
    rows = told(None)
    found = rows.by_class({"0": 1.0, "1": 5.0})
    assert found.weights is not None
    assert found.weights[rows.labels == 1][0] / found.weights[rows.labels == 0][0] == pytest.approx(5)
    assert rows.by_class({}) is rows
    plain, moved = (fitted("gradient-boosting", one).predict_proba(rows.columns)[:, 1].mean() for one in (rows, found))
    assert moved > plain + 0.1
