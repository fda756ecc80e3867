"""Retrains that begin by themselves: for which reason, how often, what holds them back, and that nothing is trained on twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.api.triggers import MOST_RUNS, Start
from perennial.core import ledger
from perennial.core.answers import prepared_of
from perennial.core.draft import Draft
from perennial.core.inputs import stamp
from perennial.core.observed import Version
from perennial.core.triggers import CAUSES, HOLDS
from perennial.standing import troubles
from perennial_runtime.contract import Answer, Refusal
from unit.core.test_pause_and_retry import request
from unit.core.world import START, World, evaluated, served, spec

NIGHTLY = {"schedule": {"cron": "0 3 * * *"}}
RATE = 100


def model(**changes: Any) -> World:
    """v1 serves, and there are triggers from the beginning."""
    return served(World(wish=spec(**({"triggers": NIGHTLY} | changes))))


def condition(world: World, type_: str) -> tuple[str, str, str]:
    found = [(one.status, one.reason, one.message) for one in world.status.conditions if one.type == type_]
    return found[0] if found else ("", "", "")


def told(world: World, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


def reasons(world: World) -> list[str]:
    return [version.spec.trigger.reason for _, version in sorted(world.versions.items())]


def night(world: World, number: int, hour: float = 3.0) -> World:
    """The clock stands at this hour of the n-th day, and the operator was not there to see it pass."""
    world.now = START + timedelta(days=number - 1, hours=hour)
    return world


def settled(world: World) -> World:
    """Everything that is under way has ended."""
    world.live(4, rate=RATE)
    return world.until(lambda w: w.status.candidate is None and w.status.rollout is None, rate=RATE)


def rejecting(step: str, number: int, action: Any) -> Answer | None:
    return evaluated(number, "identity-1", 0.5) if step == "evaluate" and number > 1 else None


def broken(step: str, number: int, action: Any) -> Answer | None:
    return Refusal("Broken", "it is") if step == "train" else None


# ---- the schedule ------------------------------------------------------------------------------------------------------------


def test_schedule_makes_one_version_at_its_time_and_says_why_and_when_the_next_is_due() -> None:
    world = model()
    assert world.status.triggers is not None
    assert world.status.triggers.schedule is not None
    assert world.status.triggers.schedule.next == "2026-01-01T03:00:00.000Z"
    night(world, 1, 2.999)
    world.live(2)
    assert list(world.versions) == [1]
    settled(night(world, 1))
    assert reasons(world) == ["Created", "Schedule"]
    trigger = world.versions[2].spec.trigger
    assert (trigger.due, trigger.message) == (
        "2026-01-01T03:00:00.000Z",
        'the schedule "0 3 * * *" (UTC) was due at 2026-01-01T03:00:00.000Z',
    )
    assert world.status.triggers is not None
    assert world.status.triggers.schedule is not None
    assert (world.status.triggers.schedule.last, world.status.triggers.schedule.next) == (
        "2026-01-01T03:00:00.000Z",
        "2026-01-02T03:00:00.000Z",
    )
    assert told(world, "VersionCreated")[1] == f"delays-v2: {trigger.message}"
    entry = next(one for one in world.status.ledger.entries if one.what == "VersionCreated" and one.version == 2)
    assert (entry.message, entry.facts) == (f"delays-v2: {trigger.message}", {"due": "2026-01-01T03:00:00.000Z"})


def test_times_that_were_missed_are_made_up_for_once() -> None:
    world = model()
    settled(night(world, 9, 12))
    world.live(60, rate=RATE)
    assert reasons(world) == ["Created", "Schedule"]
    assert world.status.triggers is not None
    assert world.status.triggers.schedule is not None
    assert world.status.triggers.schedule.next == "2026-01-10T03:00:00.000Z"


def test_paused_model_waits_and_makes_up_for_it_once() -> None:
    world = model()
    world.wish = spec(triggers=NIGHTLY, paused=True)
    night(world, 4).live(5)
    assert list(world.versions) == [1]
    assert condition(world, "RetrainDue")[:2] == ("True", "Paused")
    assert "was due at 2026-01-01T03:00:00.000Z; it waits: spec.paused is true" in condition(world, "RetrainDue")[2]
    world.wish = spec(triggers=NIGHTLY)
    settled(world)
    assert reasons(world) == ["Created", "Schedule"]
    assert condition(world, "RetrainDue") == ("", "", "")


def test_waiting_is_written_once_and_entered_once() -> None:
    world = model()
    world.wish = spec(triggers=NIGHTLY, paused=True)
    night(world, 4).live(5)
    writes = world.status_writes
    world.live(60)
    assert world.status_writes == writes
    waits = [one.message for one in world.status.ledger.entries if one.what == "Waits"]
    assert len(waits) == 1
    assert waits[0].startswith('RetrainDue/Paused: the schedule "0 3 * * *" (UTC) was due at')
    assert ledger.problem(world.status.ledger.entries) == ""


def test_another_schedule_is_reckoned_from_now_on() -> None:
    world = model()
    world.now = START + timedelta(hours=2)
    world.wish = spec(triggers={"schedule": {"cron": "0 1 * * *"}})
    world.live(10)
    assert list(world.versions) == [1]
    assert world.status.triggers is not None
    assert world.status.triggers.schedule is not None
    assert world.status.triggers.schedule.next == "2026-01-02T01:00:00.000Z"


def test_changed_spec_stands_for_the_schedule_that_waits() -> None:
    world = model(limits={"cooldown": "12h"})
    night(world, 1).live(5)
    assert list(world.versions) == [1]
    data = world.wish.data.model_copy(update={"minimum_rows": 7})
    world.wish = world.wish.model_copy(update={"data": data})
    settled(world)
    settled(night(world, 1, 20))
    assert reasons(world) == ["Created", "SpecChanged"]


def test_schedule_that_cannot_be_read_is_told_and_the_model_serves_on() -> None:
    world = model(triggers={"schedule": {"cron": "0 0 30 2 *"}})
    world.live(3)
    assert condition(world, "Accepted")[:2] == ("False", "CronUnreadable")
    assert condition(world, "Stalled")[1] == "CronUnreadable"
    assert condition(world, "Ready")[0] == "True"


def test_schedule_waits_for_the_candidate_under_way() -> None:
    world = model()
    world.wish = spec(triggers=NIGHTLY, approval={})
    request(world, "retrain", "why not")
    world.until(lambda w: w.status.summary == "Awaiting approval of v2", rate=RATE)
    night(world, 1).live(5)
    assert condition(world, "RetrainDue")[:2] == ("True", "CandidateUnderWay")
    assert request(world, "abort", "2") == "v2 is ended"
    world.live(3)
    assert reasons(world) == ["Created", "Requested", "Schedule"]


def test_schedule_waits_after_a_return_to_an_older_version() -> None:
    world = settled(night(model(), 1))
    request(world, "rollback-to", "1")
    world.until(lambda w: w.status.stable == 1, rate=RATE)
    night(world, 2).live(5)
    assert condition(world, "RetrainDue")[:2] == ("True", "Held")
    request(world, "resume", "")
    world.live(3)
    assert reasons(world) == ["Created", "Schedule", "Schedule"]


# ---- the same inputs ---------------------------------------------------------------------------------------------------------


def test_same_rows_are_not_trained_on_again_and_the_model_is_up_to_date() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    settled(night(served(world), 1))
    assert world.versions[2].status.state == "Superseded"
    assert world.versions[2].status.message.startswith("SameInputs: the data, the spec and the training image are those of v1")
    assert [name for name in world.created if name.startswith("delays-v2-")] == ["delays-v2-prepare-1"]
    assert condition(world, "UpToDate")[:2] == ("True", "SameInputs")
    assert condition(world, "Stalled") == ("", "", "")
    assert len(told(world, "SameInputs")) == 1
    assert world.status.summary == "Serving"


@pytest.mark.parametrize(
    ("image", "end"),
    [
        ("r/trainer:nightly", "trains anyway (if the tag of r/trainer:nightly was moved: name it by its digest)"),
        (f"r/trainer@sha256:{'a' * 64}", "trains anyway"),
    ],
    ids=["tag", "digest"],
)
def test_image_of_the_same_name_is_the_same_and_what_a_moved_tag_needs_is_told(image: str, end: str) -> None:
    world = World(wish=spec(triggers=NIGHTLY, training={"image": image}), rows="same")
    settled(night(served(world), 1))
    assert world.versions[2].status.state == "Superseded"
    assert world.versions[2].status.message.endswith(end)


def test_it_is_up_to_date_where_the_same_model_was_made_of_them_before() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    served(world)
    world.answer = lambda step, number, action: (
        replace(evaluated(number, "identity-1"), identity="identity-1") if step == "evaluate" else None
    )
    request(world, "retrain", "because")
    settled(world)
    assert world.versions[2].status.state == "Retired"
    settled(night(world, 1))
    assert "are those of v2" in world.versions[3].status.message
    assert condition(world, "UpToDate")[:2] == ("True", "SameInputs")


def rejects(step: str, number: int, action: Any) -> Answer | None:
    """A version that a gate refuses."""
    return evaluated(number, "identity-1", 0.5) if step == "evaluate" else None


def test_the_refusal_of_a_version_stays_told_where_another_would_repeat_it() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    served(world)
    world.rows, world.answer = "other", rejects
    settled(night(world, 1))
    assert (condition(world, "UpToDate")[:2], world.status.summary) == (("False", "Rejected"), "Serving (v2 Rejected)")
    assert ("UpToDate", "Rejected") in troubles(world.status)
    settled(night(world, 2))
    assert "are those of v2, which was judged already (Rejected)" in world.versions[3].status.message
    assert (condition(world, "UpToDate")[:2], world.status.summary) == (("False", "Rejected"), "Serving (v2 Rejected)")
    assert ("UpToDate", "Rejected") in troubles(world.status), "the alert goes on"
    world.rows, world.answer = "third", None
    settled(night(world, 3))
    assert troubles(world.status) == ()


def test_gitops_tools_are_told_of_the_refusal_too_where_nothing_serves() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same", answer=rejects)
    settled(world)
    settled(night(world, 1))
    assert "are those of v1" in world.versions[2].status.message
    assert condition(world, "Stalled")[:2] == ("True", "Rejected")
    assert world.status.summary == "Rejected"


def test_that_nothing_is_new_is_one_entry_of_the_ledger() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    settled(night(served(world), 1))
    ends = [one for one in world.status.ledger.entries if one.version == 2 and one.what in ("SameInputs", "Superseded")]
    assert [one.what for one in ends] == ["SameInputs"]
    assert ends[0].message.startswith("v2: SameInputs: the data, the spec and the training image are those of v1")


def test_person_trains_on_the_same_rows_anyway() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    settled(night(served(world), 1))
    assert "it would repeat a version that was judged already" in request(world, "retry", "")
    request(world, "retrain", "because")
    settled(world)
    assert "delays-v3-train-1" in world.created


def test_what_failed_before_it_was_judged_is_trained_again() -> None:
    world = World(wish=spec(triggers=NIGHTLY), rows="same")
    served(world)
    world.rows = "other"
    world.answer = broken
    settled(night(world, 1))
    assert world.versions[2].status.state == "Failed"
    world.answer = None
    settled(night(world, 2))
    assert world.status.stable == 3


def test_versions_that_trained_nothing_push_no_other_out_of_history() -> None:
    world = World(wish=spec(triggers=NIGHTLY, history=2), rows="same")
    served(world)
    world.rows = None
    settled(night(world, 1))
    assert world.status.stable == 2
    world.rows = "d2"
    for number in range(2, 7):
        settled(night(world, number))
    assert sorted(world.versions) == [1, 2, 7]


def test_retrain_that_trained_nothing_uses_up_no_limit() -> None:
    world = World(wish=spec(triggers={"schedule": {"cron": "0 * * * *"}}, limits={"runsPerDay": 1}), rows="same")
    served(world)
    settled(night(world, 1, 1))
    world.rows = "other"
    settled(night(world, 1, 2))
    assert world.status.stable == 3


# ---- limits ------------------------------------------------------------------------------------------------------------------


def test_cooldown_holds_and_tells_until_when() -> None:
    world = model(triggers={"schedule": {"cron": "0 * * * *"}}, limits={"cooldown": "5h"})
    settled(night(world, 1, 5.5))
    assert reasons(world) == ["Created", "Schedule"]
    night(world, 1, 6).live(5)
    status, reason, words = condition(world, "RetrainDue")
    assert (status, reason) == ("True", "Cooldown")
    assert "limits.cooldown 5h since v2 began at 2026-01-01T05:30:02.000Z is over at 2026-01-01T10:30:02.000Z" in words
    settled(night(world, 1, 10.5001))
    settled(night(world, 1, 10.6))
    assert reasons(world) == ["Created", "Schedule", "Schedule"]


def test_runs_per_day_are_counted_over_24_hours() -> None:
    world = model(triggers={"schedule": {"cron": "0 * * * *"}}, limits={"runsPerDay": 2})
    for hour in (1, 2, 3, 4, 24):
        settled(night(world, 1, hour))
    assert reasons(world) == ["Created", "Schedule", "Schedule"]
    assert condition(world, "RetrainDue")[1] == "RunsPerDay"
    assert "limits.runsPerDay allows 2: the next may at 2026-01-02T01:00:0" in condition(world, "RetrainDue")[2]
    settled(night(world, 2, 1.01))
    assert len(world.versions) == 4


def test_retrains_of_a_person_push_none_of_a_trigger_out_of_the_count() -> None:
    world = model(triggers={"schedule": {"cron": "0 * * * *"}}, limits={"runsPerDay": MOST_RUNS, "stopAfterFailures": 100})
    settled(world)
    assert world.status.triggers is not None
    runs = [Start(version=-number, at=stamp(world.now), automatic=True) for number in range(MOST_RUNS, 0, -1)]
    world.status = world.status.model_copy(update={"triggers": world.status.triggers.model_copy(update={"starts": runs})})
    for text in ("once", "and", "again"):
        request(world, "retrain", text)
        settled(world)
        assert world.status.triggers is not None
        starts = world.status.triggers.starts
        assert [one.automatic for one in starts] == [True] * MOST_RUNS + [False], "all that count, and the newest"
        assert starts[-1].version == max(world.versions)
    night(world, 1, 5).live(5)
    assert condition(world, "RetrainDue")[1] == "RunsPerDay"


def test_limits_hold_no_person_and_no_spec_back() -> None:
    world = model(limits={"cooldown": "23h", "runsPerDay": 1, "stopAfterFailures": 1})
    request(world, "retrain", "now")
    settled(world)
    world.wish = world.wish.model_copy(update={"data": world.wish.data.model_copy(update={"minimum_rows": 7})})
    settled(world)
    assert reasons(world) == ["Created", "Requested", "SpecChanged"]


def stopped(world: World) -> World:
    """Two nights in a row a version was rejected."""
    world.answer = rejecting
    for number in (1, 2):
        settled(night(world, number))
    return world


def test_attempts_that_do_not_improve_stop_the_triggers_and_say_so_once() -> None:
    world = stopped(model(limits={"stopAfterFailures": 2}))
    settled(night(world, 5))
    assert [world.versions[number].status.state for number in (2, 3)] == ["Rejected", "Rejected"]
    assert len(world.versions) == 3
    assert condition(world, "RetrainingStopped")[:2] == ("True", "StopAfterFailures")
    assert condition(world, "RetrainDue")[:2] == ("True", "StopAfterFailures")
    events = told(world, "RetrainingStopped")
    assert len(events) == 1
    assert "2 attempts in a row did not improve (the last: v2, v3), and limits.stopAfterFailures is 2" in events[0]


@pytest.mark.parametrize("how", ["resume", "spec"])
def test_stopped_triggers_go_on_when_a_person_or_the_spec_says_so(how: str) -> None:
    world = stopped(model(limits={"stopAfterFailures": 2}))
    world.answer = None
    if how == "resume":
        assert request(world, "resume", "") == (
            "nothing is held or paused: new versions are rolled out; retrains begin by themselves again"
        )
    else:
        world.wish = world.wish.model_copy(update={"data": world.wish.data.model_copy(update={"minimum_rows": 7})})
    settled(world)
    assert condition(world, "RetrainingStopped") == ("", "", "")
    settled(night(world, 3))
    assert reasons(world)[-1] == "Schedule"
    assert world.status.stable == len(world.versions)


def test_version_that_improves_ends_the_row() -> None:
    world = model(limits={"stopAfterFailures": 2})
    world.answer = rejecting
    settled(night(world, 1))
    world.answer = None
    settled(night(world, 2))
    world.answer = rejecting
    settled(night(world, 3))
    assert condition(world, "RetrainingStopped") == ("", "", "")
    assert world.status.triggers is not None
    assert world.status.triggers.failures == [4]


def test_attempt_that_failed_and_came_to_nothing_when_it_was_tried_again_is_not_counted() -> None:
    world = model(limits={"stopAfterFailures": 1})
    world.wish = world.wish.model_copy(update={"approval": spec(approval={"expiresAfter": "1h"}).approval})
    world.answer = broken
    settled(night(world, 1))
    assert condition(world, "RetrainingStopped")[0] == "True"
    world.answer = None
    request(world, "retry", "")
    world.until(lambda w: w.status.approval is not None and w.status.approval.version == 2, rate=RATE)
    assert condition(world, "RetrainingStopped")[0] == "True", "nothing has improved yet"
    request(world, "abort", "")
    world.live(2, rate=RATE)
    assert world.versions[2].status.state == "Superseded"
    assert condition(world, "RetrainingStopped") == ("", "", "")


def test_what_failed_before_there_were_triggers_is_not_counted() -> None:
    world = served(World())
    world.answer = rejecting
    for rows in (7, 8, 9):
        world.wish = spec(
            data=world.wish.data.model_copy(update={"minimum_rows": rows}).model_dump(by_alias=True, exclude_none=True)
        )
        settled(world)
    world.wish = world.wish.model_copy(update={"triggers": spec(triggers=NIGHTLY).triggers})
    world.live(5)
    assert condition(world, "RetrainingStopped") == ("", "", "")


def test_version_that_was_taken_back_in_its_watch_has_not_improved() -> None:
    rollout = {"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20, "watch": {"for": "10m"}}
    world = model(limits={"stopAfterFailures": 1}, rollout=rollout)
    night(world, 1).live(3, rate=RATE)
    world.until(lambda w: w.status.stable == 2, rate=RATE)
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=RATE, bad={2: 0.5})
    world.live(3, rate=RATE)
    assert condition(world, "RetrainingStopped")[0] == "True"


# ---- the chain ---------------------------------------------------------------------------------------------------------------

ACTS = st.one_of(
    st.tuples(st.just("hours"), st.floats(0.1, 30)),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("rows"), st.sampled_from(["a", "b", None])),
    st.tuples(st.just("listing"), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("trainer"), st.sampled_from(["good", "rejected", "fails"])),
    st.tuples(st.just("inputs"), st.integers(1, 3)),
    st.tuples(st.just("annotate"), st.sampled_from(["retrain", "resume", "rollback-to", "abort", "pause"])),
    st.tuples(st.just("cron"), st.sampled_from(["0 3 * * *", "*/10 * * * *", "0 0 30 2 *"])),
)


def act(world: World, name: str, value: Any) -> None:
    trainers: dict[str, Callable[..., Any] | None] = {"good": None, "rejected": rejecting, "fails": broken}
    match name:
        case "hours":
            world.now += timedelta(hours=value)
        case "paused":
            world.wish = world.wish.model_copy(update={"paused": value})
        case "rows" | "listing":
            setattr(world, name, value)
        case "trainer":
            world.answer = trainers[value]
        case "inputs":
            world.wish = world.wish.model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": value})})
        case "annotate":
            world.annotations[f"perennial.dev/{value}"] = ""
        case _:
            changed = world.wish.triggers.model_copy(
                update={"schedule": spec(triggers={"schedule": {"cron": value}}).triggers.schedule}
            )
            world.wish = world.wish.model_copy(update={"triggers": changed})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=1, max_size=8))
def test_whatever_happens_limits_hold_and_nothing_is_trained_on_twice(sequence: list[tuple[str, Any]]) -> None:
    limits = {"cooldown": "1h", "runsPerDay": 3, "stopAfterFailures": 2}
    world = World(wish=spec(triggers={**NIGHTLY, "newData": {}}, limits=limits, history=100))
    begun: dict[int, datetime] = {}
    seen: dict[int, Version] = {}
    for name, value in sequence:
        act(world, name, value)
        for _ in range(6):
            world.live(1, rate=RATE)
            begun |= {number: world.now for number in world.versions if number not in begun}
            seen |= world.versions  # those that trained nothing go soon
    trained = {number: at for number, at in begun.items() if "SameInputs" not in seen[number].status.message}
    automatic = [number for number in trained if seen[number].spec.trigger.reason in ("Schedule", "NewData")]
    for number in automatic:
        before = {one: begun[number] - at for one, at in trained.items() if one < number}
        assert all(gap > timedelta(minutes=59) for gap in before.values()), "cooldown"
        assert len([one for one, gap in before.items() if one in automatic and gap < timedelta(hours=23)]) < 3, "runsPerDay"
        assert not any(f"v{number} took its place before" in version.status.message for version in seen.values())
    made = [inputs_of(seen[number]) for number in automatic if seen[number].status.identity]
    assert len(made) == len(set(made)), "trained twice"


def inputs_of(version: Version) -> tuple[str, str]:
    """What a version was made of: the digests of its spec and its rows."""
    found = prepared_of(version.status)
    assert found is not None
    return version.spec.inputs_digest, found.data


def test_every_check_of_the_chain_reads_an_untouched_model_without_a_word() -> None:
    draft = Draft(served(World()).observed())
    assert [check(draft) for check in (*CAUSES, *HOLDS)] == [None] * (len(CAUSES) + len(HOLDS))
