"""triggers.newData: the data source is looked at, other files begin a version, and what cannot be looked at is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perennial.core import actions
from perennial.core.observed import ContainerState, Job, JobPod
from perennial.core.plan import plan
from perennial_runtime.contract import Fault, PollResult, Refusal, encode_answer
from unit.core.test_pause_and_retry import request
from unit.core.test_triggers import condition, night, reasons, rejecting, settled, told
from unit.core.world import World, served, spec

NEW_DATA = {"newData": {"interval": "1m"}}
AWAY = Fault("StoreUnavailable", "data source s3://flights/2013/ did not answer")


def model(**changes: object) -> World:
    world = served(World(wish=spec(**({"triggers": NEW_DATA} | changes)), rows="d1"))
    world.live(5)
    return world


def looks(world: World) -> list[str]:
    return [name for name in world.created if "-poll-" in name]


def test_source_is_looked_at_by_one_job_at_a_time_that_goes_when_it_has_answered() -> None:
    world = model()
    world.sleep(300)
    assert looks(world) == [f"delays-poll-{number}" for number in range(1, len(looks(world)) + 1)]
    assert 5 <= len(looks(world)) <= 7
    assert world.poll_jobs == {}
    assert list(world.versions) == [1]


def test_look_whose_answer_is_on_its_way_is_no_trouble() -> None:
    world = model()
    world.polling = True
    world.until(lambda w: bool(w.poll_jobs), limit=90)
    (job,) = world.poll_jobs.values()
    world.poll_jobs[job.name] = replace(job, complete=True, pods=(JobPod("p", "u", "Running", world.now),))
    world.live(2)
    assert condition(world, "DataPolled") == ("", "", "")


def test_data_that_changed_while_the_last_attempt_was_under_way_lets_retrains_go_on() -> None:
    world = model(limits={"stopAfterFailures": 1})
    late = Job("", "uid-e", 2, "evaluate", 1, world.now)
    world.answer = lambda step, number, action: late if (step, number) == ("evaluate", 2) else None
    world.listing, world.rows = "l2", "d2"
    world.until(lambda w: "delays-v2-evaluate-1" in w.jobs, limit=120)
    world.listing, world.rows = "l3", "d3"
    world.until(lambda w: condition(w, "RetrainDue")[1] == "CandidateUnderWay", limit=120)
    refused = ContainerState("evaluate", "terminated", "Error", encode_answer(Refusal("Odd", "it is")), 64)
    pod = JobPod("p", "u", "Failed", world.now, containers=(refused,))
    world.jobs["delays-v2-evaluate-1"] = replace(world.jobs["delays-v2-evaluate-1"], failed=True, pods=(pod,))
    settled(world)
    assert reasons(world) == ["Created", "NewData", "NewData"]
    assert len(told(world, "RetrainingStopped")) == len(told(world, "RetrainingResumed")) == 1


def test_look_uses_the_secret_of_the_source_else_that_of_the_store() -> None:
    for secret, expected in (({}, "perennial-store"), ({"secretRef": {"name": "flights"}}, "flights")):
        data = spec().data.model_dump(by_alias=True, exclude_none=True)
        data["source"] = {"uri": "s3://flights/2013/", **secret}
        world = World(wish=spec(data=data, triggers=NEW_DATA))
        found = [one for one in (*world.run().after, *world.run().after) if isinstance(one, actions.CreatePollJob)]
        assert [(one.secret, one.input.source, one.image) for one in found[:1]] == [(expected, "s3://flights/2013/", "serving@1")]


def test_look_at_a_claim_mounts_it_and_no_source_but_s3_is_lent_the_stores_keys() -> None:
    for source, expected in (
        ({"uri": "gs://flights/2013/"}, (None, "gs://flights/2013/", "")),
        ({"pvc": {"claimName": "flights", "path": "2013/"}}, (None, "file:///perennial/source/2013/", "flights")),
    ):
        data = {**spec().data.model_dump(by_alias=True, exclude_none=True), "source": source}
        world = World(wish=spec(data=data, triggers=NEW_DATA))
        found = [one for one in (*world.run().after, *world.run().after) if isinstance(one, actions.CreatePollJob)]
        assert [(one.secret, one.input.source, one.input.claim) for one in found[:1]] == [expected]


def test_other_files_begin_a_version_in_the_pass_that_learns_of_them_and_say_what_was_seen() -> None:
    world = model()
    world.listing, world.rows = "l2", "d2"
    world.until(lambda w: bool(w.poll_jobs), limit=90)
    decided = plan(world.observed())
    assert [type(one) for one in decided.before if isinstance(one, actions.CreateVersion)] == [actions.CreateVersion]
    settled(world)
    assert reasons(world) == ["Created", "NewData"]
    assert world.versions[2].spec.trigger.listing == "l2"
    assert world.versions[2].spec.trigger.message.startswith("new data: 3 files, 4096 bytes, seen at 2026-01-01T00:")
    world.sleep(600)
    assert list(world.versions) == [1, 2]


def test_files_that_hold_the_same_rows_end_as_same_inputs() -> None:
    world = model()
    world.listing = "l2"
    world.sleep(120)
    settled(world)
    assert world.versions[2].status.message.startswith("SameInputs: ")
    world.sleep(600)
    assert list(world.versions) == [1, 2]
    assert not [name for name in world.created if name.startswith("delays-v2-train")]


def test_listings_that_take_turns_over_the_same_rows_begin_one_version() -> None:
    world = model()
    for listing in ("l2", "l1", "l2", "l1", "l2"):
        world.listing = listing
        world.sleep(120)
        settled(world)
    assert max(world.versions) == 2
    world.listing, world.rows = "l3", "d2"
    world.sleep(120)
    settled(world)
    world.listing, world.rows = "l1", "d1"
    world.sleep(120)
    settled(world)
    assert max(world.versions) == 4, "old rows are other rows than the newest version's"


def test_first_look_begins_nothing() -> None:
    world = served(World(wish=spec(), listing=""))
    world.listing = "l9"
    world.wish = spec(triggers=NEW_DATA)
    world.sleep(300)
    assert list(world.versions) == [1]
    world.listing = "l10"
    world.sleep(120)
    assert reasons(world) == ["Created", "NewData"]


def test_data_that_came_between_prepare_and_the_first_look_is_new() -> None:
    world = served(World(wish=spec()))
    world.listing, world.rows = "l2", "d2"
    world.wish = spec(triggers=NEW_DATA)
    world.sleep(60)
    assert reasons(world) == ["Created", "NewData"]


def test_data_that_was_refused_is_not_tried_again_before_it_changes() -> None:
    world = model()
    world.listing = "l2"
    world.answer = lambda step, number, action: Refusal("TooFewRows", "add data") if step == "prepare" and number > 1 else None
    world.sleep(600)
    assert [version.status.state for version in world.versions.values()] == ["Serving", "Failed"]
    world.listing = "l3"
    world.sleep(120)
    assert len(world.versions) == 3


def test_source_that_cannot_be_looked_at_is_told_once_and_asked_later_each_time() -> None:
    world = model()
    world.poll_says, world.listing = AWAY, "l2"
    before = len(looks(world))
    world.sleep(3600)
    assert 4 <= len(looks(world)) - before <= 7
    status, reason, words = condition(world, "DataPolled")
    assert (status, reason) == ("False", "StoreUnavailable")
    assert words == f"nobody can tell whether there is new data: {AWAY.message}; it is tried again, later each time"
    assert len(told(world, "DataNotPolled")) == 1
    assert list(world.versions) == [1]
    assert condition(world, "Stalled") == ("", "", "")
    world.poll_says = None
    world.sleep(3700)
    assert condition(world, "DataPolled") == ("", "", "")
    assert reasons(world) == ["Created", "NewData"]


def away_for_an_hour() -> World:
    world = model()
    world.poll_says = AWAY
    world.sleep(3600)
    assert condition(world, "DataPolled")[0] == "False"
    return world


@pytest.mark.parametrize("source", [{"secretRef": {"name": "mended"}}, {"uri": "s3://flights/2014/"}], ids=["Secret", "URI"])
def test_another_source_or_secret_is_looked_at_at_once(source: dict[str, object]) -> None:
    world = away_for_an_hour()
    before = len(looks(world))
    data = world.wish.data.model_dump(by_alias=True, exclude_none=True)
    world.wish = spec(data={**data, "source": {**data["source"], **source}}, triggers=NEW_DATA)
    world.live(3)
    assert len(looks(world)) == before + 1
    assert world.status.triggers is not None
    assert world.status.triggers.data is not None
    assert world.status.triggers.data.problem is not None
    assert world.status.triggers.data.problem.tries == 1, "what failed before was another one"


def test_source_that_prepare_has_read_meanwhile_is_looked_at_as_often_as_before() -> None:
    world = away_for_an_hour()
    world.poll_says = None
    request(world, "retrain", "the bucket is back")
    settled(world)
    world.sleep(60)
    assert condition(world, "DataPolled") == ("", "", "")


def test_answer_of_another_source_is_not_believed() -> None:
    world = model()
    world.poll_says = PollResult("0" * 64, "l2", 1, 1)
    world.sleep(300)
    assert list(world.versions) == [1]


def test_answer_that_was_taken_in_before_a_kill_is_not_taken_in_again() -> None:
    world = model()
    world.poll_says = AWAY
    world.until(lambda w: bool(w.poll_jobs), limit=90)
    job = dict(world.poll_jobs)
    world.run()
    world.poll_jobs = job  # it could not be deleted
    world.live(3)
    assert world.status.triggers is not None
    assert world.status.triggers.data is not None
    assert world.status.triggers.data.problem is not None
    assert world.status.triggers.data.problem.tries == 1
    assert world.poll_jobs == {}


def test_paused_model_does_not_look_and_one_without_the_trigger_leaves_no_job() -> None:
    world = model()
    world.wish = spec(triggers=NEW_DATA, paused=True)
    known = len(looks(world))
    world.sleep(300)
    assert len(looks(world)) == known
    world.wish, world.polling = spec(triggers=NEW_DATA), True
    world.until(lambda w: bool(w.poll_jobs), limit=90)
    world.wish = spec()
    world.live(2)
    assert world.poll_jobs == {}
    assert world.status.triggers is None


def test_new_data_starts_stopped_triggers_again() -> None:
    world = model(limits={"stopAfterFailures": 1})
    world.answer = rejecting
    world.listing, world.rows = "l2", "d2"
    world.sleep(120)
    settled(world)
    assert condition(world, "RetrainingStopped")[0] == "True"
    world.answer = None
    world.listing, world.rows = "l3", "d3"
    world.sleep(120)
    settled(world)
    assert condition(world, "RetrainingStopped") == ("", "", "")
    assert told(world, "RetrainingResumed")[0].startswith(
        "retrains begin by themselves again: the data changed: new data: 3 files"
    )
    assert world.status.stable == 3


def test_one_version_is_made_for_new_data_and_the_schedule_together() -> None:
    world = model(triggers={**NEW_DATA, "schedule": {"cron": "0 3 * * *"}}, limits={"cooldown": "20h"})
    world.listing, world.rows = "l2", "d2"
    world.sleep(120)
    night(world, 1, 4).live(3)
    words = condition(world, "RetrainDue")[2]
    assert "new data: 3 files" in words
    assert "was due at 2026-01-01T03:00:00.000Z" in words
    night(world, 1, 21).live(3)
    settled(world)
    world.sleep(120)
    assert reasons(world) == ["Created", "NewData"]
    trigger = world.versions[2].spec.trigger
    assert (trigger.listing, trigger.due) == ("l2", "2026-01-01T03:00:00.000Z")


@pytest.mark.parametrize("refused", [True, False])
def test_job_that_the_cluster_refuses_is_no_fault_of_the_spec(refused: bool) -> None:
    world = model()
    errors = (("CreatePollJob", "exceeded quota: jobs"),) if refused else ()
    found = {one.type: one.reason for one in plan(replace(world.observed(), errors=errors)).status.conditions}
    assert found.get("DataPolled") == ("RefusedByCluster" if refused else None)
    assert "WritesRefused" not in found
