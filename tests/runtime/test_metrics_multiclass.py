"""Metrics of several classes against scikit-learn; their bounds against resampling written out here, DeLong's, and by how often
they are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from perennial_runtime import measures, metrics_offline
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS
from perennial_runtime.measures import Sample
from perennial_runtime.metrics_multiclass import alone, difference, judgeable, one_against_rest
from runtime.resampling import draws

Array = np.ndarray[Any, Any]
METRICS = ("roc_auc", "accuracy", "log_loss")
DRAWS = 250
RUNS = 300
SHARES = (0.5, 0.3, 0.2)


def known(metric: str, labels: Array, scores: Array, weights: Array | None = None) -> float:
    """As scikit-learn has it."""
    if metric == "accuracy":
        return float(accuracy_score(labels, scores.argmax(axis=1), sample_weight=weights))
    if metric == "log_loss":
        return float(log_loss(labels, scores, sample_weight=weights, labels=range(scores.shape[1])))
    return float(roc_auc_score(labels, scores, multi_class="ovr", average="macro", sample_weight=weights))


def drawn(rows: int, seed: int, shares: tuple[float, ...] = SHARES, shift: float = 1.0) -> tuple[Array, Array, Array]:
    """Labels, the posterior of each class, and that of a model that sees the same rows through noise."""
    chance, prior = np.random.default_rng(seed), np.array(shares)
    labels = chance.choice(len(prior), rows, p=prior)
    seen = chance.normal(size=(rows, len(prior))) + shift * np.eye(len(prior))[labels]
    noisy = seen + chance.normal(0, 0.7, seen.shape)
    return labels, posterior(seen, shift, prior), posterior(noisy, shift / 1.49, prior)


def posterior(seen: Array, slope: float, prior: Array) -> Array:
    odds = np.exp(slope * seen) * prior
    found: Array = odds / odds.sum(axis=1, keepdims=True)
    return found


def stepped(scores: Array, steps: int) -> Array:
    """Ties; rows still sum to 1, and no class is impossible."""
    found = np.round(scores * steps) + 0.1
    whole: Array = found / found.sum(axis=1, keepdims=True)
    return whole


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
@pytest.mark.parametrize("steps", [0, 12], ids=["no ties", "ties"])
def test_a_metric_is_scikit_learns_and_its_bounds_are_as_wide_as_the_bootstraps(metric: str, weighed: bool, steps: int) -> None:
    labels, exact, _ = drawn(600, 1)
    scores = stepped(exact, steps) if steps else exact
    weights = np.random.default_rng(2).gamma(2.0, 1.0, 600) * (1 + labels) if weighed else None

    def of(rows: Array) -> float:
        return known(metric, labels[rows], scores[rows], None if weights is None else weights[rows])

    found = measures.alone(metric, Sample(labels, scores, weights, MULTICLASS), 3)
    assert found.value == pytest.approx(of(np.arange(600)), abs=1e-12)
    assert (found.lower, found.upper) == pytest.approx(draws(of, 600, DRAWS), abs=0.2 * (found.upper - found.lower))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
def test_a_difference_is_paired_and_positive_for_the_better_model(metric: str, weighed: bool) -> None:
    labels, scores, worse = drawn(600, 1)
    weights = np.random.default_rng(2).gamma(2.0, 1.0, 600) if weighed else None
    sign = -1 if metric == "log_loss" else 1

    def gap(rows: Array) -> float:
        own = None if weights is None else weights[rows]
        return sign * (known(metric, labels[rows], scores[rows], own) - known(metric, labels[rows], worse[rows], own))

    sample = Sample(labels, scores, weights, MULTICLASS)
    found = measures.difference(metric, sample, worse, 3)
    assert found.value == pytest.approx(gap(np.arange(600)), abs=1e-12)
    assert found.value > 0
    assert (found.lower, found.upper) == pytest.approx(draws(gap, 600, DRAWS), abs=0.2 * (found.upper - found.lower))


@pytest.mark.parametrize("rows", [60, 500])
@pytest.mark.parametrize("steps", [0, 9])
def test_of_two_classes_the_bounds_are_delongs_to_the_digit(rows: int, steps: int) -> None:
    labels, both, noisy = drawn(rows, 4, (0.7, 0.3))
    first, other = both[:, 0], noisy[:, 0]
    if steps:
        first, other = np.round(first * steps) / steps, np.round(other * steps) / steps
    pair, other_pair = (np.stack([one, 1.0 - one], axis=1) for one in (first, other))
    mine = labels == 0
    plain = metrics_offline.difference("roc_auc", mine, first, other, 0)
    found = difference("roc_auc", labels, pair, other_pair, seed=0)
    assert (found.value, found.lower, found.upper) == pytest.approx((plain.value, plain.lower, plain.upper), abs=1e-12)
    single, of_two = metrics_offline.alone("roc_auc", mine, first, 0), alone("roc_auc", labels, pair, 0)
    assert of_two.value == pytest.approx(single.value, abs=1e-12)
    if min(mine.sum(), (~mine).sum()) >= metrics_offline.FEW_ROWS:
        assert (of_two.lower, of_two.upper) == pytest.approx((single.lower, single.upper), abs=1e-12)


@pytest.mark.parametrize("kind", ["alone", "difference"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_bound_is_on_the_wrong_side_of_the_truth_no_more_often_than_it_says(metric: str, kind: str) -> None:
    labels, scores, worse = drawn(200_000, 7)
    many = Sample(labels, scores, None, MULTICLASS)
    true = measures.alone(metric, many, 0) if kind == "alone" else measures.difference(metric, many, worse, 0)
    over = under = 0
    for seed in range(RUNS):
        labels, scores, worse = drawn(200, 1000 + seed)
        few = Sample(labels, scores, None, MULTICLASS)
        found = measures.alone(metric, few, 0) if kind == "alone" else measures.difference(metric, few, worse, 0)
        over, under = over + (found.lower > true.value), under + (found.upper < true.value)
    most = binom.ppf(0.999, RUNS, 0.05)
    assert max(over, under) <= most
    assert over + under >= binom.ppf(0.001, RUNS, 0.05), "bounds that are never wrong are wider than they say"


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_compared_with_itself_is_no_better(metric: str) -> None:
    labels, scores, _ = drawn(100, 3)
    found = measures.difference(metric, Sample(labels, scores, None, MULTICLASS), scores, 0)
    assert found.value == 0
    assert found.lower <= 0 <= found.upper


@pytest.mark.parametrize("metric", METRICS)
def test_a_weight_of_two_is_the_row_twice_and_a_weight_of_nothing_no_row(metric: str) -> None:
    labels, scores, _ = drawn(90, 3)
    times = np.arange(90) % 3
    twice = np.repeat(np.arange(90), times)
    expected = known(metric, labels[twice], scores[twice])
    found = measures.alone(metric, Sample(labels, scores, times.astype(float), MULTICLASS), 0)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.lower < found.value < found.upper


def test_weights_that_are_all_the_same_change_no_bound_of_the_auc() -> None:
    labels, scores, worse = drawn(300, 3)
    weights = np.full(300, 7.5)
    for plain, weighed in (
        (alone("roc_auc", labels, scores, 0), alone("roc_auc", labels, scores, 0, weights)),
        (
            difference("roc_auc", labels, scores, worse, seed=0),
            difference("roc_auc", labels, scores, worse, seed=0, weights=weights),
        ),
    ):
        assert (weighed.value, weighed.lower, weighed.upper) == pytest.approx((plain.value, plain.lower, plain.upper), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
def test_perfect_on_a_few_rows_is_no_certainty(metric: str, weighed: bool) -> None:
    labels = np.repeat([0, 1, 2], 4)
    weights = np.linspace(1, 2, 12) if weighed else None
    found = measures.alone(metric, Sample(labels, np.eye(3)[labels], weights, MULTICLASS), 0)
    if metric == "log_loss":
        assert found.lower == found.value == 0
        assert found.upper > 1
    else:
        assert found.value == found.upper == 1
        assert found.lower < 0.85


def test_a_class_that_is_told_perfectly_by_two_rows_leaves_more_doubt_than_one_of_many() -> None:
    labels, scores, _ = drawn(400, 3)
    rare = np.concatenate([labels, [3, 3]])
    wider = np.concatenate([np.hstack([scores, np.zeros((400, 1))]), np.tile([0.0, 0.0, 0.0, 1.0], (2, 1))])
    plain, found = alone("roc_auc", labels, scores, 0), alone("roc_auc", rare, wider, 0)
    assert found.upper - found.lower > 2 * (plain.upper - plain.lower)


def test_influence_of_the_rows_on_a_classs_auc_is_delongs() -> None:
    labels, scores, _ = drawn(200, 5)
    mine = labels == 1
    found = one_against_rest(mine, scores[:, 1], np.ones(200))
    own, rest = scores[mine, 1], scores[~mine, 1]
    placed = np.array([np.mean((rest < one) + 0.5 * (rest == one)) for one in own])
    against = np.array([np.mean((own > one) + 0.5 * (own == one)) for one in rest])
    assert found.auc == pytest.approx(placed.mean(), abs=1e-12)
    assert found.influence[mine] == pytest.approx((placed - placed.mean()) / len(own), abs=1e-12)
    assert found.influence[~mine] == pytest.approx((against - against.mean()) / len(rest), abs=1e-12)
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_of_equally_probable_classes_the_first_is_the_answer() -> None:
    scores = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    assert alone("accuracy", np.array([0, 1]), scores, 0).value == 1
    assert alone("accuracy", np.array([1, 2]), scores, 0).value == 0


def test_auc_needs_two_rows_of_each_class_and_the_others_any_two_rows() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    assert not judgeable("roc_auc", labels, 3)
    assert not judgeable("roc_auc", np.array([0, 0, 1, 1]), 3)
    assert judgeable("roc_auc", np.array([0, 0, 1, 1, 2, 2]), 3)
    assert judgeable("accuracy", labels[:2], 3)
    assert not judgeable("log_loss", labels[:1], 3)


@given(rows=st.integers(8, 60), seed=st.integers(0, 10_000), classes=st.integers(2, 5), metric=st.sampled_from(METRICS))
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_the_value_and_lie_where_values_can(rows: int, seed: int, classes: int, metric: str) -> None:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, classes, rows)
    scores = stepped(chance.dirichlet(np.ones(classes), rows), 6)
    if not judgeable(metric, labels, classes):
        return
    found = measures.alone(metric, Sample(labels, scores, None, MULTICLASS), seed)
    assert 0 <= found.lower <= found.value <= found.upper
    assert metric == "log_loss" or found.upper <= 1


# ---- the log loss of two classes ----


@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
def test_log_loss_of_two_classes_is_scikit_learns_and_that_of_two_columns(weighed: bool) -> None:
    labels, both, worse = drawn(500, 6, (0.7, 0.3))
    weights = np.random.default_rng(2).gamma(2.0, 1.0, 500) if weighed else None
    sample = Sample(labels == 1, both[:, 1], weights, CLASSIFICATION)
    found = measures.alone("log_loss", sample, 3)
    assert found.value == pytest.approx(log_loss(labels, both[:, 1], sample_weight=weights), abs=1e-12)
    columns = measures.alone("log_loss", Sample(labels, both, weights, MULTICLASS), 3)
    assert (found.lower, found.upper) == pytest.approx((columns.lower, columns.upper), abs=1e-12)
    gap = measures.difference("log_loss", sample, worse[:, 1], 3)
    assert gap.value == pytest.approx(log_loss(labels, worse[:, 1], sample_weight=weights) - found.value, abs=1e-12)
    assert gap.lower < gap.value < gap.upper


def test_one_who_is_sure_and_wrong_loses_no_more_than_34_and_a_half() -> None:
    found = measures.alone("log_loss", Sample(np.array([True, False, True]), np.array([0.0, 1.0, 1.0])), 0)
    assert found.value == pytest.approx(2 * np.log(1e15) / 3)


@pytest.mark.parametrize("weighed", [False, True])
def test_where_all_rows_lose_the_same_more_rows_leave_less_doubt(weighed: bool) -> None:
    few, many = (
        measures.alone(
            "log_loss",
            Sample(np.arange(n) % 2 == 0, np.full(n, 0.5), np.random.default_rng(n).gamma(0.5, 1.0, n) if weighed else None),
            0,
        )
        for n in (20, 2000)
    )
    assert (few.value, many.value) == pytest.approx((np.log(2), np.log(2)))
    assert many.lower > few.lower > 0
    assert few.upper > many.upper > many.value
