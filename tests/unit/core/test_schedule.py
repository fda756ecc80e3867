"""The calendar: which time comes next, in which zone, over changes of clocks, and what is no calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.api.triggers import TriggersStatus
from perennial.core.draft import Draft
from perennial.core.inputs import moment, stamp
from perennial.core.schedule import next_after, problem, settle
from unit.core.world import World, spec


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("reason", "cron", "zone", "now", "expected"),
    [
        ("the same day", "0 3 * * *", "UTC", "2026-01-01T02:59:59", "2026-01-01T03:00:00"),
        ("a time is not its own next", "0 3 * * *", "UTC", "2026-01-01T03:00:00", "2026-01-02T03:00:00"),
        ("in the zone, in winter", "0 3 * * *", "Europe/Berlin", "2026-01-01T00:00:00", "2026-01-01T02:00:00"),
        ("in the zone, in summer", "0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00", "2026-07-01T01:00:00"),
        ("weekdays by name", "0 6 * * MON", "UTC", "2026-01-01T00:00:00", "2026-01-05T06:00:00"),
        ("the last day of a month", "0 0 L * *", "UTC", "2026-02-01T00:00:00", "2026-02-28T00:00:00"),
        ("a leap day", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("left out in spring: right after the gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-29T01:00:00"),
        ("twice in autumn: the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("twice in autumn: not again", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("asked in the second hour of the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00", "2026-10-26T01:30:00"),
        (
            "every so often: by the clock of the world",
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:30:00",
            "2026-10-25T01:00:00",
        ),
    ],
)
def test_next_time(reason: str, cron: str, zone: str, now: str, expected: str) -> None:
    assert next_after(cron, zone, at(now)) == at(expected), reason


@given(st.integers(0, 400 * 24 * 60), st.sampled_from(["30 2 * * *", "*/7 * * * *", "0 0 1 * *", "15 1-3 * * SUN"]))
def test_next_time_always_lies_ahead(minutes: int, cron: str) -> None:
    now = at("2026-01-01T00:00:30") + timedelta(minutes=minutes)
    found = next_after(cron, "America/New_York", now)
    assert found is not None
    assert found > now


@pytest.mark.parametrize("cron", ["0 3 * * *", "*/5 * * * *"])
def test_time_that_a_clock_that_was_ahead_had_reckoned_is_reckoned_anew(cron: str) -> None:
    world = World(wish=spec(triggers={"schedule": {"cron": cron}}))
    world.now = at("2027-06-01T12:00:00")
    world.run()
    world.now = at("2026-01-01T12:00:00")
    world.run()
    assert world.status.triggers is not None
    assert world.status.triggers.schedule is not None
    assert world.status.triggers.schedule.next == stamp(next_after(cron, "UTC", world.now) or world.now)


@given(st.integers(0, 400 * 24 * 60), st.sampled_from(["30 2 * * *", "*/30 * * * *", "15 1-3 * * SUN"]))
@settings(max_examples=30)
def test_time_that_is_noted_stays_until_it_has_come(minutes: int, cron: str) -> None:
    world = World(wish=spec(triggers={"schedule": {"cron": cron, "timeZone": "America/New_York"}}))
    world.now = at("2026-01-01T00:00:30") + timedelta(minutes=minutes)
    known = note(world, TriggersStatus())
    assert known.schedule is not None
    end = moment(known.schedule.next or "")
    while world.now < end:
        assert note(world, known) == known
        world.now += max(timedelta(minutes=1), (end - world.now) / 8)


def note(world: World, known: TriggersStatus) -> TriggersStatus:
    return settle(Draft(world.observed()), known)


@pytest.mark.parametrize(
    ("cron", "zone", "reason", "words"),
    [
        ("0 3 * * *", "Europe/Atlantis", "TimeZoneUnknown", "no time zone is called Europe/Atlantis"),
        ("0 3 * * *", "Europe", "TimeZoneUnknown", "no time zone is called Europe:"),
        ("60 3 * * *", "UTC", "CronUnreadable", "bad minute"),
        ("0 0 30 2 *", "UTC", "CronUnreadable", "bad day-of-month"),
        ("0 0 0 * *", "UTC", "CronUnreadable", "bad day-of-month"),
        ("0 3 * * MAN", "UTC", "CronUnreadable", "bad day-of-week"),
        ("*/0 * * * *", "UTC", "CronUnreadable", "bad minute"),
        ("0 0 */20 * MON#2", "UTC", "CronNeverDue", "no such time comes within fifty years"),
    ],
)
def test_what_the_api_server_cannot_know_to_be_wrong_is_told_in_words(cron: str, zone: str, reason: str, words: str) -> None:
    world = World(wish=spec(triggers={"schedule": {"cron": cron, "timeZone": zone}}))
    found = problem(Draft(world.observed()))
    assert found is not None
    assert found[0] == reason
    assert words in found[1]
    assert f'spec.triggers.schedule "{cron}" ({zone})' in found[1]


@given(st.text("0123456789*,/#-LWMONa ", max_size=20), st.sampled_from(["UTC", "Asia/Kathmandu", "../../etc/passwd", "x"]))
def test_no_text_makes_it_raise(cron: str, zone: str) -> None:
    next_after(cron, zone, at("2026-01-01T00:00:00"))
