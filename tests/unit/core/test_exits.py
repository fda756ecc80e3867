"""DESIGN's "States that need an exit": a test for each row, named after it. What needs the cluster's own words is in the
cluster suite too (test_refusals: quota, missing Gateway, missing Secret); the alert for an operator that is down is the chart's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from perennial.core.observed import RouteState
from perennial.core.plan import plan
from unit.core.test_plan import condition, v2_in_canary, v2_with_traffic
from unit.core.test_watch import canary
from unit.core.world import World, served, spec


def test_state_first_version_golden_requests_then_100_percent_and_no_analysis() -> None:
    world = served()
    assert world.route_writes == [((1, 100),)]
    assert world.versions[1].status.state == "Serving"
    assert world.created == ["delays-v1", "delays-v1-prepare-1", "delays-v1-train-1", "delays-v1-evaluate-1", "delays-v1"]
    world.live(1)
    assert condition(world, "Ready")[:2] == ("True", "Serving")
    assert condition(world, "UpToDate")[0] == "True"


def test_state_target_of_a_rollback_not_ready_by_its_deadline_is_rollback_blocked_and_the_weights_stay() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.live(30)
    world.never_ready.add(1)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.live(5, rate=100)
    held = condition(world, "Progressing")
    assert held[:2] == ("True", "Returning")
    assert "v1 gets all requests as soon as its pods are ready; v1 has 0 of 2 pods ready: " in held[2]
    world.live(320, rate=100)
    assert condition(world, "RollbackBlocked")[0] == "True"
    assert world.route is not None
    assert world.route.weights[0] == (2, 100)


def test_state_newest_version_deleted_is_told_with_what_makes_another_and_not_as_being_made() -> None:
    world = v2_in_canary().until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.2})
    del world.versions[2]
    world.live(2, rate=100)
    found = condition(world, "UpToDate")
    assert found[:2] == ("False", "VersionMissing")
    assert "v2 was deleted; make another: kubectl annotate mdep delays perennial.dev/retrain=again" in found[2]
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: w.status.stable == 3, rate=100)
    world.live(1, rate=100)
    assert condition(world, "UpToDate")[:2] == ("True", "NewestServes")


def test_a_candidate_taken_back_while_stable_has_no_pod_says_what_it_waits_for() -> None:
    world = v2_in_canary()
    world.live(2, rate=100)
    world.unready(1)
    world.annotations["perennial.dev/abort"] = "2"
    world.live(2, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert condition(world, "Progressing")[:2] == ("True", "Returning")
    assert "v1 has 0 of 1 pods ready: " in condition(world, "Progressing")[2]


def test_state_no_traffic_in_a_step_is_inconclusive_and_waits_by_default() -> None:
    world = v2_in_canary()
    world.live(60)
    assert condition(world, "Inconclusive")[0] == "True"
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0


def test_step_past_its_deadline_stays_inconclusive_in_the_pass_in_which_it_settles_anew() -> None:
    world = v2_in_canary()
    world.live(60)
    carried, since = world.route, condition_since(world, "Inconclusive")
    assert carried is not None
    world.route, world.frozen_route = replace(carried, accepted=False, message="Gateway gw is not there"), True
    world.live(2)
    world.route, world.frozen_route = carried, False
    world.live(1)
    assert world.status.rollout is not None
    assert world.status.rollout.settled
    writes = world.status_writes
    world.live(1)
    assert world.status_writes == writes
    assert condition_since(world, "Inconclusive") == since


def condition_since(world: World, type_: str) -> str:
    """Since when it is True."""
    (found,) = [one for one in world.status.conditions if (one.type, one.status) == (type_, "True")]
    return found.last_transition_time


def test_state_spec_change_while_a_candidate_is_under_way_supersedes_it() -> None:
    world = v2_in_canary()
    world.wish = spec(data=world.wish.data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True))
    world.run()
    world.run()
    assert world.versions[2].status.state == "Superseded"
    assert world.route is not None
    world.live(1)
    assert dict(world.route.weights).get(2, 0) == 0
    world.until(lambda w: w.status.stable == 3, rate=100)


def test_state_candidate_not_ready_by_progress_deadline_has_failed_and_stable_is_untouched() -> None:
    world = served()
    world.never_ready.add(2)
    world.annotations["perennial.dev/retrain"] = "x"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", limit=400, rate=100)
    assert world.route_writes == [((1, 100),)]


def test_state_pin_lets_nothing_be_promoted_while_training_goes_on() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.wish = spec(pin=1)
    world.until(lambda w: w.status.stable == 1, rate=100)
    world.annotations["perennial.dev/retrain"] = "x"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    world.live(20, rate=100)
    assert world.status.stable == 1
    world.wish = spec()
    world.until(lambda w: w.status.stable == 3, rate=100)


def test_state_after_rollback_to_nothing_is_promoted_until_the_inputs_change() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1, rate=100)
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    world.live(30, rate=100)
    assert world.versions[3].status.state == "Accepted"
    world.wish = spec(evaluation={"gates": []})
    world.until(lambda w: w.status.stable == 4, rate=100)


def test_state_after_rollback_to_resume_ends_the_hold() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1, rate=100)
    assert world.status.summary == "Serving (held)"
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    world.annotations["perennial.dev/resume"] = ""
    world.until(lambda w: w.status.stable == 3, rate=100)
    world.annotations["perennial.dev/resume"] = ""
    world.live(2)
    assert "nothing is held" in world.status.requests[-1].outcome


def test_newest_version_that_was_returned_from_is_told_with_the_way_back_to_it() -> None:
    world = served()
    world.wish = spec(evaluation={"gates": []})
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1, rate=100)
    back = "type perennial.dev/rollback-to=2 to return to it, or perennial.dev/retrain=<why> to make a new version"
    world.annotations["perennial.dev/resume"] = ""
    world.live(2, rate=100)
    words = f"new versions are rolled out again; v2 does not come by itself: {back}"
    assert world.status.requests[-1].outcome == words
    assert condition(world, "Stalled") == ("True", "Retired", f"v2: v1 serves; {back}")
    assert condition(world, "UpToDate") == ("False", "Retired", f"v2: v1 serves; {back}")
    world.annotations["perennial.dev/retry"] = ""
    world.live(2, rate=100)
    assert world.status.requests[-1].outcome == f"refused: v2 is Retired; {back}"
    world.annotations["perennial.dev/rollback-to"] = "2"
    world.until(lambda w: w.status.stable == 2, rate=100)


def test_version_that_is_returned_to_serves_since_then_and_is_no_later_one_for_that() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    first, world.now = world.versions[1].status.served_at, world.now + timedelta(minutes=10)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1, rate=100)
    status, served_until = world.versions[1].status, world.versions[2].status.finished_at
    assert (status.served_at, status.first_served_at, status.finished_at) == (served_until, first, None)
    world.live(5, rate=100)
    assert world.versions[1].status == status.model_copy(update={"ledger": world.versions[1].status.ledger})
    world.annotations["perennial.dev/rollback-to"] = ""
    world.live(2, rate=100)
    assert "there is no version before this one" in world.status.requests[-1].outcome


def test_state_operator_loses_sight_of_a_pod_and_the_weight_is_never_raised() -> None:
    world = v2_with_traffic()
    world.unreachable = True
    world.live(60, rate=100)
    assert world.route is not None
    assert world.route.weights == ((1, 90), (2, 10))
    assert condition(world, "Measured")[:2] == ("False", "PodsUnreachable")


def test_state_operator_loses_sight_of_a_pod_and_weight_0_stays_0_until_every_pod_was_read() -> None:
    world = served()
    world.unreachable = True
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.status.rollout is not None, rate=100)
    world.live(400, rate=100)
    assert world.route_writes == [((1, 100),)]
    assert condition(world, "Measured")[:2] == ("False", "PodsUnreachable")
    assert condition(world, "Inconclusive")[0] == "True"
    world.unreachable = False
    world.until(lambda w: w.status.stable == 2, rate=100)


def test_state_breach_and_no_previous_version_pauses_and_says_so() -> None:
    world = v2_with_traffic()
    del world.versions[1]
    world.live(3, rate=100, bad={2: 0.5})
    assert any(event.reason == "VersionLost" and "v1 was deleted" in event.message for event in world.events)
    world.live(30, rate=100, bad={2: 0.5})
    assert world.status.stable == 2
    assert not world.status.quarantined
    world.annotations["perennial.dev/rollback-to"] = ""
    world.live(2, rate=100)
    assert world.status.requests[-1].outcome.startswith("refused: there is no version before this one")


@pytest.mark.parametrize("policy", ["promote", "abort"])
def test_state_no_traffic_in_a_step_ends_by_the_policy_at_its_deadline(policy: str) -> None:
    world = canary(onTooLittleData=policy, deadline="30s")
    world.live(70)
    assert world.status.stable == (2 if policy == "promote" else 1)
    assert not world.status.quarantined


def test_state_pin_that_is_quarantined_needs_a_lift() -> None:
    world = v2_in_canary()
    world.until(lambda w: bool(w.status.quarantined), rate=200, bad={2: 0.5})
    world.wish = spec(pin=2)
    world.live(10, rate=100)
    assert world.status.stable == 1
    assert "quarantined" in condition(world, "Pinned")[2]
    world.annotations["perennial.dev/lift"] = "2"
    world.live(10, rate=100)
    assert "quarantined" not in condition(world, "Pinned")[2]


def test_state_operator_down_weights_stay_and_on_return_the_evidence_continues() -> None:
    world = v2_with_traffic()
    world.live(3, rate=100)
    before, written = world.status.rollout, world.route_writes[:]
    assert before is not None
    for _ in range(5):
        world.traffic(100, {})
        world.now += timedelta(seconds=1)
    world.run()
    after = world.status.rollout
    assert world.route_writes == written
    assert after is not None
    assert after.step_candidate_requests - before.step_candidate_requests == 50


def test_state_quota_limitrange_missing_gatewayclass_or_secret_is_a_condition_in_the_clusters_words_with_the_fix() -> None:
    world = served()
    quota = (("CreateJob delays-v2-prepare-1", "exceeded quota: small, requested: count/jobs.batch=1"),)
    status = plan(replace(world.observed(), errors=quota)).status
    told = next(one for one in status.conditions if one.type == "WritesRefused")
    assert "exceeded quota: small" in told.message
    assert "raise" in told.message
    missing = RouteState(((1, 100),), False, "Gateway ns/gw does not exist: create it, or correct spec.serving.route.parentRefs")
    status = plan(replace(world.observed(), route=missing)).status
    ready = next(one for one in status.conditions if one.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "RouteNotAccepted")
    assert "create it" in ready.message
