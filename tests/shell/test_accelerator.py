"""A busy accelerator through the whole loop: killed after any write, the operator comes to the same two Jobs, not to a third."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fakes.world import World, model
from perennial.adapters.kinds import EVENTS, JOBS, PODS, SERVICES, VERSIONS
from perennial.core.observed import TrainReading
from perennial.ports import Manifest

PARTS = 4
RESOURCE = "nvidia.com/gpu"
WORDS = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
TRAINING = {"image": "r/trainer", "accelerator": {"resource": RESOURCE, "fallbackToCPU": {"after": "30s"}}}


class Busy(World):
    """The accelerator is never free; a Job that asks for it has a pod that waits."""

    def _end_job(self, job: Manifest) -> None:
        if RESOURCE not in job["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {}):
            super()._end_job(job)
        elif not self._pods_of(job):
            self.cluster.add(pod_of(job, self.clock.stamp(), unschedulable()))

    def _pods_of(self, job: Manifest) -> list[Manifest]:
        return [pod for pod in self.cluster.of(PODS) if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]]


def pod_of(job: Manifest, created: str, status: dict[str, Any]) -> Manifest:
    meta = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-abcde",
            "namespace": meta["namespace"],
            "labels": meta["labels"],
            "creationTimestamp": created,
            "ownerReferences": [{"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}],
        },
        "spec": job["spec"]["template"]["spec"],
        "status": status,
    }


def unschedulable() -> dict[str, Any]:
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": WORDS}],
    }


async def story(crash_after: int | None) -> Busy:
    world = Busy()
    world.cluster.add(model(training=TRAINING))
    world.cluster.crash_after = crash_after
    await world.start()
    await world.outlive(120)
    return world


def trained(world: World) -> tuple[Any, ...]:
    jobs = Counter((verb, name) for verb, kind, name in world.cluster.log if kind == JOBS and "train" in name)
    (version,) = world.cluster.of(VERSIONS)
    records = [one for one in version["status"]["steps"] if one["step"] == "train"]
    steps = [tuple(one[name] for name in ("attempt", "state", "reason", "device")) for one in records]
    ledger = [entry["what"] for entry in version["status"]["ledger"]]
    return jobs, steps, version["status"]["device"], ledger


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_kill_after_any_write_makes_no_third_job(part: int) -> None:
    reference = await story(None)
    jobs, steps, device, _ = expected = trained(reference)
    first, second = "delays-v1-train-1", "delays-v1-train-2"
    assert jobs == Counter({("created", first): 1, ("deleted", first): 1, ("created", second): 1})
    assert [(state, of) for _, state, _, of in steps] == [("Failed", RESOURCE), ("Succeeded", "cpu")]
    assert device == "cpu"
    for number in range(1 + part, len(reference.cluster.writes) + 1, PARTS):
        world = await story(number)
        assert trained(world) == expected, f"killed after write {number}: {reference.cluster.writes[number - 1]}"


async def test_people_are_told_once() -> None:
    world = await story(None)
    told = [one["message"] for one in world.cluster.of(EVENTS) if one["reason"] == "FellBackToCPU"]
    assert len(told) == 1
    assert WORDS in told[0]


async def test_a_suspended_job_is_queued_and_never_written_again() -> None:
    world = World()
    world.held = {"train"}
    world.cluster.add(model(training={"image": "r/trainer", "jobLabels": {"kueue.x-k8s.io/queue-name": "team-a"}}))
    await world.start()
    await world.run(10)
    job = next(one for one in world.cluster.of(JOBS) if "train" in one["metadata"]["name"])
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    world.cluster.edit({**job, "spec": {**job["spec"], "suspend": True}})
    await world.run(30)
    found = {one["type"]: one for one in world.model()["status"]["conditions"]}
    assert (found["Queued"]["reason"], found["Queued"]["status"]) == ("Suspended", "True")
    assert "queue team-a" in found["Queued"]["message"]
    before = len(world.cluster.writes)
    await world.run(3600)
    await world.start()
    await world.run(600)
    assert len(world.cluster.writes) == before
    live = next(one for one in world.cluster.of(JOBS) if "train" in one["metadata"]["name"])
    assert live["spec"]["suspend"] is True
    world.held = set()
    world.cluster.edit({**live, "spec": {**live["spec"], "suspend": False}})
    await world.run(60)
    assert world.model()["status"]["stable"] == 1


async def test_workers_have_one_service_and_a_restart_makes_no_other() -> None:
    world = World()
    world.cluster.add(model(training={"image": "r/trainer", "workers": 2}))
    await world.start()
    await world.run(10)
    await world.start()
    await world.run(60)
    services = [one for one in world.cluster.of(SERVICES) if one["metadata"]["name"] == "delays-v1-train"]
    assert [one["spec"]["clusterIP"] for one in services] == ["None"]
    assert [verb for verb, kind, name in world.cluster.log if (kind, name) == (SERVICES, "delays-v1-train")] == ["created"]


async def test_progress_is_asked_for_every_ten_seconds_and_written_when_it_moves() -> None:
    world = World()
    world.held = {"train"}
    world.cluster.add(model())
    await world.start()
    await world.run(10)
    job = next(one for one in world.cluster.of(JOBS) if "train" in one["metadata"]["name"])
    world.cluster.add(pod_of(job, world.clock.stamp(), {"phase": "Running", "podIP": "198.51.100.7"}))
    world.trainers.says = TrainReading(52.0, 0.4, 60.0)
    await world.run(30)
    (version,) = world.cluster.of(VERSIONS)
    assert (version["status"]["progress"]["percent"], version["status"]["progress"]["loss"]) == (50, 0.4)
    asked, writes = len(world.trainers.asked), len(world.cluster.writes)
    await world.run(600)
    assert 50 <= len(world.trainers.asked) - asked <= 60
    assert len(world.cluster.writes) == writes
