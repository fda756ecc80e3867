"""When entries of the ledger go to the store, what is kept until they are there, and what is told while they cannot go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perennial.api.ledger import MOST_ENTRIES, MOST_UNSTORED
from perennial.api.v1alpha1 import ReturnStatus
from perennial.core import actions, ledger, storing
from perennial.core.draft import Draft
from perennial.core.inputs import since, stamp
from perennial.core.observed import Job
from perennial_runtime import chain
from perennial_runtime.contract import Fault, LedgerResult, Refusal, as_variable, encode
from unit.core.test_watch import canary
from unit.core.world import World, served

DOWN = Fault("StoreUnavailable", "the store did not answer")


def decide(world: World, times: int) -> World:
    """So many decisions by a person."""
    begun = world.status.ledger.length
    while world.status.ledger.length < begun + times:
        world.annotations["perennial.dev/pause" if not world.status.paused else "perennial.dev/resume"] = ""
        world.live(2)
    return world


def jobs(world: World) -> list[str]:
    return [name for name in world.created if "-ledger-" in name]


def told(world: World) -> tuple[str, str] | None:
    found = next((one for one in world.status.conditions if one.type == storing.CONDITION), None)
    return (found.reason, found.message) if found else None


def holds(world: World) -> bool:
    whole = world.status.ledger
    links = [chain.link(line) for line in world.stored]
    return (ledger.problem(whole.entries), ledger.gap(whole), ledger.stored_problem(whole, links)) == ("", "", "")


def test_few_young_entries_are_not_worth_a_job() -> None:
    world = served()
    decide(world, storing.AT_LEAST - world.status.ledger.length - 3)
    assert storing.AT_LEAST - 4 <= world.status.ledger.length < storing.AT_LEAST
    assert jobs(world) == []
    assert told(world) is None


def test_many_entries_go_to_the_store_and_the_job_goes_when_that_is_recorded() -> None:
    world = served()
    decide(world, storing.AT_LEAST)
    stored = world.status.ledger.stored
    assert stored is not None
    assert jobs(world) == [f"delays-ledger-{stored.number}"]
    assert jobs(world)[0] in world.deleted
    assert (stored.uri, stored.first) == ("s3://store/p/ns/uid-m", 1)
    assert [chain.link(line).number for line in world.stored] == list(range(1, stored.number + 1))
    assert holds(world)


def test_an_old_entry_goes_when_nothing_else_is_under_way() -> None:
    world = served()
    assert jobs(world) == []
    decided = world.run()
    oldest = world.status.ledger.entries[0]
    left = storing.OLDEST_SECONDS - since(world.now, oldest.at)
    assert decided.wake_after == pytest.approx(left, abs=1.0)
    world.now += timedelta(seconds=storing.OLDEST_SECONDS)
    world.live(3)
    assert jobs(world) == [f"delays-ledger-{world.status.ledger.length}"]
    writes = world.status_writes
    world.now += timedelta(days=1)
    world.live(10)
    assert world.status_writes == writes, "nothing is left to be stored"
    assert len(jobs(world)) == 1


def test_a_rollout_is_not_held_up_for_a_few_old_entries() -> None:
    world = canary()
    world.now += timedelta(seconds=storing.OLDEST_SECONDS)
    world.live(2, rate=100)
    assert world.status.rollout is not None
    assert jobs(world) == []


def test_a_job_is_the_last_thing_of_its_pass_and_comes_after_a_return() -> None:
    world = served()
    decide(world, storing.AT_LEAST - world.status.ledger.length - 3)
    for _ in range(20):
        world.annotations["perennial.dev/pause" if not world.status.paused else "perennial.dev/resume"] = ""
        before = world.observed()
        decided = world.run()
        if jobs(world):
            break
    assert [isinstance(one, actions.CreateLedgerJob) for one in decided.after][-1:] == [True]
    returning = ReturnStatus(version=1, reason="Breach", since=stamp(world.now))
    draft = Draft(replace(before, status=before.status.model_copy(update={"returning": returning})))
    storing.settle(draft)
    assert draft.after == []


def test_there_is_one_job_at_a_time() -> None:
    world = served()
    observed = replace(world.observed(), ledger_jobs=(Job("delays-ledger-9", "u", 0, "ledger", 9, world.now),))
    observed = replace(observed, now=world.now + timedelta(days=1))
    draft = Draft(observed)
    storing.settle(draft)
    assert draft.after == []
    assert storing.LOOK_SECONDS in draft.wakes


def test_a_failure_is_told_tried_again_later_each_time_and_forgotten_when_it_is_over() -> None:
    world = served()
    world.store_says = DOWN
    decide(world, storing.AT_LEAST)
    reason, words = told(world) or ("", "")
    assert reason == "StoreUnavailable"
    assert "the store did not answer; it is tried again" in words
    assert jobs(world).count(jobs(world)[0]) == 1
    assert [one.reason for one in world.events].count("LedgerNotStored") == 1
    assert not any(one.type == "Stalled" for one in world.status.conditions)
    before = len(jobs(world))
    world.live(int(storing.RETRY_SECONDS) - 30)
    assert len(jobs(world)) == before
    world.live(60)
    assert len(jobs(world)) == before + 1
    world.live(60)
    assert len(jobs(world)) == before + 1, "twice as long"
    assert [one.reason for one in world.events].count("LedgerNotStored") == 1
    world.store_says = None
    world.live(120)
    assert told(world) is None
    assert world.status.ledger.unstored is None
    assert [one.reason for one in world.events].count("LedgerStored") == 1
    assert holds(world)


def test_a_failed_job_that_outlives_a_kill_counts_once() -> None:
    world = served()
    world.store_says = Refusal("PermissionDenied", "the keys may not do this")
    decide(world, storing.AT_LEAST)
    observed = world.observed()
    trouble = observed.status.ledger.unstored
    assert trouble is not None
    job = Job("delays-ledger-48", trouble.job, 0, "ledger", 48, world.now, failed=True, failure_reason="X")
    draft = Draft(replace(observed, ledger_jobs=(job,)))
    storing.settle(draft)
    assert draft.status.ledger.unstored == trouble
    assert draft.after == [actions.DeleteJob(job.name, job.uid)]


def test_what_is_not_stored_is_kept_beyond_the_newest_entries() -> None:
    world = served()
    world.store_says = DOWN
    decide(world, MOST_ENTRIES + 20)
    whole = world.status.ledger
    assert len(whole.entries) == whole.length > MOST_ENTRIES
    assert holds(world)
    world.store_says = None
    world.live(1900)
    assert world.status.ledger.stored is not None
    assert world.status.ledger.stored.number > whole.length - MOST_ENTRIES
    assert len(world.status.ledger.entries) == MOST_ENTRIES
    assert [chain.link(line).number for line in world.stored][: whole.length] == list(range(1, whole.length + 1))
    assert holds(world)


def test_there_is_a_bound_to_what_is_kept_and_the_ledger_says_what_is_lost() -> None:
    world = served()
    world.store_says = DOWN
    decide(world, MOST_UNSTORED + 1)
    whole = world.status.ledger
    assert len(whole.entries) <= MOST_UNSTORED
    assert whole.begins == ledger.DROPPED_AT_ONCE + 1 == whole.entries[0].number
    assert "32 older ones were dropped" in (told(world) or ("", ""))[1]
    assert [one.reason for one in world.events].count("LedgerDropped") == 1
    assert (ledger.problem(whole.entries), ledger.gap(whole)) == ("", "")
    world.store_says = None
    world.live(4000)
    assert told(world) is None
    assert chain.link(world.stored[0]).number == whole.begins
    assert holds(world)


def test_a_job_whose_entries_were_dropped_meanwhile_is_believed() -> None:
    world = served()
    decide(world, 20)
    whole = world.status.ledger
    begun = whole.model_copy(update={"begins": 11, "entries": whole.entries[10:]})
    draft = Draft(replace(world.observed(), status=world.status.model_copy(update={"ledger": begun})))
    job = Job("delays-ledger-8", "u", 0, "ledger", 8, world.now)
    storing._stored(draft, job, LedgerResult(8, "f" * 64, 1, "s3://store/p/ns/uid-m"))
    assert draft.status.ledger.stored is not None
    storing._stored(draft, job, LedgerResult(12, "f" * 64, 1, "s3://store/p/ns/uid-m"))
    assert draft.status.ledger.stored.number == 8
    assert draft.status.ledger.unstored is not None
    assert draft.status.ledger.unstored.reason == "LedgerDiffers"


@pytest.mark.parametrize(
    "change",
    [{"store": "s3://other/p/ns/uid-m"}, {"store": "s3://" + "x" * 4000}, {"first": 0}, {"first": 9}, {"digest": "f" * 500}],
)
def test_an_answer_that_cannot_be_true_is_not_believed(change: dict[str, Any]) -> None:
    world = served()
    decide(world, 20)
    begun = world.status.ledger.model_copy(update={"begins": 11, "entries": world.status.ledger.entries[10:]})
    draft = Draft(replace(world.observed(), status=world.status.model_copy(update={"ledger": begun})))
    said = {"number": 8, "digest": "f" * 64, "first": 1, "store": "s3://store/p/ns/uid-m", **change}
    storing._stored(draft, Job("delays-ledger-8", "u", 0, "ledger", 8, world.now), LedgerResult(**said))
    assert draft.status.ledger.stored is None
    assert draft.status.ledger.unstored is not None
    assert draft.status.ledger.unstored.reason == "LedgerDiffers"


def test_a_return_that_cannot_be_written_does_not_keep_everything_out_of_the_store() -> None:
    world = served()
    world.store_says = DOWN
    decide(world, 2 * storing.AT_LEAST)
    returning = ReturnStatus(version=1, reason="Breach", since=stamp(world.now))
    whole = world.status.ledger.model_copy(update={"unstored": None})
    status = world.status.model_copy(update={"returning": returning, "ledger": whole})
    draft = Draft(replace(world.observed(), status=status, ledger_jobs=()))
    storing.settle(draft)
    assert [type(one) for one in draft.after] == [actions.CreateLedgerJob]
    few = whole.model_copy(update={"entries": whole.entries[: 2 * storing.AT_LEAST - 1]})
    draft = Draft(replace(world.observed(), status=status.model_copy(update={"ledger": few}), ledger_jobs=()))
    storing.settle(draft)
    assert draft.after == []


def test_what_is_dropped_before_any_job_came_is_told_in_the_condition() -> None:
    world = served()
    world.store_says = DOWN
    decide(world, MOST_ENTRIES)
    whole = world.status.ledger.model_copy(update={"unstored": None})
    last = whole.entries[-1]
    more = [last.model_copy(update={"number": last.number + n}) for n in range(1, MOST_UNSTORED + 2 - len(whole.entries))]
    bounded = ledger._bounded(Draft(world.observed()), whole.model_copy(update={"entries": [*whole.entries, *more]}))
    assert bounded.unstored is not None
    assert (bounded.unstored.reason, bounded.unstored.dropped) == ("NotTried", ledger.DROPPED_AT_ONCE)


def test_a_store_that_has_more_than_a_status_that_says_nothing_of_it_is_a_problem() -> None:
    world = served()
    decide(world, storing.AT_LEAST)
    links = [chain.link(line) for line in world.stored]
    untold = world.status.ledger.model_copy(update={"stored": None})
    assert ledger.stored_problem(untold, links) == "", "the Job's answer is not written yet"
    assert ledger.stored_problem(untold, []) == ""
    cut = untold.model_copy(update={"entries": untold.entries[:10], "length": 10})
    assert ledger.stored_problem(cut, links).startswith("entry 11 is in the store, and the status neither has it")
    other = untold.entries[4].model_copy(update={"message": "another"})
    changed = untold.model_copy(update={"entries": [*untold.entries[:4], other, *untold.entries[5:]]})
    assert "entry 5 is another in the store" in ledger.stored_problem(changed, links)
    begun_anew = untold.model_copy(update={"entries": [], "length": links[-1].number, "begins": links[-1].number + 1})
    assert ledger.stored_problem(begun_anew, links) == ""


def test_a_job_that_the_cluster_refuses_is_told_and_is_no_matter_of_the_spec() -> None:
    world = served()
    world.errors = ((storing.ACTION, 'exceeded quota: "jobs"'),)
    world.run()
    assert (told(world) or ("",))[0] == "RefusedByCluster"
    types = {one.type for one in world.status.conditions}
    assert not types & {"WritesRefused", "Reconciling", "Stalled"}


def test_long_entries_go_in_several_jobs_none_larger_than_a_variable() -> None:
    world = served()
    decide(world, 40)
    long = [
        one.model_copy(update={"message": '"' * 512, "facts": {f"{n}": "é" * 256 for n in range(16)}})
        for one in world.status.ledger.entries
    ]
    whole = world.status.ledger.model_copy(update={"entries": long})
    spec = storing._spec(Draft(world.observed()), whole, long)
    assert 1 <= len(spec.entries) < len(long)
    assert len(encode(spec)) <= storing.MOST_BYTES
    dear = [one.model_copy(update={"message": "$" * 512, "facts": {}}) for one in long]
    spec = storing._spec(Draft(world.observed()), whole, dear)
    assert 1 <= len(spec.entries) < len(dear)
    assert len(as_variable(encode(spec))) <= storing.MOST_BYTES
    huge = [one.model_copy(update={"facts": {f"{n}": "\x00" * 256 for n in range(16)}}) for one in long]
    assert len(encode(storing._spec(Draft(world.observed()), whole, huge[:1]))) < 128 * 1024


def test_the_ledger_stays_in_the_store_in_which_it_began() -> None:
    world = served()
    decide(world, storing.AT_LEAST)
    stored = world.status.ledger.stored
    assert stored is not None
    moved = replace(world.observed().defaults, store=replace(world.observed().defaults.store, uri="s3://elsewhere"))
    draft = Draft(replace(world.observed(), defaults=moved))
    spec = storing._spec(draft, world.status.ledger, world.status.ledger.entries[-1:])
    assert spec.store == stored.uri == "s3://store/p/ns/uid-m"
    assert spec.after is not None
    assert (spec.after.number, spec.after.digest, spec.after.first) == (stored.number, stored.digest, stored.first)
