"""A small part of tests/benchmarks/simulate_gates.py: are the one-sided 95 % bounds wrong about 5 times in a hundred?"""

from __future__ import annotations

import pytest

from benchmarks.simulate_gates import POPULATIONS, misses

RUNS = 300
MOST = 0.09
"""Three standard errors over 5 % with 300 runs."""


@pytest.mark.parametrize("population", POPULATIONS[:2], ids=["AUC 0.76", "AUC 0.90"])
@pytest.mark.parametrize("metric", ["roc_auc", "accuracy"])
def test_bounds_are_wrong_about_as_often_as_they_say(metric: str, population: object) -> None:
    found = misses(population, 500, RUNS, metric)  # type: ignore[arg-type]
    assert max(max(shares) for shares in found.values()) <= MOST
    assert max(max(shares) for shares in found.values()) > 0
