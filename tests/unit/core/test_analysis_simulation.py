"""A small part of tests/benchmarks/simulate_analysis.py at every run; the whole of it is in docs/statistics.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.simulate_analysis import Scenario, constant, peeking_z_test, simulate, swinging, turning


def test_a_healthy_candidate_is_seldom_rolled_back_though_the_base_rate_and_the_weight_move() -> None:
    swing = swinging(0.002, 0.05, 60.0)
    scenario = Scenario(
        "healthy", "", swing, swing, turning(0.1, 0.5, 100.0), alpha=0.05, look_seconds=5.0, seconds=200.0, planned_seconds=200.0
    )
    assert simulate(scenario, runs=80, seed=3).rolled_back <= 9, "12 or more of 80 would be seen once in 1,000 at 5 %"


def test_one_in_ten_bad_answers_is_found_within_seconds() -> None:
    scenario = Scenario(
        "harmful", "", constant(0.005), constant(0.1), constant(0.1), alpha=0.005, planned_seconds=300.0, bad_from=0.0
    )
    outcome = simulate(scenario, runs=60, seed=3)
    assert outcome.rolled_back == 60
    assert 2.0 <= outcome.median <= 8.0


def test_a_candidate_that_turns_bad_after_a_good_minute_is_found_within_seconds() -> None:
    late = Scenario(
        "late", "", constant(0.005), turning(0.005, 0.1, 60.0), constant(0.1), alpha=0.005, seconds=200.0, planned_seconds=300.0,
        bad_from=60.0,
    )  # fmt: skip
    mixture = simulate(late, runs=40, seed=3)
    plain = simulate(replace(late, planned_seconds=0.0), runs=40, seed=3)
    assert mixture.rolled_back + mixture.early == 40
    assert mixture.median <= 12.0
    assert mixture.median <= plain.median


def test_a_threshold_looked_at_every_minute_rolls_back_what_is_healthy() -> None:
    z_test, window = peeking_z_test(runs=2_000, seed=3)
    assert z_test == pytest.approx(31.0, abs=4.0)
    assert window > 98.0
