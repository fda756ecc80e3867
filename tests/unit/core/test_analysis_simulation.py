"""The shipped test on small parts of the simulation suite's traffic, at every run; the whole suite is in docs/statistics.md."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulate_analysis import breaches, remembered
from benchmarks.simulate_traffic import Traffic, constant, requests, swinging, turning

TENTH = constant(0.1)


def drawn(stable: float, candidate: float, *, after: float = 0.0, runs: int, seconds: int) -> Traffic:
    draw = requests(constant(stable), turning(stable, candidate, after), TENTH)
    return draw(np.random.default_rng(3), runs, seconds)


def test_a_healthy_candidate_is_seldom_rolled_back_though_the_base_rate_and_the_weight_move() -> None:
    swing = swinging(0.002, 0.05, 60.0)
    traffic = requests(swing, swing, turning(0.1, 0.5, 100.0))(np.random.default_rng(3), 80, 200)
    with remembered():
        found = breaches(traffic, look_seconds=5, tolerance=1.0, planned_seconds=200.0, alphas=(0.05,))
    assert np.isfinite(found).sum() <= 9, "12 or more of 80 would be seen once in 1,000 at 5 %"


def test_one_in_ten_bad_answers_is_found_within_seconds() -> None:
    traffic = drawn(0.005, 0.1, runs=60, seconds=100)
    with remembered():
        found = breaches(traffic, look_seconds=1, tolerance=1.0, planned_seconds=300.0, alphas=(0.005,))
    assert np.isfinite(found).all()
    assert 2.0 <= np.median(found) <= 8.0


def test_a_candidate_that_turns_bad_after_a_good_minute_is_found_within_seconds() -> None:
    traffic = drawn(0.005, 0.1, after=60.0, runs=40, seconds=200)
    with remembered():
        mixture, plain = (
            breaches(traffic, look_seconds=1, tolerance=1.0, planned_seconds=planned, alphas=(0.005,)) for planned in (300.0, 0.0)
        )
    assert np.isfinite(mixture).all()
    assert np.median(mixture) <= 72.0
    assert np.median(mixture) <= np.median(plain)


def test_one_course_of_e_gives_each_alpha_its_own_verdict() -> None:
    traffic = drawn(0.01, 0.05, runs=10, seconds=100)
    with remembered():
        both, *each = (
            breaches(traffic, look_seconds=1, tolerance=1.0, planned_seconds=100.0, alphas=alphas)
            for alphas in ((0.05, 0.01), (0.05,), (0.01,))
        )
    assert np.array_equal(both, np.concatenate(each, axis=1))
    assert (both[:, 0] <= both[:, 1]).all()


@pytest.mark.parametrize("look_seconds", [1, 5])
def test_what_is_remembered_changes_no_verdict(look_seconds: int) -> None:
    traffic = drawn(0.01, 0.1, runs=5, seconds=60)
    computed = breaches(traffic, look_seconds=look_seconds, tolerance=1.0, planned_seconds=60.0, alphas=(0.01,))
    with remembered():
        twice = [
            breaches(traffic, look_seconds=look_seconds, tolerance=1.0, planned_seconds=60.0, alphas=(0.01,)) for _ in range(2)
        ]
    assert np.isfinite(computed).any()
    assert all(np.array_equal(computed, found) for found in twice)
