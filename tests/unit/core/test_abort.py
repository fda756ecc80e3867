"""A person aborts a candidate: one that has answered nobody is only ended, any other one is quarantined."""

from __future__ import annotations

from unit.core.test_plan import v2_in_canary
from unit.core.test_shadow import deployed, shadowed
from unit.core.test_watch import canary, weights
from unit.core.world import World


def aborted(world: World) -> str:
    """What became of it in one pass without requests."""
    world.annotations["perennial.dev/abort"] = "2"
    world.run()
    return world.status.requests[-1].outcome


ENDED, TAKEN_BACK = "v2 is ended: it had answered no request", "v2 is taken back and quarantined"


def test_candidate_that_has_answered_no_request_is_only_ended_and_tried_again() -> None:
    world = v2_in_canary()
    world.live(5)
    assert aborted(world) == ENDED
    assert world.versions[2].status.state == "Superseded"
    assert world.status.quarantined == []
    assert [event.reason for event in world.events].count("Aborted") == 1
    world.live(5, rate=100)
    assert weights(world) == {1: 100}
    world.annotations["perennial.dev/retry"] = ""
    world.until(lambda w: w.status.stable == 2, rate=100)


def test_candidate_that_has_answered_a_request_is_quarantined_and_retry_says_who_did_it() -> None:
    world = v2_in_canary()
    world.live(2)
    world.live(1, rate=20)
    world.live(5)
    assert aborted(world) == TAKEN_BACK
    assert [entry.reason for entry in world.status.quarantined] == ["Aborted"]
    world.annotations["perennial.dev/retry"] = ""
    world.live(2)
    words = "a person aborted it, and it is quarantined: type perennial.dev/lift=2, then retrain"
    assert world.status.requests[-1].outcome == f"refused: v2 is RolledBack; {words}"


def test_answers_that_only_this_pass_has_seen_count() -> None:
    world = v2_in_canary()
    world.live(2)
    world.traffic(20, {})
    assert aborted(world) == TAKEN_BACK


def test_candidate_that_gets_requests_and_cannot_be_read_is_taken_for_one_that_answered() -> None:
    world = v2_in_canary()
    world.live(2)
    world.unreachable = True
    assert aborted(world) == TAKEN_BACK


def test_mirrored_requests_count_in_the_shadow_and_after_it() -> None:
    assert aborted(deployed()) == ENDED
    assert aborted(shadowed()) == ENDED
    world = shadowed()
    world.live(2, rate=100)
    assert aborted(world) == TAKEN_BACK
    after = shadowed().until(lambda w: w.status.rollout is not None and w.status.rollout.phase == "Steps", rate=100)
    assert aborted(after) == TAKEN_BACK


def test_candidate_whose_breach_was_left_to_a_person_is_quarantined_also_without_an_answer() -> None:
    world = canary(onBreach="pause")
    world.live(2)
    world.restart("pod-2-0", 2)
    world.live(2)
    assert world.status.rollout is not None
    assert world.status.rollout.breach.startswith("CanaryCrashing")
    assert aborted(world) == TAKEN_BACK
