"""Objectives: a candidate that misses its own is taken back, an outage of both is not, and what is told of either."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from perennial.api.rollout_status import ObjectiveState
from perennial.api.v1alpha1 import ModelDeploymentStatus
from unit.core.test_plan import condition
from unit.core.test_watch import weights
from unit.core.world import World, served, spec

METRIC = {"name": "errors", "errors": {}, "objective": {"maxRate": 0.02}}
BOTH = {1: 0.1, 2: 0.1}
RATE = 400.0


def candidate(steps: list[dict[str, object]] | None = None, **rollout: object) -> World:
    """v2 on its way with an objective of 2 %."""
    steps = steps or [{"weight": 20, "hold": "20s"}]
    wish = spec(rollout={"steps": steps, "minimumRequests": 20, "metrics": [METRIC], **rollout})
    world = served(World(wish=wish))
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=RATE)


def watched(**rollout: object) -> World:
    world = candidate(watch={"for": "120s", "holdBack": 10}, **rollout).until(lambda w: w.status.stable == 2, rate=RATE)
    world.live(10, rate=RATE)
    return world


def objective(world: World) -> ObjectiveState:
    assert world.status.rollout is not None
    found = world.status.rollout.metrics[0].objective
    assert found is not None
    return found


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.events]


def has(world: World, kind: str) -> bool:
    return any(c.type == kind for c in world.status.conditions)


@pytest.mark.parametrize("arms", ["steps", "watch"])
def test_a_dependency_that_fails_both_takes_nothing_back_and_is_over_by_itself(arms: str) -> None:
    world = watched() if arms == "watch" else candidate()
    before = weights(world)
    world.until(lambda w: has(w, "Outage"), rate=RATE, bad=BOTH, limit=40)
    assert condition(world, "Outage")[:2] == ("True", "BothVersions")
    assert "going back would not help" in condition(world, "Outage")[2]
    world.live(300, rate=RATE, bad=BOTH)
    assert weights(world) == before
    assert not world.status.quarantined
    assert has(world, "Outage")
    assert reasons(world).count("Outage") == 1
    world.live(50, rate=RATE)
    assert has(world, "Outage")
    world.until(lambda w: not has(w, "Outage"), rate=RATE, limit=60)
    assert reasons(world).count("OutageOver") == 1
    ended = (lambda w: w.status.rollout is None) if arms == "watch" else (lambda w: w.status.stable == 2)
    world.until(ended, rate=RATE, limit=140)
    assert not world.status.quarantined


def test_a_step_does_not_pass_in_an_outage_whatever_is_to_happen_at_its_deadline() -> None:
    world = candidate(onTooLittleData="promote", deadline="25s", minimumRequests=1_000_000)
    world.live(100, rate=RATE, bad=BOTH)
    assert weights(world) == {1: 80, 2: 20}
    assert "errors: both versions miss its objective" in condition(world, "Inconclusive")[2]


def test_a_candidate_alone_over_its_objective_is_taken_back_though_it_is_as_bad_as_tolerated() -> None:
    """Ten times the odds are tolerated, so the comparison of the metric itself never ends it."""
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}])
    world.live(20, rate=RATE, bad={1: 0.02})
    world.until(lambda w: bool(w.status.quarantined), rate=RATE, bad={1: 0.02, 2: 0.1}, limit=60)
    assert world.status.quarantined[0].reason == "ObjectiveMissed"
    assert "objective 0.02: candidate" in world.versions[2].status.message
    assert weights(world) == {1: 100}


def test_a_watched_version_alone_over_its_objective_is_returned() -> None:
    world = watched()
    world.until(lambda w: w.status.stable == 1, rate=RATE, bad={2: 0.1}, limit=12)
    assert world.versions[2].status.state == "RolledBack"


def test_a_breach_of_an_objective_is_left_to_a_person_where_that_is_wished() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}], onBreach="pause")
    world.live(80, rate=RATE, bad={1: 0.02, 2: 0.1})
    assert weights(world) == {1: 80, 2: 20}
    assert condition(world, "Breached")[:2] == ("True", "ObjectiveMissed")
    assert not has(world, "ObjectiveMissed")


def test_stable_is_asked_before_the_candidate_is_blamed_and_says_so() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}])
    writes = world.status_writes
    world.until(lambda w: has(w, "ObjectiveMissed"), rate=RATE, bad={1: 0.02, 2: 0.08})
    assert condition(world, "ObjectiveMissed")[1] == "AskingStable"
    assert world.status_writes > writes
    assert objective(world).missed_at is not None
    world.until(lambda w: bool(w.status.quarantined), rate=RATE, bad={1: 0.02, 2: 0.08}, limit=32)


def test_an_operator_that_was_away_while_stable_was_asked_goes_on_where_it_was() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "ObjectiveMissed"), rate=RATE, bad={2: 0.08})
    text = world.status.model_dump_json(by_alias=True)
    world.status = ModelDeploymentStatus.model_validate(json.loads(text))
    for _ in range(300):
        world.traffic(RATE, {1: 0.08, 2: 0.08})
        world.now += timedelta(seconds=1)
    world.live(1)
    assert has(world, "Outage"), "what both answered meanwhile counts: both were bad"
    assert not world.status.quarantined


def test_time_does_not_run_out_while_pods_cannot_be_read() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "ObjectiveMissed"), rate=RATE, bad={2: 0.08})
    world.unreachable = True
    world.live(100, rate=RATE, bad={1: 0.08, 2: 0.08})
    assert not world.status.quarantined
    world.unreachable = False
    world.live(5, rate=RATE, bad={1: 0.08, 2: 0.08})
    assert has(world, "Outage")


def test_a_version_that_misses_its_objective_with_nothing_to_return_to_waits_for_it() -> None:
    world = watched()
    world.unready(1)
    world.live(60, rate=RATE, bad={2: 0.1})
    assert world.status.stable == 2
    assert condition(world, "ObjectiveMissed")[:2] == ("True", "NothingToReturnTo")
    world.never_ready.clear()
    world.until(lambda w: w.status.stable == 1, rate=RATE, bad={2: 0.1}, limit=45)
    assert world.status.quarantined[0].version == 2


def test_after_an_outage_a_candidate_that_stays_bad_alone_is_taken_back() -> None:
    world = watched()
    world.until(lambda w: has(w, "Outage"), rate=RATE, bad=BOTH, limit=40)
    world.live(30, rate=RATE, bad=BOTH)
    world.until(lambda w: w.status.stable == 1, rate=RATE, bad={2: 0.1}, limit=40)
    assert world.versions[2].status.state == "RolledBack"


def test_a_candidate_worse_than_a_failing_stable_is_still_taken_back_by_the_comparison() -> None:
    world = candidate(steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: bool(w.status.quarantined), rate=RATE, bad={1: 0.1, 2: 0.6}, limit=60)
    assert world.status.quarantined[0].reason == "CanaryWorse"


def test_an_outage_writes_the_status_no_oftener_than_any_rollout() -> None:
    world = candidate(steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "Outage"), rate=RATE, bad=BOTH, limit=40)
    before = world.status_writes
    world.live(100, rate=RATE, bad=BOTH)
    assert world.status_writes - before <= 10


def test_an_objective_that_is_taken_out_of_the_spec_asks_for_nothing_more() -> None:
    world = candidate(steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "Outage"), rate=RATE, bad=BOTH, limit=40)
    plain = {"name": "errors", "errors": {}}
    world.wish = spec(rollout={"steps": [{"weight": 20, "hold": "1h"}], "minimumRequests": 20, "metrics": [plain]})
    world.live(2, rate=RATE)
    assert not has(world, "Outage")
    assert world.status.rollout is not None
    assert world.status.rollout.metrics[0].objective is None


def test_an_outage_ends_after_a_clock_was_set_back_as_soon_as_before() -> None:
    world = candidate(steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "Outage"), rate=RATE, bad=BOTH, limit=40)
    world.now -= timedelta(hours=5)
    world.until(lambda w: not has(w, "Outage"), rate=RATE, limit=90)


def test_the_objective_stands_in_the_evidence_with_its_own_threshold() -> None:
    world = candidate()
    world.live(15, rate=RATE)
    item = world.versions[2].status.evidence[0]
    assert item.objective is not None
    assert (item.objective.max_rate, item.objective.threshold) == (0.02, 100.0)
    assert item.objective.candidate_total > 0
    assert item.objective.stable_total > item.objective.candidate_total
    assert "outside falseRollbackRate" in item.message
    assert len(item.message) <= 1024


def test_a_candidate_that_recovers_while_stable_is_asked_is_not_blamed() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 10}], steps=[{"weight": 20, "hold": "1h"}])
    world.until(lambda w: has(w, "ObjectiveMissed"), rate=RATE, bad={1: 0.02, 2: 0.08})
    world.live(60, rate=RATE)
    assert not has(world, "ObjectiveMissed")
    assert objective(world).missed_at is None
    assert objective(world).stable.epochs > 0, "stable's test has its stakes on later starts again"
    assert not world.status.quarantined
