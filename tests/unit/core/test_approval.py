"""Approval: a version that has passed its gates waits for a person, goes on when one says yes, and is ended when nobody does."""

from __future__ import annotations

from copy import deepcopy

import pytest

from perennial.core import ledger
from unit.core.test_pause_and_retry import request
from unit.core.world import World, served, spec

RATE = 100


def condition(world: World, type_: str) -> tuple[str, str, str]:
    found = [(one.status, one.reason, one.message) for one in world.status.conditions if one.type == type_]
    return found[0] if found else ("", "", "")


def other(world: World, rows: int = 7, **changes: object) -> World:
    """A commit that asks for another version."""
    data = spec().data.model_copy(update={"minimum_rows": rows}).model_dump(by_alias=True, exclude_none=True)
    world.wish = spec(data=data, **({"approval": {"expiresAfter": "2m"}} | changes))
    return world


def waiting() -> World:
    """v1 serves; v2 has passed its gates and waits."""
    return other(served()).until(lambda w: w.status.summary == "Awaiting approval of v2", rate=RATE)


def told(world: World, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


def test_fit_version_waits_and_says_who_has_to_do_what_and_until_when() -> None:
    world = waiting()
    world.live(60, rate=RATE)
    assert world.versions[2].status.state == "Accepted"
    assert world.status.stable == 1
    status, reason, words = condition(world, "Approved")
    assert (status, reason) == ("False", "ApprovalNeeded")
    assert "kubectl annotate mdep delays perennial.dev/approve=2" in words
    assert world.status.approval is not None
    assert f"2m after {world.status.approval.asked_at}" in words
    assert told(world, "ApprovalNeeded") == [words]


def test_nothing_is_written_while_it_waits() -> None:
    world = waiting()
    world.live(20)
    writes = world.status_writes
    world.live(60)
    assert world.status_writes == writes


def test_approved_version_is_rolled_out_and_the_status_says_who_approved_it() -> None:
    world = waiting()
    world.attested = True
    world.annotations["perennial.dev/requested-by"] = "ann@example.com"
    assert request(world, "approve", "2") == "v2 is approved"
    world.until(lambda w: w.status.stable == 2, rate=RATE)
    assert world.status.approval is not None
    assert (world.status.approval.version, world.status.approval.approved_by) == (2, "ann@example.com")
    assert condition(world, "Approved") == ("", "", "")
    entries = [(one.what, one.message) for one in world.versions[2].status.ledger if one.what in ("ApprovalNeeded", "Request")]
    assert entries[0][0] == "ApprovalNeeded"
    assert entries[1] == ("Request", "approve (asked for by ann@example.com): v2 is approved")
    assert ledger.problem(world.status.ledger.entries) == ""


def test_first_version_waits_too() -> None:
    world = World(wish=spec(approval={}))
    world.until(lambda w: w.status.summary == "Awaiting approval of v1")
    assert condition(world, "Stalled")[1] == "ApprovalNeeded"
    assert request(world, "approve") == "v1 is approved"
    world.until(lambda w: w.status.stable == 1)


def test_version_that_nobody_approves_is_ended_and_not_taken_up_again() -> None:
    world = waiting()
    world.until(lambda w: w.versions[2].status.state == "Superseded")
    assert world.versions[2].status.message.startswith("ApprovalExpired: nobody approved it within 2m")
    world.live(120, rate=RATE)
    assert (world.status.candidate, world.status.stable, list(world.versions)) == (None, 1, [1, 2])
    assert len(told(world, "ApprovalExpired")) == 1
    assert "no candidate is under way" in request(world, "approve", "2")


def test_expired_version_is_asked_for_anew_by_retry() -> None:
    world = waiting()
    world.until(lambda w: w.versions[2].status.state == "Superseded")
    jobs = list(world.jobs)
    assert request(world, "retry") == "v2 is tried again"
    world.until(lambda w: w.status.summary == "Awaiting approval of v2")
    assert list(world.jobs) == jobs, "it was trained again"
    assert world.status.approval is not None
    assert len(told(world, "ApprovalNeeded")) == 2
    assert request(world, "approve", "2") == "v2 is approved"


@pytest.mark.parametrize(
    ("verb", "argument", "words"),
    [
        ("approve", "3", "refused: the candidate is v2, not v3"),
        ("approve", "yes", "refused: approve wants the number of the version that waits"),
        ("promote", "2", "refused: v2 has passed its gates and waits for approval"),
    ],
)
def test_another_number_nonsense_and_a_promotion_are_refused(verb: str, argument: str, words: str) -> None:
    world = waiting()
    assert request(world, verb, argument).startswith(words)
    assert world.versions[2].status.state == "Accepted"


def test_approval_before_the_gates_have_passed_is_refused() -> None:
    world = other(served()).until(lambda w: 2 in w.versions and w.versions[2].status.state == "Training")
    assert "it can be approved when its gates have passed" in request(world, "approve", "2")


def test_approval_that_nobody_asked_for_is_refused() -> None:
    assert request(served(), "approve", "1").startswith("refused: spec.approval is not set")


def test_second_approval_says_who_gave_the_first() -> None:
    world = waiting()
    request(world, "approve", "2")
    assert "already (by unattested)" in request(world, "approve", "v2")


def test_abort_ends_a_version_that_waits() -> None:
    world = waiting()
    assert request(world, "abort", "2") == "v2 is ended"
    assert condition(world, "Approved") == ("", "", "")


def test_new_commit_supersedes_a_version_that_waits_and_waits_itself() -> None:
    world = other(waiting(), rows=9).until(lambda w: w.status.summary == "Awaiting approval of v3", rate=RATE)
    assert world.versions[2].status.state == "Superseded"
    assert "the candidate is v3, not v2" in request(world, "approve", "2")


def test_version_goes_on_when_the_spec_asks_for_no_approval_any_more() -> None:
    world = other(waiting(), approval=None)
    world.until(lambda w: w.status.stable == 2, rate=RATE)


def test_approval_under_a_pin_holds_until_the_pin_is_gone() -> None:
    world = other(served(), approval={}, pin=1).until(lambda w: w.status.approval is not None, rate=RATE)
    assert request(world, "approve", "2") == "v2 is approved"
    world.live(20, rate=RATE)
    assert world.versions[2].status.state == "Accepted"
    other(world, approval={}).until(lambda w: w.status.stable == 2, rate=RATE)
    assert len(told(world, "ApprovalNeeded")) == 1


def test_approved_version_that_failed_afterwards_is_not_asked_for_again_by_retry() -> None:
    world = waiting()
    request(world, "approve", "2")
    world.never_ready.add(2)
    world.until(lambda w: w.versions[2].status.state == "Failed", limit=900)
    world.never_ready.clear()
    assert request(world, "retry") == "v2 is tried again"
    world.until(lambda w: w.status.stable == 2, rate=RATE)
    assert len(told(world, "ApprovalNeeded")) == 1


def test_kill_after_the_status_write_asks_no_second_time() -> None:
    """The ModelDeployment's status is written before the version's: the next pass finds the question asked."""
    world = other(served()).until(lambda w: 2 in w.versions and w.versions[2].status.state == "Evaluating", rate=RATE)
    before = deepcopy(world.versions[2])
    world.until(lambda w: w.status.summary == "Awaiting approval of v2", rate=RATE)
    world.versions[2] = before
    world.until(lambda w: w.versions[2].status.state == "Accepted", rate=RATE)
    assert len([one for one in world.status.ledger.entries if one.what == "ApprovalNeeded"]) == 1
