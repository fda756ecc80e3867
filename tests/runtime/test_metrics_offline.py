"""Metrics against definitions written out here and against scikit-learn; bounds by their properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, roc_auc_score

from perennial_runtime.metrics_offline import Estimate, alone, difference, judgeable, needed_rows

METRICS = ("roc_auc", "average_precision", "accuracy")


def sample(rows: int, seed: int, steps: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels and scores that know something of them; `steps` > 0 makes many ties."""
    random = np.random.default_rng(seed)
    labels = random.random(rows) < 0.3
    scores = 1 / (1 + np.exp(-(random.normal(size=rows) + 1.2 * labels - 0.6)))
    return labels, np.round(scores * steps) / steps if steps else scores


@pytest.mark.parametrize("steps", [0, 7])
def test_auc_and_average_precision_agree_with_scikit_learn(steps: int) -> None:
    labels, scores = sample(500, 1, steps)
    assert alone("roc_auc", labels, scores, 0).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert alone("average_precision", labels, scores, 0).value == pytest.approx(expected, abs=1e-12)


def test_accuracy_counts_scores_of_a_half_as_positive() -> None:
    labels = np.array([True, True, False, False])
    assert alone("accuracy", labels, np.array([0.5, 0.9, 0.4999, 0.7]), 0).value == 0.75


def test_delong_variance_is_that_of_the_placements_pair_by_pair() -> None:
    labels, scores = sample(150, 2, steps=9)
    positives, negatives = scores[labels], scores[~labels]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    variance = wins.mean(axis=1).var(ddof=1) / len(positives) + wins.mean(axis=0).var(ddof=1) / len(negatives)
    auc = wins.mean()
    logit = np.log(auc / (1 - auc))
    found = alone("roc_auc", labels, scores, 0)
    spread = student.ppf(0.95, min(labels.sum(), (~labels).sum()) - 1) * np.sqrt(variance) / (auc * (1 - auc))
    assert found.lower == pytest.approx(1 / (1 + np.exp(-(logit - spread))), abs=1e-5)
    assert found.upper == pytest.approx(1 / (1 + np.exp(-(logit + spread))), abs=1e-5)


def test_few_rows_of_a_class_widen_the_bounds() -> None:
    labels, scores = sample(2000, 12)
    few = np.concatenate([np.flatnonzero(labels)[:12], np.flatnonzero(~labels)[:400]])
    narrow, wide = alone("roc_auc", labels, scores, 0), alone("roc_auc", labels[few], scores[few], 0)
    assert wide.value - wide.lower > 5 * (narrow.value - narrow.lower)


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_compared_with_itself_differs_by_nothing(metric: str) -> None:
    labels, scores = sample(400, 3)
    found = difference(metric, labels, scores, scores, 0)
    assert found.value == 0
    assert found.lower <= 0 <= found.upper


@pytest.mark.parametrize("metric", METRICS)
def test_a_paired_difference_is_narrower_than_the_two_values_apart(metric: str) -> None:
    labels, scores = sample(1000, 4)
    other = np.clip(scores + np.random.default_rng(5).normal(scale=0.02, size=1000), 0, 1)
    paired = difference(metric, labels, scores, other, 0)
    single = alone(metric, labels, scores, 0)
    assert paired.upper - paired.lower < (single.upper - single.lower) / 2


@pytest.mark.parametrize("metric", METRICS)
def test_a_worse_model_is_found_worse(metric: str) -> None:
    labels, scores = sample(1200, 6)
    worse = np.random.default_rng(7).permutation(scores)
    assert difference(metric, labels, worse, scores, 0).upper < -0.05
    assert difference(metric, labels, scores, worse, 0).lower > 0.05


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_seed_gives_the_same_bounds(metric: str) -> None:
    labels, scores = sample(300, 8)
    assert alone(metric, labels, scores, 11) == alone(metric, labels, scores, 11)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_on_a_few_rows_is_no_certainty(metric: str) -> None:
    labels = np.array([True] * 5 + [False] * 5)
    found = alone(metric, labels, labels.astype(float), 0)
    assert found.value == 1.0
    assert found.lower < 0.85


@given(rows=st.integers(6, 60), steps=st.integers(1, 12), seed=st.integers(0, 10_000), metric=st.sampled_from(METRICS))
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_the_value_and_stay_in_range_for_any_ties(rows: int, steps: int, seed: int, metric: str) -> None:
    labels, scores = sample(rows, seed, steps)
    if not judgeable(labels):
        labels = np.arange(rows) % 2 == 0
    found = alone(metric, labels, scores, seed)
    assert 0 <= found.lower <= found.value <= found.upper <= 1


def test_one_row_of_a_class_is_not_judgeable() -> None:
    assert not judgeable(np.array([True] + [False] * 99))
    assert judgeable(np.array([True, True] + [False] * 98))


def test_a_decided_gate_needs_no_more_rows() -> None:
    assert needed_rows(Estimate(0.75, 0.7, 0.8), 0.7, 1000) == 0
    assert needed_rows(Estimate(0.65, 0.6, 0.69), 0.7, 1000) == 0


def test_half_the_distance_needs_four_times_the_rows() -> None:
    assert needed_rows(Estimate(0.71, 0.69, 0.73), 0.7, 1000) == 4000
    assert needed_rows(Estimate(0.69, 0.67, 0.71), 0.7, 1000) == 4000


def test_a_value_on_the_limit_names_the_largest_number_instead_of_dividing_by_zero() -> None:
    assert needed_rows(Estimate(0.7, 0.69, 0.71), 0.7, 1000) == 1_000_000_000
