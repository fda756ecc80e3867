"""The bounds of a mean: Hall's transformation solved by scipy, Student's by scipy, and coverage where his alone has none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from perennial_runtime.means import mean_of

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def rare(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Most rows cost nothing, two of a hundred cost much."""
    return np.where(random.random(rows) < 0.02, 100.0, 0.0)


def lognormal(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    return random.lognormal(0.0, 1.0, rows)


def solved(values: NDArray[np.float64], probability: float) -> float:
    """The mean at which g(T) is the quantile, g as Hall's paper has it, in T and skewness / sqrt(n)."""
    skew = stats.skew(values) / np.sqrt(len(values)) * (1 - 1 / len(values)) ** 1.5  # of s with n - 1, as T has it
    quantile = stats.t.ppf(probability, len(values) - 1)

    def off(statistic: float) -> float:
        return statistic + skew * statistic**2 / 3 + skew**2 * statistic**3 / 27 + skew / 6 - quantile

    return float(values.mean() - brentq(off, -100, 100, xtol=1e-14) * stats.sem(values))


@pytest.mark.parametrize("draw", [rare, lognormal, lambda random, rows: -lognormal(random, rows)])
@pytest.mark.parametrize("rows", [40, 3000])
def test_each_bound_is_the_wider_one_of_halls_and_students(draw: Draw, rows: int) -> None:
    values = draw(np.random.default_rng(5), rows)
    found = mean_of(values)
    low, high = stats.t.interval(0.9, rows - 1, values.mean(), stats.sem(values))
    assert found.value == values.mean()
    assert found.lower == pytest.approx(min(low, solved(values, 0.95)), rel=1e-9)
    assert found.upper == pytest.approx(max(high, solved(values, 0.05)), rel=1e-9)


def test_values_without_skewness_have_students_interval() -> None:
    half = np.random.default_rng(3).normal(size=50)
    values = np.concatenate([half, -half]) + 2.0
    low, high = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
    found = mean_of(values)
    assert (found.lower, found.upper) == (pytest.approx(low), pytest.approx(high))


def test_another_unit_and_another_sign_are_the_same_bounds() -> None:
    values = lognormal(np.random.default_rng(1), 500)
    found, other = mean_of(values), mean_of(-1000.0 * values)
    assert (other.lower, other.value, other.upper) == pytest.approx(
        (-1000.0 * found.upper, -1000.0 * found.value, -1000.0 * found.lower)
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -3.5e11])
def test_one_value_in_all_rows_is_that_value(value: float) -> None:
    found = mean_of(np.full(1000, value))
    assert found.lower == found.value == found.upper == pytest.approx(value)


@pytest.mark.parametrize(("draw", "truth"), [(rare, 2.0), (lognormal, np.exp(0.5))])
def test_the_upper_bound_of_a_skewed_cost_is_wrong_about_one_time_in_twenty_and_the_lower_one_less_often(
    draw: Draw, truth: float
) -> None:
    random, runs = np.random.default_rng(11), 1500
    found = [mean_of(draw(random, 1000)) for _ in range(runs)]
    assert 0.025 < sum(one.upper < truth for one in found) / runs < 0.075
    assert 0.005 < sum(one.lower > truth for one in found) / runs < 0.06
