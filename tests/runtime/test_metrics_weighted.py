"""Metrics of rows with weights against scikit-learn's `sample_weight`, and against rows that are there so many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from perennial_runtime import calibration, metrics_offline
from perennial_runtime.metrics_offline import CALIBRATION
from perennial_runtime.metrics_weighted import alone, difference, effective

Array = np.ndarray[Any, Any]
METRICS = ("roc_auc", "average_precision", "accuracy")
DRAWS = 400


def known(metric: str, labels: Array, scores: Array, weights: Array) -> float:
    if metric == "accuracy":
        return float(accuracy_score(labels, scores >= 0.5, sample_weight=weights))
    of = roc_auc_score if metric == "roc_auc" else average_precision_score
    return float(of(labels, scores, sample_weight=weights))


def sample(rows: int = 700, seed: int = 1, steps: int = 0) -> tuple[Array, Array, Array, Array]:
    """Labels, scores, those of another model, and weights that go with the label; `steps` > 0 makes many ties."""
    chance = np.random.default_rng(seed)
    labels = chance.random(rows) < 0.3
    signal = chance.normal(size=rows) + 1.2 * labels - 0.6
    scores, other = 1 / (1 + np.exp(-signal)), 1 / (1 + np.exp(-signal - chance.normal(0, 0.6, rows)))
    if steps:
        scores, other = np.round(scores * steps) / steps, np.round(other * steps) / steps
    return labels, scores, other, chance.gamma(2.0, 1.0, rows) * np.where(labels, 2.0, 1.0)


def draws(value: Callable[[Array], float], rows: int) -> tuple[float, float]:
    chance = np.random.default_rng(99)
    found = [value(chance.integers(0, rows, rows)) for _ in range(DRAWS)]
    return float(np.quantile(found, 0.05)), float(np.quantile(found, 0.95))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("steps", [0, 7])
def test_a_metric_is_scikit_learns_with_weights_and_its_bounds_are_the_bootstraps(metric: str, steps: int) -> None:
    labels, scores, _, weights = sample(steps=steps)

    def of(rows: Array) -> float:
        return known(metric, labels[rows], scores[rows], weights[rows])

    found = alone(metric, labels, scores, 3, weights)
    assert found.value == pytest.approx(of(np.arange(len(labels))), abs=1e-12)
    assert (found.lower, found.upper) == pytest.approx(draws(of, len(labels)), abs=0.15 * (found.upper - found.lower))
    assert abs(found.value - metrics_offline.alone(metric, labels, scores, 3).value) > 0.001, "the weights say something"


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_paired(metric: str) -> None:
    labels, scores, other, weights = sample()

    def gap(rows: Array) -> float:
        ours, theirs = (known(metric, labels[rows], one[rows], weights[rows]) for one in (scores, other))
        return ours - theirs

    found = difference(metric, labels, scores, other, seed=3, weights=weights)
    assert found.value == pytest.approx(gap(np.arange(len(labels))), abs=1e-12)
    assert (found.lower, found.upper) == pytest.approx(draws(gap, len(labels)), abs=0.15 * (found.upper - found.lower))


@pytest.mark.parametrize("metric", [*METRICS, CALIBRATION])
def test_weights_that_are_all_the_same_change_no_value(metric: str) -> None:
    labels, scores, other, _ = sample(steps=9)
    weights = np.full(len(labels), 7.5)
    plain = metrics_offline.alone(metric, labels, scores, 3)
    found = alone(metric, labels, scores, 3, weights)
    assert found.value == pytest.approx(plain.value, abs=1e-9)
    assert (found.lower, found.upper) == pytest.approx((plain.lower, plain.upper), abs=0.2 * (plain.upper - plain.lower))
    gap = difference(metric, labels, scores, other, seed=3, weights=weights)
    assert gap.value == pytest.approx(metrics_offline.difference(metric, labels, scores, other, 3).value, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_a_weight_of_two_is_the_row_twice_and_a_weight_of_nothing_no_row(metric: str) -> None:
    labels, scores, _, _ = sample(90, steps=9)
    times = np.arange(90) % 3
    rows = np.repeat(np.arange(90), times)
    expected = metrics_offline.alone(metric, labels[rows], scores[rows], 3).value
    assert alone(metric, labels, scores, 3, times.astype(float)).value == pytest.approx(expected, abs=1e-12)


def test_calibration_error_is_the_weighted_mean_gap_of_each_bin_less_what_chance_makes_of_it() -> None:
    labels, scores, _, weights = sample()
    places = np.searchsorted(np.percentile(scores, np.linspace(10, 90, 9)), scores)
    total = 0.0
    for place in np.unique(places):
        mine, gaps = weights[places == place], (scores - labels)[places == place]
        mean = np.average(gaps, weights=mine)
        rows = mine.sum() ** 2 / (mine**2).sum()
        chance = (mine**2 * (gaps - mean) ** 2).sum() / mine.sum() ** 2 * rows / (rows - 1)
        total += mine.sum() / weights.sum() * (mean**2 - chance)
    found = alone(CALIBRATION, labels, scores, 3, weights)
    assert found.value == pytest.approx(np.sqrt(max(total, 0.0)), abs=1e-9)
    assert found.lower < found.value < found.upper


def test_scores_that_say_what_they_mean_have_no_weighted_calibration_error_on_average() -> None:
    values = []
    for seed in range(60):
        chance = np.random.default_rng(seed)
        scores, weights = chance.random(400), chance.gamma(1.0, 1.0, 400)
        squared, _ = calibration.Binned(chance.random(400) < scores, scores).squared(np.ones((1, 400)), weights)
        values.append(float(squared[0]))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_on_a_few_rows_is_no_certainty(metric: str) -> None:
    labels = np.array([True] * 5 + [False] * 5)
    found = alone(metric, labels, labels.astype(float), 0, np.linspace(1, 2, 10))
    assert (found.value, found.upper) == (1.0, 1.0)
    assert found.lower < 0.85


@pytest.mark.parametrize("right", [True, False])
def test_no_rounding_of_weights_makes_a_certainty_of_rows_that_are_all_alike(right: bool) -> None:
    for rows in range(5, 205, 20):
        random = np.random.default_rng(rows)
        labels, weights = np.arange(rows) % 2 == 0, random.gamma(0.5, 1.0, rows)
        found = alone("accuracy", labels, np.where(labels == right, 0.9, 0.1), 7, weights)
        doubt = 1 - 0.05 ** (1 / int(effective(weights)))
        assert found.value == float(right)
        assert (found.lower, found.upper) == pytest.approx((1 - doubt, 1.0) if right else (0.0, doubt))


def test_effective_rows_are_fewer_where_weights_differ() -> None:
    assert effective(np.full(10, 3.0)) == pytest.approx(10)
    assert effective(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
