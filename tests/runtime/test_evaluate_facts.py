"""Facts beside the metrics: order statistics of a latency, and the age of data."""

from __future__ import annotations

from datetime import UTC, datetime
from math import comb
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.evaluate_facts import age, order_statistics


def at_most(count: int, of: int, share: float) -> float:
    """P(X <= count), X binomial, term by term."""
    return sum(comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))


def test_bounds_are_the_narrowest_order_statistics_that_hold_in_95_of_100_cases() -> None:
    found = order_statistics(np.arange(1.0, 401.0))
    lower, upper = int(found.lower), int(found.upper)
    assert found.value == 396
    assert at_most(lower - 1, 400, 0.99) <= 0.05 < at_most(lower, 400, 0.99)
    assert 1 - at_most(upper - 1, 400, 0.99) <= 0.05 < 1 - at_most(upper - 2, 400, 0.99)


def test_bounds_of_a_known_law_are_wrong_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth, runs = -np.log(0.01), 600
    wrong = [0, 0]
    for _ in range(runs):
        found = order_statistics(random.exponential(size=1000))
        wrong[0] += found.lower > truth
        wrong[1] += found.upper < truth
    assert 0 < max(wrong) / runs <= 0.05 + 3 * 0.009


def test_the_age_is_that_of_the_newest_row_of_either_side(tmp_path: Path) -> None:
    old = pl.DataFrame({"at": [datetime(2024, 1, 1, tzinfo=UTC)]})
    new = pl.DataFrame({"at": [datetime(2024, 1, 2, 12, tzinfo=UTC)]})
    sides = []
    for number, frame in enumerate((new, old, old[:0])):
        sides.append(tmp_path / f"{number}.parquet")
        frame.write_parquet(sides[-1])
    found = age("at", sides, datetime(2024, 1, 3, tzinfo=UTC)).estimate
    assert (found.lower, found.value, found.upper) == (12.0, 12.0, 12.0)


def test_an_age_without_a_time_column_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        age(None, (), datetime(2024, 1, 3, tzinfo=UTC))
    assert caught.value.reason == "NoTimeColumn"
    assert "drop the gate" in caught.value.message
