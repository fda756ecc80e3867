"""Metrics of numbers against scikit-learn; their bounds against resampling written out here and by their properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from perennial_runtime.metrics_regression import METRICS, alone, difference, judgeable
from runtime.resampling import draws

Array = np.ndarray[Any, Any]
KNOWN: dict[str, Callable[..., float]] = {"rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r2_score}
DRAWS = 400


def sample(rows: int = 800, seed: int = 1) -> tuple[Array, Array, Array]:
    """Labels, predictions with an error of about 3, and weights."""
    chance = np.random.default_rng(seed)
    truth = chance.normal(50, 10, rows)
    return truth, truth + chance.normal(0, 3, rows), chance.gamma(2.0, 1.0, rows)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
def test_a_metric_is_scikit_learns_and_its_bounds_are_the_bootstraps(metric: str, weighed: bool) -> None:
    labels, predictions, given_weights = sample()
    weights = given_weights if weighed else None
    own = given_weights if weighed else np.ones(len(labels))

    def of(rows: Array) -> float:
        return KNOWN[metric](labels[rows], predictions[rows], sample_weight=own[rows])

    found = alone(metric, labels, predictions, 3, weights)
    assert found.value == pytest.approx(of(np.arange(len(labels))), rel=1e-12)
    width = found.upper - found.lower
    assert (found.lower, found.upper) == pytest.approx(draws(of, len(labels), DRAWS), abs=0.15 * width)
    assert 0 < width < 0.2 * max(1.0, found.value)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
def test_a_difference_is_paired_and_positive_for_the_better_model(metric: str, weighed: bool) -> None:
    labels, predictions, given_weights = sample()
    worse = predictions + np.random.default_rng(5).normal(0, 1, len(labels))
    weights = given_weights if weighed else None
    own = given_weights if weighed else np.ones(len(labels))
    sign = 1 if metric == "r2" else -1

    def gap(rows: Array) -> float:
        ours, theirs = (KNOWN[metric](labels[rows], one[rows], sample_weight=own[rows]) for one in (predictions, worse))
        return sign * (ours - theirs)

    found = difference(metric, labels, predictions, worse, seed=3, weights=weights)
    assert found.value == pytest.approx(gap(np.arange(len(labels))), rel=1e-9)
    assert found.value > 0
    assert (found.lower, found.upper) == pytest.approx(draws(gap, len(labels), DRAWS), abs=0.15 * (found.upper - found.lower))
    single = alone(metric, labels, predictions, 3, weights)
    assert found.upper - found.lower < single.upper - single.lower


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_compared_with_itself_differs_by_nothing(metric: str) -> None:
    labels, predictions, _ = sample(100)
    found = difference(metric, labels, predictions, predictions, seed=0)
    assert (found.value, found.lower, found.upper) == (0, 0, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_a_weight_of_two_is_the_row_twice_and_a_weight_of_nothing_no_row(metric: str) -> None:
    labels, predictions, _ = sample(60)
    weights = np.arange(60) % 3.0
    twice = np.repeat(np.arange(60), np.arange(60) % 3)
    expected = KNOWN[metric](labels[twice], predictions[twice])
    assert alone(metric, labels, predictions, 0, weights).value == pytest.approx(expected, rel=1e-12)


def test_variance_of_large_numbers_that_differ_little_is_not_lost() -> None:
    labels, predictions, _ = sample(300)
    found = alone("r2", labels + 1e9, predictions + 1e9, 0)
    assert found.value == pytest.approx(r2_score(labels, predictions), abs=1e-6)


@given(
    rows=st.integers(2, 40),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
    metric=st.sampled_from(METRICS),
)
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_the_value_at_any_scale(rows: int, seed: int, scale: float, metric: str) -> None:
    chance = np.random.default_rng(seed)
    labels, predictions = scale * chance.integers(0, 4, rows), scale * chance.normal(size=rows)
    if not judgeable(labels):
        return
    found = alone(metric, labels, predictions, seed)
    assert found.lower <= found.value <= found.upper
    assert metric == "r2" or found.lower >= 0


def test_labels_that_are_all_the_same_are_not_judgeable() -> None:
    assert not judgeable(np.full(50, 3.0))
    assert not judgeable(np.array([3.0]))
    assert judgeable(np.array([3.0, 4.0]))
