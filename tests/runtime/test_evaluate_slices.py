"""Slices: which are judged, what of them is told, and that false discoveries are as rare as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from perennial_runtime.contract import MOST_SLICES, SLICE_LEVEL, GateSpec, SliceSpec
from perennial_runtime.evaluate_slices import adjust, measure_slices, p_under, part
from perennial_runtime.measures import Sample
from perennial_runtime.metrics_offline import alone

ROWS = 3000
AUC = GateSpec("roc_auc", minimum_per_slice=0.7)
CITIES = ("Ulm", "Bonn", "Kiel", "Jena")


def sample(seed: int = 1) -> tuple[pl.DataFrame, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows of four cities; in Jena the scores know nothing."""
    random = np.random.default_rng(seed)
    city = random.choice(np.array(CITIES), ROWS)
    labels = random.random(ROWS) < 0.4
    knows = np.where(city == "Jena", 0.0, 2.0)
    scores = 1 / (1 + np.exp(-(random.normal(size=ROWS) + knows * labels - 0.5)))
    return pl.DataFrame({"city": city, "size": random.integers(0, 2, ROWS).astype(float)}), labels, scores


def by_hand(values: list[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p, as their paper has it."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, least = [0.0] * len(values), 1.0
    for rank in range(len(values), 0, -1):
        least = min(least, values[order[rank - 1]] * len(values) / rank)
        found[order[rank - 1]] = least
    return found


def test_a_model_that_is_worse_on_one_slice_is_found_there_and_nowhere_else() -> None:
    frame, labels, scores = sample()
    parted = part(frame.get_column, [SliceSpec("city", 100), SliceSpec("size", 100)])
    results, document = measure_slices({2: AUC}, parted, Sample(labels, scores), 7)
    found = results[2].found
    assert (found.judged, found.not_judged, found.under) == (6, 0, 1)
    assert found.told[0].name == "city=Jena"
    assert results[2].worst.upper < 0.7
    assert {one["slice"] for one in document["judged"]} == {*(f"city={name}" for name in CITIES), "size=0", "size=1"}


def test_every_number_of_a_slice_is_that_of_scikit_learn_and_scipy() -> None:
    frame, labels, scores = sample()
    _, document = measure_slices({0: AUC}, part(frame.get_column, [SliceSpec("city", 100)]), Sample(labels, scores), 7)
    expected = []
    for one in document["judged"]:
        rows = (frame["city"] == one["slice"].partition("=")[2]).to_numpy()
        ours, theirs = labels[rows], scores[rows]
        auc = roc_auc_score(ours, theirs)
        wins = (theirs[ours][:, None] > theirs[~ours]) + 0.5 * (theirs[ours][:, None] == theirs[~ours])
        variance = wins.mean(axis=1).var(ddof=1) / ours.sum() + wins.mean(axis=0).var(ddof=1) / (~ours).sum()
        error = np.sqrt(variance) / (auc * (1 - auc))
        freedom = min(ours.sum(), (~ours).sum()) - 1
        quantile = stats.t.ppf(0.95, freedom)
        center = np.log(auc / (1 - auc))
        expected.append(float(stats.t.cdf((center - np.log(0.7 / 0.3)) / error, freedom)))
        assert (one["rows"], one["positives"]) == (rows.sum(), ours.sum())
        assert one["estimate"] == pytest.approx(auc, abs=1e-12)
        assert one["lower"] == pytest.approx(1 / (1 + np.exp(quantile * error - center)), abs=1e-5)
        assert one["upper"] == pytest.approx(1 / (1 + np.exp(-quantile * error - center)), abs=1e-5)
        assert one["p"] == pytest.approx(expected[-1], rel=1e-3, abs=1e-12)
    for one, adjusted in zip(document["judged"], by_hand(expected), strict=True):
        assert one["adjusted"] == pytest.approx(adjusted, rel=1e-3, abs=1e-12)


def test_too_few_rows_are_not_judged_and_said_aloud() -> None:
    frame, labels, scores = sample()
    small = (frame["city"] != "Kiel").to_numpy() | (np.cumsum((frame["city"] == "Kiel").to_numpy()) <= 30)
    results, document = measure_slices(
        {0: AUC},
        part(frame.filter(pl.Series(small)).get_column, [SliceSpec("city", 100)]),
        Sample(labels[small], scores[small]),
        7,
    )
    assert (results[0].found.judged, results[0].found.not_judged) == (3, 1)
    assert results[0].found.thin == "city=Kiel (30 rows)"
    assert document["notJudged"] == [{"gate": 0, "slice": "city=Kiel", "why": "30 rows, under 100"}]


def test_a_slice_of_one_class_is_judged_only_where_the_metric_can() -> None:
    frame, labels, scores = sample()
    labels = labels & (frame["city"] != "Bonn").to_numpy()
    gates = {0: AUC, 1: GateSpec("accuracy", minimum_per_slice=0.1)}
    results, document = measure_slices(gates, part(frame.get_column, [SliceSpec("city", 100)]), Sample(labels, scores), 7)
    assert (results[0].found.judged, results[1].found.judged) == (3, 4)
    assert "nearly all of one class" in document["notJudged"][0]["why"]


def test_no_slice_that_is_large_enough_leaves_a_gate_without_numbers() -> None:
    frame, labels, scores = sample()
    results, _ = measure_slices({0: AUC}, part(frame.get_column, [SliceSpec("city", 10_000)]), Sample(labels, scores), 7)
    assert (results[0].found.judged, results[0].found.not_judged, results[0].found.told) == (0, 4, ())


def test_many_values_are_bounded_by_their_rows_and_the_rest_is_counted() -> None:
    values = [f"v{number}" for number in range(30) for _ in range(number + 1)]
    parted = part(pl.DataFrame({"who": values}).get_column, [SliceSpec("who", 1)])
    assert len(parted.slices) == MOST_SLICES
    assert parted.slices[0].name == "who=v29"
    assert parted.rest == {"who": (10, sum(range(1, 11)))}


def test_missing_and_long_values_have_names_too() -> None:
    parted = part(pl.DataFrame({"who": [None, "x" * 100, ""]}).get_column, [SliceSpec("who", 1)])
    names = {one.name for one in parted.slices}
    assert "who=(missing)" in names
    assert max(len(name) for name in names) == 48


@pytest.mark.parametrize(("right", "minimum"), [(70, 0.8), (80, 0.8), (95, 0.8)])
def test_p_of_an_accuracy_is_the_exact_binomial(right: int, minimum: float) -> None:
    labels = np.ones(100, dtype=bool)
    scores = np.where(np.arange(100) < right, 0.9, 0.1)
    expected = sum(stats.binom.pmf(k, 100, minimum) for k in range(right + 1))
    assert p_under("accuracy", alone("accuracy", labels, scores, 0), minimum, Sample(labels, scores)) == pytest.approx(expected)


def test_a_slice_that_is_right_in_every_row_is_never_under_its_minimum() -> None:
    labels = np.arange(60) % 2 == 0
    for metric in ("roc_auc", "average_precision", "accuracy"):
        found = alone(metric, labels, labels.astype(float), 0)
        assert p_under(metric, found, 0.99, Sample(labels, labels.astype(float))) > 0.5
        worst = alone(metric, labels, (~labels).astype(float), 0)
        assert p_under(metric, worst, 0.9, Sample(labels, (~labels).astype(float))) < 1e-6


def test_false_discoveries_are_as_rare_as_they_should_be() -> None:
    """Ten slices, seven of them exactly at their minimum: of those that are found, at most 5 % on average are at it."""
    random = np.random.default_rng(11)
    rates = np.array([0.8] * 7 + [0.6] * 3)
    share, found, runs = 0.0, 0, 400
    for _ in range(runs):
        right = random.binomial(300, rates)
        adjusted = np.array(adjust([float(p) for p in stats.binom.cdf(right, 300, 0.8)])) <= SLICE_LEVEL
        share += adjusted[:7].sum() / max(1, adjusted.sum())
        found += int(adjusted[7:].sum())
    assert share / runs <= 0.05 + 3 * 0.0109  # three standard errors of the mean of 400 shares of at most one
    assert found / (3 * runs) > 0.95
