"""After a promotion: the watch with its hold-back, and the policies for a breach and for too little data."""

from __future__ import annotations

import pytest

from perennial.core import actions
from perennial.core.measuring import evidence_of
from unit.core.test_plan import condition
from unit.core.world import World, served, spec

STEPS = [{"weight": 10, "hold": "5s"}, {"weight": 50, "hold": "5s"}]


def canary(**rollout: object) -> World:
    """v2 on its way, with these rules."""
    world = served(World(wish=spec(rollout={"steps": STEPS, "minimumRequests": 20, **rollout})))
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=100)


def watched() -> World:
    """v2 promoted and under watch, v1 held back at 10 %."""
    world = canary(watch={"for": "60s", "holdBack": 10})
    return world.until(lambda w: w.status.stable == 2, rate=100)


def weights(world: World) -> dict[int, int]:
    assert world.route is not None
    return {version: weight for version, weight in world.route.weights if weight}


def test_promoted_version_is_watched_beside_the_one_before_and_the_end_is_one_write() -> None:
    world = watched()
    assert weights(world) == {2: 90, 1: 10}
    assert world.status.summary == "Watching v2"
    before = len(world.route_writes)
    world.live(50, rate=100)
    assert len(world.route_writes) == before
    assert world.workloads[1].replicas == 2
    world.live(20, rate=100)
    assert world.route_writes[before:] == [((2, 100), (1, 0))]
    assert world.status.rollout is None
    world.live(30, rate=100)
    assert world.workloads[1].replicas == 0
    assert [event.reason for event in world.events if event.reason in ("Promoted", "Watched")][-2:] == ["Promoted", "Watched"]


def test_version_that_goes_bad_in_its_watch_is_returned_by_one_write() -> None:
    world = watched()
    world.live(20, rate=100)
    before = len(world.route_writes)
    world.until(lambda w: w.status.stable == 1, rate=100, bad={2: 0.1}, limit=30)
    assert world.route_writes[before:] == [((1, 100), (2, 0))]
    assert world.versions[2].status.state == "RolledBack"
    assert world.status.quarantined[0].version == 2
    assert world.versions[1].status.state == "Serving"


def test_one_account_of_alpha_covers_steps_and_watch() -> None:
    world = canary(watch={"for": "60s"})
    assert world.status.rollout is not None
    planned, tests = world.status.rollout.planned_seconds, world.status.rollout.metrics
    assert planned == 70.0
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert world.status.rollout.planned_seconds == planned
    assert [test.alpha for test in world.status.rollout.metrics] == [test.alpha for test in tests]
    assert world.status.rollout.metrics[0].candidate_total > 0


def test_new_version_waits_until_the_watch_is_over() -> None:
    world = watched()
    world.annotations["perennial.dev/retrain"] = "more"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    assert weights(world) == {2: 90, 1: 10}
    assert "being watched" in condition(world, "UpToDate")[2]
    world.until(lambda w: w.status.stable == 3, rate=100, limit=300)


def test_held_back_version_without_a_ready_pod_gets_no_request() -> None:
    world = watched()
    world.live(20, rate=100)
    world.unready(1)
    world.live(10, rate=100)
    assert weights(world) == {2: 100}
    assert world.workloads[1].replicas == 2
    world.never_ready.clear()
    world.live(10, rate=100)
    assert weights(world) == {2: 90, 1: 10}


def test_watched_version_without_a_ready_pod_gives_its_requests_to_the_one_before() -> None:
    world = watched()
    world.unready(2)
    world.live(2, rate=100)
    assert weights(world) == {1: 100}
    world.never_ready.clear()
    world.live(10, rate=100)
    assert weights(world) == {2: 90, 1: 10}


def test_person_ends_the_watch_either_way() -> None:
    world = watched()
    world.annotations["perennial.dev/promote"] = "2"
    world.live(2, rate=100)
    assert weights(world) == {2: 100}
    other = watched()
    other.annotations["perennial.dev/abort"] = ""
    other.live(2, rate=100)
    assert weights(other) == {1: 100}
    assert other.versions[2].status.state == "RolledBack"


@pytest.mark.parametrize("verb", ["rollback-to", "pin"])
def test_person_returns_in_the_watch_to_the_version_before(verb: str) -> None:
    world = watched()
    if verb == "pin":
        world.wish = spec(pin=1, rollout=world.wish.rollout.model_dump(by_alias=True, exclude_none=True))
    else:
        world.annotations["perennial.dev/rollback-to"] = ""
    world.live(3, rate=100)
    assert weights(world) == {1: 100}
    assert world.status.rollout is None
    assert world.versions[2].status.state == "Retired"


def test_version_before_that_a_person_deletes_ends_the_watch() -> None:
    world = watched()
    del world.versions[1]
    world.live(3, rate=100)
    assert weights(world) == {2: 100}
    assert world.status.stable == 2
    assert world.status.rollout is None


def test_watch_that_is_taken_out_of_the_spec_is_over() -> None:
    world = watched()
    world.wish = spec(rollout={"steps": STEPS, "minimumRequests": 20})
    world.live(3, rate=100)
    assert weights(world) == {2: 100}


def test_watched_version_that_a_person_deletes_is_followed_by_the_one_before() -> None:
    world = watched()
    del world.versions[2]
    world.live(3, rate=100)
    assert weights(world) == {1: 100}
    assert world.status.stable == 1
    assert world.versions[1].status.state == "Serving"


def test_newer_candidate_that_a_person_deletes_leaves_the_watch_alone() -> None:
    world = watched()
    world.annotations["perennial.dev/retrain"] = "more"
    world.until(lambda w: w.status.candidate == 3, rate=100)
    del world.versions[3]
    world.live(3, rate=100)
    assert weights(world) == {2: 90, 1: 10}
    assert world.status.summary == "Watching v2"


def test_return_in_the_watch_never_raises_the_watched_version() -> None:
    world = watched()
    world.annotations["perennial.dev/retrain"] = "more"
    world.until(lambda w: w.status.stable == 3, rate=100, limit=300)
    before = len(world.route_writes)
    world.never_ready.add(1)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.live(10, rate=100)
    assert world.route_writes[before:] == [((2, 100), (3, 0))]
    world.never_ready.clear()
    world.live(10, rate=100)
    assert weights(world) == {1: 100}


def test_pin_on_the_watched_version_ends_the_watch() -> None:
    world = watched()
    world.wish = spec(pin=2, rollout=world.wish.rollout.model_dump(by_alias=True, exclude_none=True))
    world.live(3, rate=100)
    assert weights(world) == {2: 100}
    assert [event.reason for event in world.events].count("Watched") == 1


def test_watch_does_not_end_over_a_breach_that_is_left_to_a_person_nor_while_paused() -> None:
    world = canary(watch={"for": "60s"}, onBreach="pause").until(lambda w: w.status.stable == 2, rate=100)
    world.live(30, rate=100, bad={2: 0.5})
    world.live(100, rate=100)
    assert weights(world) == {2: 90, 1: 10}
    assert condition(world, "Breached")[0] == "True"
    other = watched()
    other.wish = spec(paused=True, rollout=other.wish.rollout.model_dump(by_alias=True, exclude_none=True))
    other.live(100, rate=100)
    assert weights(other) == {2: 90, 1: 10}


def test_watch_in_which_nothing_could_be_measured_does_not_say_that_there_is_no_harm() -> None:
    world = watched()
    world.unreachable = True
    world.live(70, rate=100)
    assert weights(world) == {2: 100}
    assert "no request could be measured" in world.events[-1].message


def test_argument_that_is_no_number_touches_neither_the_watched_version_nor_a_candidate() -> None:
    world = watched()
    for verb in ("abort", "promote"):
        world.annotations[f"perennial.dev/{verb}"] = "delays-v2"
        world.live(2, rate=100)
        assert weights(world) == {2: 90, 1: 10}
        assert world.status.requests[-1].outcome.startswith("refused")


def test_watched_version_that_is_away_together_with_the_one_before_is_not_quarantined() -> None:
    world = watched()
    world.unready(1)
    world.unready(2)
    world.live(400)
    assert not world.status.quarantined
    assert world.status.stable == 2


def test_breach_by_lost_pods_that_is_left_to_a_person_takes_the_requests_away() -> None:
    world = canary(onBreach="pause", steps=[{"weight": 10, "hold": "1h"}])
    for _ in range(3):
        world.unready(2)
        world.live(3, rate=100)
        if world.status.rollout is not None and world.status.rollout.flaps < 3:
            world.never_ready.clear()
            world.live(10, rate=100)
    assert weights(world) == {1: 100}
    assert condition(world, "Breached")[1] == "CanaryNotReady"
    before = world.status_writes
    world.live(60, rate=100)
    assert world.status_writes == before


def test_breach_left_to_a_person_keeps_the_weights_and_says_so() -> None:
    world = canary(onBreach="pause")
    world.live(60, rate=200, bad={2: 0.5})
    assert weights(world) == {1: 90, 2: 10}
    assert condition(world, "Breached")[:2] == ("True", "CanaryWorse")
    assert [event.reason for event in world.events].count("Breached") == 1
    assert world.status.summary == "Breached v2"
    world.annotations["perennial.dev/abort"] = "2"
    world.live(2, rate=100)
    assert weights(world) == {1: 100}


def test_person_may_promote_what_breached_and_no_watch_follows() -> None:
    world = canary(onBreach="pause", watch={"for": "60s"})
    world.live(20, rate=200, bad={2: 0.5})
    world.annotations["perennial.dev/promote"] = "2"
    world.live(2, rate=100)
    assert weights(world) == {2: 100}
    assert world.status.rollout is None


def test_too_little_data_waits_by_default() -> None:
    world = canary()
    world.live(100, rate=1)
    assert weights(world) == {1: 90, 2: 10}


def test_too_little_data_may_promote_at_the_deadline() -> None:
    world = canary(onTooLittleData="promote", deadline="20s", minimumRequests=100_000)
    world.until(lambda w: w.status.stable == 2, rate=100, limit=60)
    assert "onTooLittleData is promote" in world.events[-1].message


def test_too_little_data_may_abort_without_a_quarantine() -> None:
    world = canary(onTooLittleData="abort", deadline="20s")
    world.until(lambda w: w.versions[2].status.state == "Superseded", rate=10, limit=60)
    assert weights(world) == {1: 100}
    assert not world.status.quarantined
    assert "TooLittleData" in world.versions[2].status.message


def test_suspicion_is_no_lack_of_data() -> None:
    world = canary(onTooLittleData="promote", deadline="20s", minimumRequests=100_000)
    world.live(3, rate=100)
    world.live(1, rate=20, bad={2: 1.0})
    assert world.status.rollout is not None
    assert 10 < evidence_of(world.observed(), world.status.rollout)[0].e < 100
    world.live(60)
    assert weights(world) == {1: 90, 2: 10}


def test_rollback_without_a_number_goes_to_the_last_good_version() -> None:
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/retrain"] = "bad"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Canary", rate=100)
    world.until(lambda w: w.versions[3].status.state == "RolledBack", rate=200, bad={3: 0.5})
    world.annotations["perennial.dev/rollback-to"] = ""
    world.until(lambda w: w.status.stable == 1, rate=100)
    assert world.status.requests[-1].outcome.startswith("returning to v1")


def test_rollback_without_a_number_typed_twice_does_not_come_back() -> None:
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = ""
    world.until(lambda w: w.status.stable == 1, rate=100)
    world.live(2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = ""
    world.live(5, rate=100)
    assert world.status.stable == 1
    assert world.status.requests[-1].outcome.startswith("refused: there is no version before")


def test_version_that_was_ended_is_not_taken_up_when_its_own_status_was_not_written() -> None:
    world = canary(onTooLittleData="abort", deadline="20s")
    kept = world.versions[2]
    world.until(lambda w: w.versions[2].status.state == "Superseded", rate=10, limit=60)
    world.versions[2] = kept
    world.live(5, rate=100)
    assert world.versions[2].status.state == "Superseded"
    assert weights(world) == {1: 100}


def test_rollback_without_a_number_is_refused_where_nothing_good_came_before() -> None:
    world = served()
    world.annotations["perennial.dev/rollback-to"] = ""
    world.live(2)
    assert world.status.requests[-1].outcome.startswith("refused: there is no version before")


def test_quarantine_is_lifted_by_a_person() -> None:
    world = canary()
    world.until(lambda w: bool(w.status.quarantined), rate=200, bad={2: 0.5})
    for argument, words in (
        ("", "refused: lift wants"),
        ("1", "refused: v1 is not quarantined"),
        ("2", "v2 is out of quarantine"),
    ):
        world.annotations["perennial.dev/lift"] = argument
        world.live(2)
        assert world.status.requests[-1].outcome.startswith(words)
    assert not world.status.quarantined
    assert not [a for a in world.run().after if isinstance(a, actions.WriteVersionStatus)]
