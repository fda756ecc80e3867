"""Reproduction: a version is trained again from its record, beside everything else, and leaves nothing but its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from perennial.api.lineage import Reproduction
from perennial.core import actions, ledger
from perennial.core.observed import ContainerState, Job, JobPod
from perennial.core.plan import plan
from perennial_runtime.contract import Answer, Refusal, ReproduceResult, encode_answer
from unit.core.test_pause_and_retry import request, rolling
from unit.core.world import World, served, spec

EQUAL = ReproduceResult(True, "model-1", "model.onnx is bit-equal (sha256:model-1)")
OTHER = ReproduceResult(False, "other", "3 of 9 tensors and attributes have other values, numbers by up to 0.01")
Comes = Callable[[actions.CreateReproduceJob, datetime], Job]


def answers(said: Answer) -> Comes:
    def job(action: actions.CreateReproduceJob, now: datetime) -> Job:
        container = ContainerState("compare", "terminated", "Completed", encode_answer(said), 0)
        return Job("", "", 0, "", 0, now, complete=True, pods=(JobPod("p", "u", "Succeeded", now, containers=(container,)),))

    return job


def failing(action: actions.CreateReproduceJob, now: datetime) -> Job:
    container = ContainerState("train", "terminated", "Error", "", 3)
    return Job("", "", 0, "", 0, now, failed=True, pods=(JobPod("p", "u", "Failed", now, containers=(container,)),))


def reports(world: World, number: int = 1) -> list[tuple[int, str, str]]:
    return [(one.attempt, one.outcome, one.message) for one in world.versions[number].status.reproduced]


def told(world: World, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


def reproduced(comes: Comes | None, world: World | None = None) -> World:
    found = world or served()
    found.reproduce = comes
    request(found, "reproduce", "1")
    found.live(4, rate=100)
    return found


def test_same_model_is_said_to_be_bit_equal_and_only_the_report_is_left() -> None:
    world = reproduced(answers(EQUAL))
    assert reports(world) == [(1, "Equal", EQUAL.message)]
    assert world.status.reproducing is None
    assert not [name for name in world.jobs if "reproduce" in name]
    assert (world.status.stable, list(world.versions), world.status.candidate) == (1, [1], None)
    assert told(world, "Reproduced") == [f"v1: {EQUAL.message}"]


def test_it_is_made_of_the_record() -> None:
    (asked,) = reproduced(answers(EQUAL)).reproductions
    assert (asked.version, asked.attempt) == (1, 1)
    assert asked.image == "registry/training@sha256:2", "by the digest that it had"
    assert (asked.train.train, asked.train.schema, asked.train.seed, asked.train.scratch) == ("t", "s", 0, True)
    assert asked.train.uid != "uid-1", "under which a checkpoint of the version lies"
    assert (asked.compare.model, asked.compare.train) == ("model-1", "t")
    assert asked.compares == "training@1"


def test_other_model_is_told_with_what_differs_and_stands_in_the_ledger_of_its_version() -> None:
    world = reproduced(answers(OTHER))
    assert reports(world) == [(1, "Different", OTHER.message)]
    assert told(world, "ReproducedDifferently") == [f"v1: {OTHER.message}"]
    entries = [(one.what, one.facts.get("outcome", "")) for one in world.versions[1].status.ledger][-2:]
    assert entries == [("Request", ""), ("ReproducedDifferently", "Different")]
    assert ledger.problem(world.status.ledger.entries) == ""


def test_difference_names_what_of_the_record_is_not_exact() -> None:
    world = served()
    version = world.versions[1]
    assert version.status.lineage is not None
    loose = version.status.lineage.model_copy(update={"image": "sha256:5"})
    steps = [one.model_copy(update={"attempt": 2}) if one.step == "train" else one for one in version.status.steps]
    world.versions[1] = replace(version, status=version.status.model_copy(update={"lineage": loose, "steps": steps}))
    ((_, _, words),) = reports(reproduced(answers(OTHER), world))
    assert "the image that trained is not recorded by digest: training@1 may be another one now" in words
    assert "more than one attempt" in words


def test_one_that_failed_says_why_and_its_job_stays_until_the_next() -> None:
    world = reproduced(failing)
    ((_, outcome, words),) = reports(world)
    assert outcome == "Failed"
    assert "TrainerFailed: container train ended with exit code 3" in words
    assert "perennial.dev/reproduce=1" in words
    assert "delays-v1-reproduce-1" in world.jobs
    world.reproduce = answers(EQUAL)
    request(world, "reproduce", "v1")
    world.live(4)
    assert [outcome for _, outcome, _ in reports(world)] == ["Failed", "Equal"]
    assert not [name for name in world.jobs if "reproduce" in name]


def test_job_that_the_cluster_refuses_is_told_and_not_waited_for_for_ever() -> None:
    world = served()
    request(world, "reproduce", "1")
    world.jobs = {name: job for name, job in world.jobs.items() if "reproduce" not in name}
    world.errors = (("CreateReproduceJob", "exceeded quota: compute"),)
    world.run()
    assert world.status.reproducing is not None
    assert world.status.reproducing.waits == "RefusedByCluster: exceeded quota: compute"
    world.jobs = {name: job for name, job in world.jobs.items() if "reproduce" not in name}
    world.now += timedelta(hours=3)
    world.run()
    ((_, outcome, words),) = reports(world)
    assert (outcome, world.status.reproducing) == ("Failed", None)
    assert "NotStarted: Job delays-v1-reproduce-1 has not ended in time: exceeded quota: compute" in words
    assert not [name for name in world.jobs if "reproduce" in name]


def test_report_that_is_written_first_takes_no_end_of_the_version_with_it() -> None:
    """Else a kill between the two writes would leave a candidate that has ended, which is what a person's retry looks like."""
    world = served()
    world.answer = lambda step, number, action: (
        Job("", "uid-e", 2, "evaluate", action.attempt, world.now) if step == "evaluate" else None
    )
    request(world, "retrain", "because")
    world.until(lambda w: "delays-v2-evaluate-1" in w.jobs, rate=100)
    world.reproduce = answers(EQUAL)
    world.annotations["perennial.dev/reproduce"] = "2"
    world.run()
    assert "delays-v2-reproduce-1" in world.jobs
    refused = ContainerState("evaluate", "terminated", "Error", encode_answer(Refusal("Odd", "it is")), 64)
    job = world.jobs["delays-v2-evaluate-1"]
    world.jobs[job.name] = replace(job, failed=True, pods=(JobPod("p", "u", "Failed", world.now, containers=(refused,)),))
    decided = plan(world.observed())
    (first,) = [one for one in decided.before if isinstance(one, actions.WriteVersionStatus)]
    assert (first.status.state, len(first.status.reproduced)) == ("Evaluating", 1)
    world.run()
    assert (world.versions[2].status.state, len(world.versions[2].status.reproduced)) == ("Rejected", 1)


def test_refusal_of_the_comparison_is_told() -> None:
    ((_, outcome, words),) = reports(reproduced(answers(Refusal("OutputMissing", "the trainer ended without writing it"))))
    assert (outcome, words.partition(":")[0]) == ("Failed", "OutputMissing")


def test_nothing_is_written_while_it_trains_and_a_rollout_goes_on_beside_it() -> None:
    world = rolling()
    world.reproduce = None
    assert request(world, "reproduce", "1") == "v1 is trained again from its record, by registry/training@sha256:2"
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert world.status.reproducing is not None
    world.live(15, rate=100)
    writes = world.status_writes
    world.live(60, rate=100)
    assert world.status_writes == writes


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("", "wants the number of a version that is there"),
        ("9", "there are v1"),
        ("first", "wants the number of a version"),
    ],
)
def test_number_that_is_no_version_is_refused(argument: str, words: str) -> None:
    outcome = request(served(), "reproduce", argument)
    assert outcome.startswith("refused: ")
    assert words in outcome


def test_version_without_a_model_is_refused() -> None:
    world = World(answer=lambda step, version, action: failing_train(action) if step == "train" else None)
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed", limit=300)
    assert "v1 is Failed and has no model that could be compared" in request(world, "reproduce", "1")


def failing_train(action: actions.CreateJob) -> Job:
    container = ContainerState("train", "terminated", "Error", "", 1)
    pods = (JobPod("p", "u", "Failed", datetime.fromisoformat("2026-01-01T00:00:00Z"), containers=(container,)),)
    return Job("", "j", 1, "train", 1, datetime.fromisoformat("2026-01-01T00:00:00Z"), failed=True, pods=pods)


def test_one_at_a_time_and_none_while_paused() -> None:
    world = reproduced(None)
    assert "v1 is being trained again since" in request(world, "reproduce", "1")
    paused = served(World())
    paused.wish = spec(paused=True)
    assert request(paused, "reproduce", "1") == "refused: spec.paused is true"


def test_evicted_pod_ends_it() -> None:
    world = reproduced(None)
    job = world.jobs["delays-v1-reproduce-1"]
    world.jobs[job.name] = replace(job, pods=(JobPod("p", "u", "Running", world.now, disrupted=True),))
    world.live(2)
    assert "Disrupted: a pod of Job delays-v1-reproduce-1 was evicted" in reports(world)[0][2]
    world.live(2)
    assert job.name not in world.jobs, "another pod would be made"


def test_job_that_never_starts_says_why_and_is_ended_when_its_time_is_over() -> None:
    world = reproduced(None)
    name = "delays-v1-reproduce-1"
    pod = JobPod("p", "u", "Pending", world.now, unschedulable="0/3 nodes have nvidia.com/gpu")
    world.jobs[name] = replace(world.jobs[name], pods=(pod,))
    world.live(2)
    assert world.status.reproducing is not None
    assert world.status.reproducing.waits == "Unschedulable: pod p: 0/3 nodes have nvidia.com/gpu"
    world.now += timedelta(hours=2)
    world.live(3)
    assert reports(world)[0][2].startswith("NotStarted: Job delays-v1-reproduce-1 has not ended in time: pod p: 0/3 nodes")
    assert name not in world.jobs


def test_report_written_before_a_crash_is_not_made_twice() -> None:
    world = reproduced(None)
    done = Reproduction(attempt=1, at="2026-01-01T00:00:00Z", outcome="Equal", message="model.onnx is bit-equal")
    version = world.versions[1]
    world.versions[1] = replace(version, status=version.status.model_copy(update={"reproduced": [done]}))
    world.live(2)
    assert world.status.reproducing is None
    assert reports(world) == [(1, "Equal", "model.onnx is bit-equal")]
    assert told(world, "Reproduced") == ["v1: model.onnx is bit-equal"]


def test_job_that_somebody_deleted_is_made_again() -> None:
    world = reproduced(None)
    del world.jobs["delays-v1-reproduce-1"]
    world.live(2)
    assert "delays-v1-reproduce-1" in world.jobs


def test_version_is_kept_while_it_is_trained_again_and_only_the_newest_reports_are() -> None:
    world = served()
    for _ in range(10):
        reproduced(answers(EQUAL), world)
    assert [attempt for attempt, _, _ in reports(world)] == list(range(3, 11))
    world.reproduce = None
    request(world, "reproduce", "1")
    world.wish = spec(history=1)
    for number in (2, 3):
        world.annotations["perennial.dev/retrain"] = f"{number}"
        world.until(lambda w, number=number: w.status.stable == number, rate=100)  # type: ignore[misc]
    world.live(30, rate=100)
    assert 1 in world.versions
    assert world.status.reproducing is not None
