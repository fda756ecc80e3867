"""Who asked: recorded where the API server checks the name, and never believed where it does not."""

from __future__ import annotations

import pytest

from perennial.api.base import REQUESTED_BY, UNATTESTED
from perennial.api.v1alpha1 import RequestRecord
from unit.core.world import World, served


def asked(world: World, verb: str, argument: str = "", *, by: str | None) -> RequestRecord:
    """The record of a request, made in somebody's name."""
    world.annotations[f"perennial.dev/{verb}"] = argument
    if by is not None:
        world.annotations[REQUESTED_BY] = by
    world.live(3, rate=100)
    return next(record for record in reversed(world.status.requests) if record.verb == verb)


def attested() -> World:
    """v1 serves, and the policy is on."""
    world = served()
    world.attested = True
    return world


def test_record_and_event_name_who_asked_where_names_are_checked() -> None:
    world = attested()
    assert asked(world, "pause", by="jane@example.com").requested_by == "jane@example.com"
    assert world.events[-1].message.startswith("pause (asked for by jane@example.com): nothing is started")


def test_refused_request_names_who_asked_too() -> None:
    world = attested()
    record = asked(world, "promote", "9", by="jane")
    assert record.outcome.startswith("refused")
    assert record.requested_by == "jane"
    assert (world.events[-1].reason, world.events[-1].type) == ("RequestRefused", "Warning")
    assert "asked for by jane" in world.events[-1].message


def test_second_person_is_recorded_and_the_first_one_stays_on_record() -> None:
    world = attested()
    asked(world, "pause", by="jane")
    asked(world, "resume", by="ann")
    assert {record.verb: record.requested_by for record in world.status.requests} == {"pause": "jane", "resume": "ann"}


def test_retrain_that_waits_for_its_version_is_recorded_with_its_name() -> None:
    world = attested()
    world.no_versions = True
    world.annotations |= {"perennial.dev/retrain": "July", REQUESTED_BY: "jane"}
    world.live(5, rate=100)
    assert not world.status.requests
    world.no_versions = False
    world.until(lambda w: bool(w.status.requests), rate=100)
    assert world.status.requests[-1].requested_by == "jane"


def test_name_that_nobody_checked_is_not_believed() -> None:
    world = served()
    assert asked(world, "pause", by="jane").requested_by == UNATTESTED
    assert world.events[-1].message.startswith("pause: nothing is started")


@pytest.mark.parametrize("by", [None, ""])
def test_request_without_a_name_is_unattested_whatever_is_checked(by: str | None) -> None:
    assert asked(attested(), "pause", by=by).requested_by == UNATTESTED


def test_name_stays_beside_no_request_and_is_no_misspelled_one() -> None:
    world = attested()
    asked(world, "pause", by="jane")
    world.live(3)
    assert world.annotations == {REQUESTED_BY: "jane"}
    assert "RequestUnknown" not in {one.type for one in world.status.conditions}


def test_name_that_is_too_long_for_the_record_is_cut() -> None:
    assert asked(attested(), "pause", by="j" * 300).requested_by == "j" * 256


def test_record_of_an_older_operator_is_unattested() -> None:
    old = {"verb": "pause", "argument": "", "handledAt": "2026-01-01T00:00:00Z"}
    assert RequestRecord.model_validate(old).requested_by == UNATTESTED
