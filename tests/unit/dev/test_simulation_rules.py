"""The rules that we compare with fire exactly where the documents named in simulate_rules.py say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.simulate_rules import argo, flagger, z_test
from benchmarks.simulate_traffic import Traffic

NEVER = math.inf


def answered(bad: Sequence[int], *, total: int = 100, stable_bad: int = 0) -> Traffic:
    """One run; the candidate answers `total` a second, of which those many badly."""
    counts = [np.full((1, len(bad)), total), np.array([bad]), np.full((1, len(bad)), 900), np.full((1, len(bad)), stable_bad)]
    return Traffic(*counts)


def by_argo(bad: Sequence[int], total: int = 100, *, success: float = 0.95, window: int = 1, limit: int = 0) -> float:
    return float(argo(answered(bad, total=total), success=success, interval=1, window=window, failure_limit=limit)[0])


def by_flagger(bad: Sequence[int], total: int = 100, *, window: int = 1, threshold: int = 1) -> float:
    return float(flagger(answered(bad, total=total), minimum=0.99, interval=1, window=window, threshold=threshold)[0])


@pytest.mark.parametrize(
    ("bad", "found", "reason"),
    [
        ([0, 5, 5], NEVER, "successCondition is result >= 0.95, and 95 of 100 is that"),
        ([0, 6, 0], 2.0, "94 of 100 is less, and failureLimit is 0 unless given"),
    ],
)
def test_argo_fails_a_measurement_under_its_success_condition(bad: list[int], found: float, reason: str) -> None:
    assert by_argo(bad) == found, reason


def test_argo_fails_a_metric_when_more_measurements_failed_than_the_limit_though_not_in_a_row() -> None:
    assert by_argo([6, 0, 6, 6, 0, 0], limit=3) == NEVER
    assert by_argo([6, 0, 6, 6, 0, 6], limit=3) == 6.0


def test_argo_takes_a_measurement_without_traffic_for_no_failure() -> None:
    assert by_argo([0, 0, 0], total=0) == NEVER


def test_argo_measures_the_window_of_its_query_at_each_interval_only() -> None:
    assert by_argo([16, 0, 0, 0], window=3) == 1.0, "behind the start there is nothing that could thin it out"
    assert by_argo([0, 0, 15, 0, 0], window=3) == NEVER
    assert by_argo([0, 0, 16, 0, 0], window=3) == 3.0
    every_two = argo(answered([9, 0, 0, 9, 9, 9]), success=0.95, interval=2, window=1, failure_limit=0)
    assert every_two.tolist() == [4.0]


def test_flagger_rolls_back_in_the_check_after_the_one_that_failed() -> None:
    assert by_flagger([0, 1, 1, 1]) == NEVER, "a success rate of 99 % is the minimum, not under it"
    assert by_flagger([0, 2, 0, 0]) == 3.0
    assert by_flagger([0, 0, 0, 2]) == NEVER, "the check that would act lies behind the end"


def test_flagger_counts_failed_checks_up_though_not_in_a_row() -> None:
    assert by_flagger([2, 0, 2, 0, 2, 0, 2, 0], threshold=5) == NEVER
    assert by_flagger([2, 0, 2, 0, 2, 0, 2, 0, 2, 0], threshold=5) == 10.0


def test_flagger_takes_a_check_without_values_for_a_failed_one() -> None:
    assert by_flagger([0, 0], total=0) == 2.0


def test_flagger_looks_back_over_the_interval_of_the_metric() -> None:
    assert by_flagger([0, 0, 3, 0, 0], window=3) == NEVER
    assert by_flagger([0, 0, 4, 0, 0], window=3) == 4.0


def test_the_z_test_fires_where_the_statistic_passes_the_normal_quantile() -> None:
    # 8 of 200 against 36 of 1,800: pooled 0.022, z = 0.02 / sqrt(0.022 * 0.978 * (1/200 + 1/1800)) = 1.829, quantile 1.645
    traffic = answered([2, 6, 0], stable_bad=18)
    assert z_test(traffic, alpha=0.05, every=1).tolist() == [2.0]
    assert z_test(traffic, alpha=0.03, every=1).tolist() == [NEVER], "the quantile of 3 % is 1.881"


def test_the_z_test_says_nothing_before_there_are_five_bad_answers() -> None:
    assert z_test(answered([4, 0, 1]), alpha=0.05, every=1).tolist() == [3.0]


def test_the_z_test_is_over_everything_since_the_start_and_read_at_its_looks() -> None:
    assert z_test(answered([0, 20, 0, 0]), alpha=0.05, every=2).tolist() == [2.0]
    assert z_test(answered([0, 20, 0, 0]), alpha=0.05, every=3).tolist() == [3.0]
    assert z_test(answered([2] * 50, stable_bad=18), alpha=0.05, every=1).tolist() == [NEVER]
