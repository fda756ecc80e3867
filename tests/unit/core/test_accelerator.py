"""The nodes that a version trains on: it waits for an accelerator with the scheduler's words, then for none on a CPU."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from perennial.core import ledger
from perennial.core.actions import CreateJob
from perennial.core.observed import ContainerState, Job, JobPod
from unit.core.test_approval import condition, told
from unit.core.test_pause_and_retry import request
from unit.core.world import START, World, failed, spec

WORDS = "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint."
FALLBACK = {"resource": "nvidia.com/gpu", "fallbackToCPU": {"after": "2m"}}


def waiting(action: CreateJob, now: Any = START, **job: Any) -> Job:
    """A train Job whose pod finds no node."""
    pod = JobPod("pod-x", f"u-{action.attempt}", "Pending", now, unschedulable=WORDS)
    made = Job("", f"uid-{action.attempt}", action.version, "train", action.attempt, now, pods=(pod,))
    return replace(made, **job)


def busy(accelerator: dict[str, Any] | None = None, **training: Any) -> World:
    """The accelerator never gets free; what is trained without one goes well."""
    world = World(wish=spec(training={"recipe": {}, "accelerator": accelerator or FALLBACK, **training}))

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        return waiting(action, world.now) if step == "train" and not action.on_cpu else None

    world.answer = answer
    return world.until(lambda w: "delays-v1-train-1" in w.jobs)


def steps(world: World) -> list[tuple[int, str, str, str]]:
    found = [one for one in world.versions[1].status.steps if one.step == "train"]
    return [(one.attempt, one.device, one.state, one.reason) for one in found]


def test_pod_that_waits_is_told_in_the_schedulers_words_with_the_time_when_it_ends() -> None:
    world = busy()
    world.live(2)
    status, reason, words = condition(world, "Queued")
    assert (status, reason) == ("True", "Unschedulable")
    assert WORDS in words
    assert "on a CPU from 2026-01-01T00:02:" in words
    assert WORDS in condition(world, "Progressing")[2]


def test_nothing_is_written_while_it_waits() -> None:
    world = busy()
    world.live(5)
    before = (world.status_writes, world.status, world.versions[1].status)
    world.live(60)
    assert (world.status_writes, world.status, world.versions[1].status) == before


def test_after_the_wait_it_is_trained_on_a_cpu_and_the_version_says_so() -> None:
    world = busy()
    world.live(130)
    world.until(lambda w: w.status.stable == 1)
    assert steps(world) == [(1, "nvidia.com/gpu", "Failed", "AcceleratorBusy"), (2, "cpu", "Succeeded", "Completed")]
    assert world.versions[1].status.device == "cpu"
    assert [name for name in world.created if "train" in name] == ["delays-v1-train-1", "delays-v1-train-2"]
    assert world.deleted == ["delays-v1-train-1"]
    (words,) = told(world, "FellBackToCPU")
    assert "no node had room for nvidia.com/gpu within 2m" in words
    assert WORDS in words
    ended = [one.message for one in world.versions[1].status.ledger if one.what == "StepEnded"]
    assert sum("AcceleratorBusy" in words for words in ended) == 1
    assert ledger.problem(world.status.ledger.entries) == ""
    assert condition(world, "Queued") == ("", "", "")


def test_version_trained_with_its_accelerator_says_so() -> None:
    world = World(wish=spec(training={"recipe": {}, "accelerator": FALLBACK})).until(lambda w: w.status.stable == 1)
    assert world.versions[1].status.device == "nvidia.com/gpu"


def test_without_the_wish_it_waits_for_as_long_as_it_takes() -> None:
    world = busy({"resource": "nvidia.com/gpu"})
    world.live(600)
    assert steps(world) == [(1, "nvidia.com/gpu", "Running", "")]
    assert "on a CPU" not in condition(world, "Queued")[2]


def test_waiting_costs_no_retry_and_what_fails_on_the_cpu_stays_there() -> None:
    world = busy(retries=1)
    tried: list[bool] = []

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        if step == "train" and not action.on_cpu:
            return waiting(action, world.now)
        if step == "train":
            tried.append(action.on_cpu)
            return failed(world.now, ContainerState("train", "terminated", "Error", "", 3))
        return None

    world.answer = answer
    world.until(lambda w: w.versions[1].status.state == "Failed", limit=400)
    assert tried == [True, True], "the first try and its retry, both without the accelerator"


def test_time_in_a_queue_is_not_counted() -> None:
    world = busy()
    job = world.jobs["delays-v1-train-1"]
    world.jobs[job.name] = replace(job, suspended=True, queue="team-a", pods=())
    world.live(600)
    assert steps(world) == [(1, "nvidia.com/gpu", "Running", "")]
    assert condition(world, "Queued")[:2] == ("True", "Suspended")
    pod = replace(job.pods[0], uid="u-later", created_at=world.now)
    world.jobs[job.name] = replace(job, suspended=False, pods=(pod,))
    world.live(110)
    assert len(steps(world)) == 1
    world.live(20)
    assert steps(world)[0][3] == "AcceleratorBusy"


def test_eviction_costs_no_retry_and_a_bad_exit_does() -> None:
    world = World(wish=spec(training={"recipe": {}, "retries": 0}))
    killed, later = ContainerState("train", "terminated", "Error", "", 137), START + timedelta(seconds=9)
    evicted = JobPod("pod-x", "u-1", "Failed", START, disrupted=True, containers=(killed,))
    again = JobPod("pod-y", "u-2", "Running", later)
    world.answer = lambda step, number, action: (
        Job("", "uid-1", 1, "train", 1, START, pods=(evicted, again)) if step == "train" else None
    )
    world.until(lambda w: "delays-v1-train-1" in w.jobs)
    world.live(5)
    (record,) = [one for one in world.versions[1].status.steps if one.step == "train"]
    assert (record.state, record.disrupted_pods) == ("Running", ["u-1"])
    job = world.jobs["delays-v1-train-1"]
    bad = replace(again, phase="Failed", containers=(ContainerState("train", "terminated", "Error", "", 3),))
    world.jobs[job.name] = replace(job, failed=True, pods=(evicted, bad))
    world.live(2)
    assert world.versions[1].status.state == "Failed"


def of_workers(evictions: int) -> World:
    """Two workers; as often as told one of them is evicted, and the other ends with an error."""
    world = World(wish=spec(training={"image": "r/trainer", "workers": 2, "retries": 0}))

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        if step != "train" or action.attempt > evictions:
            return None
        gone = JobPod("pod-0", f"u-{action.attempt}", "Failed", world.now, disrupted=True, index=0)
        lonely = ContainerState("train", "terminated", "Error", "", 1)
        other = JobPod("pod-1", f"w-{action.attempt}", "Failed", world.now, index=1, containers=(lonely,))
        return Job("", "u", 1, "train", action.attempt, world.now, failed=True, pods=(gone, other))

    world.answer = answer
    return world


def test_workers_that_end_because_one_was_evicted_use_up_no_retry() -> None:
    world = of_workers(2).until(lambda w: w.status.stable == 1)
    assert [reason for _, _, _, reason in steps(world)] == ["WorkersDisrupted", "WorkersDisrupted", "Completed"]


def test_drain_of_a_node_with_all_workers_is_one_disruption() -> None:
    world = World(wish=spec(training={"image": "r/trainer", "workers": 8, "retries": 0}))

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        if step != "train":
            return None
        gone = tuple(JobPod(f"pod-{i}", f"u-{i}", "Failed", world.now, disrupted=True, index=i) for i in range(8))
        again = tuple(JobPod(f"new-{i}", f"w-{i}", "Running", world.now + timedelta(seconds=1), index=i) for i in range(8))
        return Job("", "u", 1, "train", action.attempt, world.now, pods=(*gone, *again))

    world.answer = answer
    world.until(lambda w: "delays-v1-train-1" in w.jobs).live(5)
    (record,) = [one for one in world.versions[1].status.steps if one.step == "train"]
    assert (record.state, len(record.disrupted_pods)) == ("Running", 8)


def test_workers_that_are_evicted_one_by_one_while_the_others_wait_for_them_are_given_up() -> None:
    world = World(wish=spec(training={"image": "r/trainer", "workers": 8, "retries": 0}))
    world.answer = lambda step, number, action: Job("", "u", 1, step, action.attempt, world.now) if step == "train" else None
    world.until(lambda w: "delays-v1-train-1" in w.jobs)
    evicted = 0
    while world.versions[1].status.state == "Training" and evicted < 100:
        gone = JobPod(f"pod-{evicted}", f"u-{evicted}", "Failed", world.now, disrupted=True, index=evicted % 8)
        world.jobs["delays-v1-train-1"] = replace(world.jobs["delays-v1-train-1"], pods=(gone,))
        world.live(1)
        evicted += 1
    assert (evicted, world.versions[1].status.state) == (5 * 8 + 1, "Failed")
    assert "DisruptedTooOften" in world.versions[1].status.message


def test_person_who_retries_after_too_many_evictions_is_given_all_of_them_anew() -> None:
    world = of_workers(8).until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert "DisruptedTooOften" in world.versions[1].status.message
    request(world, "retry")
    world.until(lambda w: w.status.stable == 1)
    assert [reason for _, _, _, reason in steps(world)][-3:] == ["WorkersDisrupted", "WorkersDisrupted", "Completed"]


def test_workers_that_are_evicted_again_and_again_are_given_up() -> None:
    world = of_workers(99).until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert len(steps(world)) == 6
    assert "DisruptedTooOften" in world.versions[1].status.message
