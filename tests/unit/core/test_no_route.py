"""Without a route: one Service over all pods, weights by numbers of pods, the way back, and the change from and to a route."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perennial.core import actions
from perennial.core.observed import RouteState
from perennial.core.plan import plan
from perennial.core.routers import guarantee_of
from unit.core.service_world import ROUTE, ServiceWorld, unrouted
from unit.core.test_plan import condition
from unit.core.world import World, served, spec

WATCH = {"for": "60s", "holdBack": 25}


def first(**changes: Any) -> ServiceWorld:
    """v1 serves."""
    world = ServiceWorld(wish=unrouted(**changes))
    served(world)
    world.live(1)
    return world


def canary(world: ServiceWorld | None = None) -> ServiceWorld:
    """v2 takes requests."""
    world = world or first()
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: 2 in world.ready(), rate=100)
    return world


def told(world: ServiceWorld) -> dict[int, tuple[int, float | None]]:
    """(requested, achieved) by version."""
    return {entry.version: (entry.weight, entry.achieved) for entry in world.status.weights}


def test_first_version_is_served_by_a_service_and_the_status_says_how_to_call_it() -> None:
    world = first()
    assert world.service
    assert (world.route, world.route_writes) == (None, [])
    assert world.status.address == "http://delays.ns.svc/predict"
    status, reason, words = condition(world, "Ready")
    assert (status, reason) == ("True", "Serving")
    assert "http://delays.ns.svc/predict in the cluster" in words
    assert told(world) == {1: (100, 100.0)}


def test_nothing_is_written_when_nothing_moves() -> None:
    world = first()
    before = (world.status_writes, list(world.scaled))
    world.live(100, rate=100)
    assert (world.status_writes, world.scaled) == before


def test_candidate_stands_beside_all_pods_of_stable_with_as_many_as_its_weight_needs() -> None:
    world = canary()
    world.live(3, rate=100)
    assert world.ready() == {1: 3, 2: 1}
    assert told(world) == {1: (75, 75.0), 2: (25, 25.0)}
    world.until(lambda w: world.ready().get(2) == 3, rate=100)
    world.live(2, rate=100)
    assert world.status.summary == "Canary 50 %"
    assert told(world) == {1: (50, 50.0), 2: (50, 50.0)}


def test_good_candidate_is_promoted_and_no_request_meets_fewer_pods_than_asked_for() -> None:
    world = canary()
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    world.live(10, rate=100)
    assert (world.lost, world.fewest) == (0, 3)
    assert world.replicas() == {2: 3}
    assert told(world) == {2: (100, 100.0)}


def test_promotion_from_a_small_last_step_replaces_pod_by_pod() -> None:
    world = canary(first(rollout={"steps": [{"weight": 25, "hold": "5s"}], "minimumRequests": 20}))
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    world.live(10, rate=100)
    assert world.fewest >= 3
    assert (2, 3) in world.scaled
    assert world.replicas() == {2: 3}


def test_requests_count_from_the_first_ready_pod_on() -> None:
    world = canary()
    world.live(2, rate=100)
    assert world.status.rollout is not None
    assert not world.status.rollout.withheld
    assert world.status.rollout.metrics[0].candidate_total >= 25
    assert world.versions[2].status.message == "canary at 25 %"


def test_bad_candidate_goes_by_one_write_and_stable_was_never_touched() -> None:
    world = canary()
    before = len(world.scaled)
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.3}, limit=30)
    assert world.scaled[before:] == [(2, 0)]
    assert (world.lost, world.fewest) == (0, 3)
    assert world.status.quarantined[0].version == 2
    assert world.versions[2].status.evidence[0].guarantee == "approximate"
    world.live(3, rate=100)
    assert told(world) == {1: (100, 100.0)}


def test_pods_move_after_the_status_that_says_why() -> None:
    world = canary()
    decided = plan(world.observed())
    for _ in range(30):
        world.traffic(100, {2: 0.3})
        world.now += timedelta(seconds=1)
        decided = plan(world.observed())
        if decided.status.rollout is None:
            break
        world.run()
    assert decided.status.rollout is None
    assert not any(isinstance(action, actions.ApplyServing) for action in decided.before)
    moves = [type(action).__name__ for action in decided.after]
    assert moves.index("ApplyServing") < moves.index("WriteVersionStatus")
    world.write(decided)  # and here the operator is killed
    world.live(2, rate=100)
    assert world.replicas() == {1: 3}


def test_hold_does_not_run_while_a_pod_of_the_candidate_is_missing_and_harm_is_found_all_the_same() -> None:
    world = canary(first(replicas=4, rollout={"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20}))
    world.stuck = {pod.uid for pod in world.workloads[2].pods[1:]}
    world.live(40, rate=100)
    assert world.status.candidate == 2
    _, reason, words = condition(world, "Measured")
    assert reason == "WeightNotReached"
    assert "v2 has 1 of 4 pods ready" in words
    assert told(world) == {1: (50, 80.0), 2: (50, 20.0)}
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.3}, limit=30)


def test_candidate_that_is_never_ready_fails_and_takes_no_request() -> None:
    world = first(serving={"replicas": 3, "progressDeadline": "20s"})
    world.never_ready.add(2)
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", rate=100)
    world.live(2, rate=100)
    assert world.replicas() == {1: 3}
    assert world.fewest == 3


def test_watch_holds_back_by_pods_and_its_end_takes_them_away() -> None:
    world = canary(first(rollout={"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20, "watch": WATCH}))
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    world.live(8, rate=100)
    assert told(world) == {2: (75, 75.0), 1: (25, 25.0)}
    world.until(lambda w: w.status.rollout is None, rate=100, limit=80)
    world.live(3, rate=100)
    assert world.replicas() == {2: 3}
    assert (world.lost, world.fewest) == (0, 3)


def test_breach_in_the_watch_brings_the_version_before_to_its_full_number_before_the_harm_goes_whole() -> None:
    world = canary(first(replicas=4, rollout={"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20, "watch": WATCH}))
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    world.live(10, rate=100)
    before = len(world.scaled)
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.3}, limit=30)
    world.live(10, rate=100)
    assert world.scaled[before] == (1, 4)
    assert world.scaled[-1] == (2, 0)
    assert world.fewest >= 2
    assert world.lost == 0
    assert world.status.stable == 1


def test_taken_back_in_a_full_cluster_the_harmful_pods_make_room_for_the_good_ones() -> None:
    world = canary(first(replicas=4, rollout={"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20, "watch": WATCH}))
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    world.live(10, rate=100)
    world.room = 5
    before = len(world.scaled)
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.3}, limit=30)
    world.until(lambda w: world.ready() == {1: 4}, rate=100, limit=60)
    assert [pods for version, pods in world.scaled[before:] if version == 2] == [3, 0]
    assert world.lost == 0


def test_return_by_a_person_starts_the_pods_first_and_loses_no_capacity() -> None:
    world = canary()
    world.until(lambda w: w.status.stable == 2 and world.replicas() == {2: 3}, rate=100, limit=90)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1 and world.replicas() == {1: 3}, rate=100, limit=60)
    assert (world.lost, world.fewest) == (0, 3)


def test_lost_service_is_asked_for_again() -> None:
    world = first()
    world.service = False
    assert condition_of(world, "Ready") == "ServiceMissing"
    world.run()
    assert world.service


def condition_of(world: ServiceWorld, name: str) -> str:
    """Reason of a condition as the next plan would have it."""
    return next(found.reason for found in plan(world.observed()).status.conditions if found.type == name)


def test_guarantee_is_exact_with_a_route_and_approximate_without() -> None:
    assert guarantee_of(spec()) == "exact"
    assert guarantee_of(unrouted()) == "approximate"


@pytest.mark.parametrize("rolling_out", [False, True])
def test_route_taken_away_the_service_is_there_before_the_route_goes(rolling_out: bool) -> None:
    world = first()
    world.wish = unrouted(serving={"replicas": 3, "route": ROUTE})
    world.until(lambda w: w.route is not None and not world.service)
    if rolling_out:
        world.annotations["perennial.dev/retrain"] = "now"
        world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=100)
    world.wish = unrouted()
    world.frozen_service = True
    world.live(5, rate=100)
    assert world.route is not None
    world.frozen_service = False
    seen = []
    for _ in range(6):
        world.live(1, rate=100)
        seen.append((world.service, world.route is not None))
    assert (False, False) not in seen
    assert seen[-1] == (True, False)
    assert world.lost == 0
    if rolling_out:
        world.until(lambda w: w.status.stable == 2, rate=100, limit=120)
    assert condition(world, "Ready")[1] == "Serving"
    assert sum(achieved or 0 for _, achieved in told(world).values()) == pytest.approx(100)


@pytest.mark.parametrize("rolling_out", [False, True])
def test_route_given_the_service_goes_when_the_route_is_accepted(rolling_out: bool) -> None:
    world = canary() if rolling_out else first()
    world.wish = unrouted(serving={"replicas": 3, "route": ROUTE})
    world.frozen_route = True
    world.live(5, rate=100)
    assert world.service
    weights = tuple((entry.version, entry.weight) for entry in world.status.weights)
    world.route = RouteState(weights, accepted=False, message="no Gateway")
    world.live(3, rate=100)
    assert world.service
    assert condition(world, "Ready")[1] == "RouteNotAccepted"
    world.frozen_route = False
    world.live(5, rate=100)
    assert (world.service, world.route is not None) == (False, True)
    assert all(entry.achieved is None for entry in world.status.weights)
    if rolling_out:
        world.until(lambda w: w.status.stable == 2, rate=100, limit=120)
    assert world.route is not None
    assert sum(weight for _, weight in world.route.weights) == 100


def test_with_a_route_no_service_is_made_and_no_share_is_told() -> None:
    world = served(World())
    decided = plan(world.observed())
    assert not any(isinstance(action, actions.ApplyService | actions.DeleteRoute) for action in (*decided.before, *decided.after))
    assert all(entry.achieved is None for entry in world.status.weights)
