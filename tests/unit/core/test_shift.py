"""predictionShift: the distance of the scores is told, may hold a step back, and never takes a candidate back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perennial.core import analysis
from unit.core.test_plan import condition
from unit.core.test_watch import STEPS, weights
from unit.core.world import World, served, spec

LOW, HIGH = (90, *(0,) * 18, 10), (10, *(0,) * 18, 90)
"""Scores of a hundred answers by bin."""


def compared(shift: dict[str, object], moved: bool) -> World:
    """v2 in its first step, with a predictionShift."""
    metrics = [{"name": "errors", "errors": {}}, {"name": "scores", "predictionShift": shift}]
    world = World(wish=spec(rollout={"steps": STEPS, "minimumRequests": 20, "metrics": metrics}))
    world.scores = {1: LOW, 2: HIGH if moved else LOW}
    served(world)
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=100)


def test_distance_is_the_largest_difference_of_cumulative_shares() -> None:
    found = analysis.distance((50, 50, 0), (0, 50, 50))
    assert found is not None
    assert found.estimate == pytest.approx(0.5)
    assert 0.0 < found.lower < 0.1
    many = analysis.distance((500_000, 500_000, 0), (0, 500_000, 500_000))
    assert many is not None
    assert 0.45 < many.lower < 0.5
    assert analysis.distance((), (1, 2)) is None
    assert analysis.distance((0, 0), (1, 2)) is None


def test_shift_without_a_limit_is_told_and_stops_nothing() -> None:
    world = compared({}, moved=True)
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    told = next(one for one in world.versions[2].status.evidence if one.name == "scores")
    assert told.distance == pytest.approx(0.8)
    assert told.guarantee == ""
    assert "never a reason to roll back" in told.message


def test_shift_over_its_limit_holds_the_step_until_a_person_decides_and_rolls_nothing_back() -> None:
    world = compared({"maxDistance": 0.3}, moved=True)
    world.live(120, rate=100)
    assert weights(world) == {1: 90, 2: 10}
    assert condition(world, "Measured")[1] == "PredictionsShifted"
    assert "maxDistance is 0.3" in condition(world, "Inconclusive")[2]
    assert not world.status.quarantined
    world.annotations["perennial.dev/promote"] = "2"
    world.until(lambda w: w.status.stable == 2, rate=100, limit=5)


@pytest.mark.parametrize("policy", ["promote", "abort"])
def test_shift_over_its_limit_is_no_lack_of_data(policy: str) -> None:
    world = compared({"maxDistance": 0.3}, moved=True)
    world.wish = world.wish.model_copy(
        update={"rollout": world.wish.rollout.model_copy(update={"on_too_little_data": policy, "deadline": "20s"})}
    )
    world.live(120, rate=100)
    assert weights(world) == {1: 90, 2: 10}


def test_shift_within_its_limit_passes() -> None:
    world = compared({"maxDistance": 0.3}, moved=False)
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)


def test_runtime_that_tells_no_scores_stops_nothing() -> None:
    world = compared({"maxDistance": 0.3}, moved=True)
    world.scores = {}
    world.totals = {uid: replace(one, scores=()) for uid, one in world.totals.items()}
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)


def test_shift_takes_no_part_of_alpha() -> None:
    world = compared({}, moved=False)
    assert world.status.rollout is not None
    assert [(state.name, state.alpha) for state in world.status.rollout.metrics] == [("errors", 0.01)]


def test_bins_of_another_runtime_are_not_compared() -> None:
    assert analysis.distance([5] * 20, [5] * 10) is None
