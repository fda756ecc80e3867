"""The arithmetic of weights without a route: what the CEL rules reckon with is what the operator asks for."""

from __future__ import annotations

import itertools

import pytest

from perennial.core.replicas import pods_beside, shares

FULL = (1, 2, 3, 4, 9, 16, 19, 50, 99, 100)


@pytest.mark.parametrize("full", FULL)
def test_no_other_number_of_pods_comes_nearer_to_the_ideal(full: int) -> None:
    for weight in range(1, 51):
        ideal = weight * full / (100 - weight)
        found = pods_beside(full, weight)
        assert found == 1 or all(abs(found - ideal) <= abs(other - ideal) for other in (found - 1, found + 1))


@pytest.mark.parametrize(("full", "weight", "pods"), [(1, 50, 1), (2, 33, 1), (3, 25, 1), (9, 10, 1), (19, 5, 1), (10, 33, 5)])
def test_familiar_weights(full: int, weight: int, pods: int) -> None:
    assert pods_beside(full, weight) == pods


def test_a_candidate_never_has_more_pods_than_stable_nor_fewer_at_a_later_step() -> None:
    for full in FULL:
        counts = [pods_beside(full, weight) for weight in range(1, 51)]
        assert max(counts) == full
        assert all(before <= after for before, after in itertools.pairwise(counts))


def test_shares_are_of_the_pods_that_are_there() -> None:
    assert shares({1: 2, 2: 1}) == {1: 66.7, 2: 33.3}
    assert shares({}) == {}
