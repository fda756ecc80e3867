"""The nodes that it trains on, on the real cluster: a busy accelerator and the way to a CPU, an eviction in mid-run, a queue.

node2 advertises two of nvidia.com/gpu; `busy` has a pod on both. The trainer is a script of a few lines in the training image:
it writes a checkpoint, tells how far it is, and waits to be let on, which is what an eviction meets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.nodes import ACCELERATOR, ADVERTISED
from cluster_support import synthetic
from cluster_support.place import Place
from demo import view
from demo.stage import State

BUSY, EVICTED, QUEUED = "busy", "evicted", "queued"
SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
TOLERATED = [{"key": ACCELERATOR, "operator": "Exists"}]
LONG = """
import json, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
out = pathlib.Path("/perennial/out")
params = json.loads(pathlib.Path("/perennial/params.json").read_text())
checkpoint = out / "checkpoint" / "step"
if not params["resume"]:
    (out / "step").write_text("5")
    checkpoint.parent.mkdir()
    (out / "step").rename(checkpoint)
    (out / "progress.jsonl").write_text('{"step": 5, "of": 10, "loss": 0.4}\\n')
    time.sleep(600)
    sys.exit(3)
print("resumed at step", checkpoint.read_text())
(out / "metrics.json").write_text(json.dumps({"resumed": float(checkpoint.read_text())}))
sys.exit(subprocess.run([sys.executable, "/trainer/train.py"]).returncode)
"""
"""Waits for its eviction after half of the work; the second pod finds the checkpoint, and ends well."""


@pytest.fixture(scope="module")
def occupied(shared_place: Place) -> Iterator[Place]:
    """Both accelerators are taken by a pod of somebody else."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "somebody"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "tolerations": TOLERATED,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "holds",
                    "image": shared_place.images.runtime,
                    "command": ["sleep", "3600"],
                    "resources": {"limits": {ACCELERATOR: ADVERTISED, "cpu": "10m", "memory": "16Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    shared_place.upload(synthetic.table(1500))
    shared_place.kubectl.apply(pod)
    shared_place.kubectl.run("wait", "--for=condition=Ready", "pod/somebody", "--timeout=60s", timeout=70)
    yield shared_place
    shared_place.kubectl.run("delete", "pod", "somebody", "--wait=false")


def said(state: State, kind: str) -> dict[str, Any]:
    return view.condition(state.deployment, kind)


def trainings(place: Place, name: str) -> list[dict[str, Any]]:
    """Train Jobs that there are."""
    return list(place.kubectl.list("jobs", f"perennial.dev/model={name},perennial.dev/step=train"))


def attempts(state: State, number: int = 1) -> list[tuple[int, str, str]]:
    """(attempt, device, reason) of each that was made."""
    steps = state.version(number)["steps"]
    return [(one["attempt"], one.get("device", ""), one.get("reason", "")) for one in steps if one["step"] == "train"]


def test_a_busy_accelerator_is_told_in_the_schedulers_words_and_after_the_wait_a_cpu_trains(occupied: Place) -> None:
    asked = {"resource": ACCELERATOR, "fallbackToCPU": {"after": "20s"}}
    occupied.apply(occupied.manifest(BUSY, training={"accelerator": asked}))
    waits = occupied.until("the wait", lambda state: said(state, "Queued").get("reason") == "Unschedulable", name=BUSY)
    for word in ("train 1", f"Insufficient {ACCELERATOR}", "0/2 nodes are available", "on a CPU from "):
        assert word in said(waits, "Queued")["message"]
    state = occupied.serving(name=BUSY)
    assert attempts(state) == [(1, ACCELERATOR, "AcceleratorBusy"), (2, "cpu", "Completed")]
    assert state.version(1)["device"] == "cpu"
    assert [job["metadata"]["name"] for job in trainings(occupied, BUSY)] == [f"{BUSY}-v1-train-2"]
    (pod,) = occupied.kubectl.list("pods", f"perennial.dev/model={BUSY},perennial.dev/step=train")
    assert pod["spec"]["nodeName"] == "node1"
    (trainer,) = pod["spec"]["containers"]
    assert {"name": "PERENNIAL_DEVICE", "value": "cpu"} in trainer["env"]
    events = occupied.kubectl.list("events")
    told = [one["message"] for one in events if (one["involvedObject"]["name"], one["reason"]) == (BUSY, "FellBackToCPU")]
    assert len(told) == 1
    assert f"Insufficient {ACCELERATOR}" in told[0]


def evict(place: Place, pod: str) -> None:
    """By the Eviction API, as a drain does."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": place.namespace}}
    path = f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction"
    place.kubectl.run("create", "--raw", path, "--filename=-", given=json.dumps(body))


def test_an_eviction_in_mid_run_goes_on_from_the_checkpoint_and_uses_up_no_retry(place: Place) -> None:
    place.upload(synthetic.table(1500))
    trainer = {"recipe": None, "image": place.light_image, "command": ["python3", "-c", LONG], "resources": SMALL}
    place.apply(place.manifest(EVICTED, training={**trainer, "retries": 0}))
    seen = place.until("half of the work", lambda state: "progress" in state.version(1), name=EVICTED, seconds=120)
    assert (seen.version(1)["progress"]["percent"], seen.version(1)["progress"]["loss"]) == (50, 0.4)
    (pod,) = place.kubectl.list("pods", f"perennial.dev/model={EVICTED},perennial.dev/step=train")
    evict(place, pod["metadata"]["name"])
    state = place.serving(name=EVICTED)
    assert attempts(state) == [(1, "cpu", "Completed")]
    (record,) = [one for one in state.version(1)["steps"] if one["step"] == "train"]
    assert record["disruptedPods"] == [pod["metadata"]["uid"]]
    (again,) = [
        one
        for one in place.kubectl.list("pods", f"perennial.dev/model={EVICTED},perennial.dev/step=train")
        if one["metadata"]["uid"] != pod["metadata"]["uid"]
    ]
    assert "resumed at step 5" in place.kubectl.logs(again["metadata"]["name"], "train")


def test_a_suspended_job_is_queued_and_starts_when_its_queue_lets_it(place: Place) -> None:
    place.upload(synthetic.table(1500))
    labels = {"kueue.x-k8s.io/queue-name": "team-a"}
    place.apply(place.manifest(QUEUED, training={**place.light(), "jobLabels": labels, "timeout": "40s"}))
    place.until("the train Job", lambda state: bool(trainings(place, QUEUED)), name=QUEUED, seconds=90, every=0.1)
    (job,) = trainings(place, QUEUED)
    assert job["metadata"]["labels"].items() >= labels.items()
    place.kubectl.patch("job", job["metadata"]["name"], {"spec": {"suspend": True}})
    waits = place.until("the queue", lambda state: said(state, "Queued").get("reason") == "Suspended", name=QUEUED)
    assert "queue team-a admits it" in said(waits, "Queued")["message"]
    assert said(waits, "Reconciling")["status"] == "True"
    before = version_of(waits)
    place.until("a while in the queue", lambda state: age(said(waits, "Queued")) > 45, name=QUEUED)
    held = place.state(QUEUED)
    assert version_of(held) == before, "nothing is written while it waits"
    assert trainings(place, QUEUED)[0]["spec"]["suspend"] is True
    place.kubectl.patch("job", job["metadata"]["name"], {"spec": {"suspend": False}})
    state = place.serving(name=QUEUED)
    assert attempts(state) == [(1, "cpu", "Completed")], "the time in the queue was longer than its timeout, and counted nowhere"


def version_of(state: State) -> str:
    """The resourceVersion of the ModelDeployment."""
    return str((state.deployment or {})["metadata"]["resourceVersion"])


def age(condition: dict[str, Any]) -> float:
    """Seconds since a condition came about."""
    return (datetime.now(UTC) - datetime.fromisoformat(condition["lastTransitionTime"])).total_seconds()
