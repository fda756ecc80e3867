"""Verdicts of the offline gates, from measurements made up here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perennial.api.evaluation import Gate
from perennial.core.gates import judge
from perennial_runtime.contract import EvaluateResult, GateMeasurement

MINIMUM = Gate(metric="roc_auc", minimum=0.7)
NOT_WORSE = Gate(metric="roc_auc", not_worse_than_serving_by=0.01)


def measured(lower: float, upper: float, kind: str = "minimum", limit: float = 0.7, needed: int = 0) -> GateMeasurement:
    return GateMeasurement("roc_auc", kind, limit, (lower + upper) / 2, lower, upper, needed)


def result(*gates: GateMeasurement, champion: str | None = None) -> EvaluateResult:
    return EvaluateResult("identity", "bento", 1, 1e-6, 2000, 0, gates, champion)


def test_passes_when_the_lower_bound_reaches_the_minimum() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.7, 0.8)))
    assert verdict.verdict == "Passed"
    assert verdict.message == "roc_auc 0.7500 (from 0.7000 to 0.8000, one-sided 95 % bounds) reaches the minimum 0.7"


def test_fails_when_the_upper_bound_is_under_the_minimum() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.6, 0.69)))
    assert verdict.verdict == "Failed"
    assert "is under the minimum 0.7" in verdict.message


def test_a_good_estimate_with_a_low_bound_is_undecided_and_tells_the_rows_it_takes() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.69, 0.80, needed=2400)))
    assert verdict.verdict == "Undecided"
    assert "about 2400 holdout rows are needed" in verdict.message


def test_an_upper_bound_on_the_limit_is_not_yet_a_failure() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.6, 0.7, needed=10)))
    assert verdict.verdict == "Undecided"


def test_a_value_on_the_limit_promises_no_number_of_rows() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.69, 0.71, needed=1_000_000_000)))
    assert "more holdout rows would hardly decide it" in verdict.message


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [(-0.01, 0.02, "Passed"), (-0.05, -0.011, "Failed"), (-0.02, 0.001, "Undecided")],
)
def test_compares_with_the_serving_version_against_minus_the_margin(lower: float, upper: float, expected: str) -> None:
    comparison = measured(lower, upper, "notWorseThanServingBy", -0.01, needed=50)
    (verdict,) = judge([NOT_WORSE], result(comparison, champion="other"))
    assert verdict.verdict == expected
    assert "against the version that serves" in verdict.message


def test_a_comparison_has_no_verdict_while_nothing_serves() -> None:
    verdicts = judge([MINIMUM, NOT_WORSE], result(measured(0.7, 0.8)))
    assert [verdict.kind for verdict in verdicts] == ["minimum"]


def test_a_comparison_that_was_not_measured_beside_a_champion_fails() -> None:
    (verdict,) = judge([NOT_WORSE], result(champion="other"))
    assert verdict.verdict == "Failed"
    assert "was not measured" in verdict.message


def test_a_minimum_that_was_not_measured_fails() -> None:
    (verdict,) = judge([MINIMUM], result(replace(measured(0.9, 0.95), metric="accuracy")))
    assert verdict.verdict == "Failed"


def test_two_minimums_of_one_metric_are_judged_apart() -> None:
    stricter = Gate(metric="roc_auc", minimum=0.9)
    verdicts = judge([MINIMUM, stricter], result(measured(0.7, 0.8), measured(0.7, 0.8, limit=0.9)))
    assert [verdict.verdict for verdict in verdicts] == ["Passed", "Failed"]


def test_every_gate_is_judged_even_when_the_first_failed() -> None:
    accuracy = Gate(metric="accuracy", minimum=0.5)
    verdicts = judge([MINIMUM, accuracy], result(measured(0.1, 0.2), replace(measured(0.6, 0.7, limit=0.5), metric="accuracy")))
    assert [verdict.verdict for verdict in verdicts] == ["Failed", "Passed"]
