"""Raw objects as the core sees them."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.adapters import observe
from perennial.adapters.cache import slim
from perennial.api.serving import ParentReference
from perennial.core.observed import Mirror
from perennial.ports import Manifest

OWNER = [{"kind": "ModelVersion", "name": "m-v1", "uid": "v1", "controller": True}]
LABELS = {"perennial.dev/model": "m", "perennial.dev/version": "1", "perennial.dev/step": "train"}


def thing(kind: str, name: str, owners: list[Manifest], **fields: Any) -> Manifest:
    meta = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": LABELS,
        "ownerReferences": owners,
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": {**meta, **fields.pop("metadata", {})}, "spec": {}, **fields}


def owned_by(manifest: Manifest) -> list[Manifest]:
    return [{"kind": "Job", "name": manifest["metadata"]["name"], "uid": manifest["metadata"]["uid"], "controller": True}]


def the_job(pod_status: Manifest, **status: Any) -> Any:
    job = thing("Job", "m-v1-train-1", OWNER, status=status)
    spec = {
        "containers": [{"name": "train", "limits": {"memory": "1Gi"}}],
        "initContainers": [{"name": "fetch"}],
    }
    pod = thing("Pod", "p", owned_by(job), status=pod_status)
    pod["spec"] = spec
    return observe.jobs([job], [pod], {"v1": 1}, {"uid-m-v1-train-1": "words"})[0]


def test_a_job_is_taken_by_the_uid_of_its_owner() -> None:
    job = thing("Job", "m-v1-train-1", OWNER)
    assert [found.name for found in observe.jobs([job], [], {"v1": 1}, {})] == ["m-v1-train-1"]
    assert observe.jobs([job], [], {"another": 1}, {}) == ()


def test_a_job_whose_label_names_another_version_is_not_ours() -> None:
    job = thing("Job", "m-v2-train-1", OWNER)
    assert observe.jobs([job], [], {"v1": 2}, {}) == ()


def test_a_job_tells_its_step_attempt_conditions_and_warning() -> None:
    job = the_job({}, conditions=[{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 64"}])
    assert (job.step, job.attempt, job.failed, job.complete) == ("train", 1, True, False)
    assert (job.failure_reason, job.failure_message, job.warning) == ("PodFailurePolicy", "exit code 64", "words")


def test_both_states_of_a_container_are_kept() -> None:
    status = {
        "name": "train",
        "restartCount": 2,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m"}},
    }
    container = the_job({"containerStatuses": [status]}).pods[0].containers[0]
    assert (container.state, container.reason, container.message) == ("waiting", "CrashLoopBackOff", "back-off")
    assert (container.last_exit_code, container.last_reason, container.last_message) == (137, "OOMKilled", "m")
    assert (container.restarts, container.memory_limit) == (2, "1Gi")


def test_init_containers_come_first() -> None:
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    status = {
        "initContainerStatuses": [{"name": "fetch", "state": ended}],
        "containerStatuses": [{"name": "train", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}],
    }
    pod = the_job(status).pods[0]
    assert [(container.name, container.exit_code) for container in pod.containers] == [("fetch", 0), ("train", None)]
    assert pod.running_since == observe.time_of("2026-01-01T00:00:05Z")


def test_an_unschedulable_pod_tells_the_schedulers_words() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"}
    assert the_job({"conditions": [condition]}).pods[0].unschedulable == "0/2 nodes are available"


def test_a_pod_tells_when_it_got_its_node() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:03:00Z"}
    assert the_job({"conditions": [scheduled]}).pods[0].scheduled_at == observe.time_of("2026-01-01T00:03:00Z")
    assert the_job({"conditions": [{**scheduled, "status": "False"}]}).pods[0].scheduled_at is None


def test_a_disrupted_pod_is_known() -> None:
    assert the_job({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}).pods[0].disrupted


def test_a_worker_tells_its_number_its_address_and_when_its_trainer_ended() -> None:
    job = thing("Job", "m-v1-train-1", OWNER)
    numbered = {"annotations": {"batch.kubernetes.io/job-completion-index": "1"}, "deletionTimestamp": "2026-01-01T00:09:00Z"}
    over = {"terminated": {"exitCode": 3, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:08:00Z"}}
    status = {"podIP": "198.51.100.7", "containerStatuses": [{"name": "train", "state": over}]}
    pod = thing("Pod", "p", owned_by(job), metadata=numbered, status=status)
    pod["spec"] = {"containers": [{"name": "train"}]}
    (seen,) = observe.jobs([job], [pod], {"v1": 1}, {})[0].pods
    assert (seen.index, seen.ip, seen.deleting) == (1, "198.51.100.7", True)
    assert seen.ended_at == observe.time_of("2026-01-01T00:08:00Z")
    alone = the_job({}).pods[0]
    assert (alone.index, alone.ip, alone.deleting, alone.ended_at) == (None, "", False, None)


@pytest.mark.parametrize("suspend", [True, False])
def test_a_suspended_job_tells_so_and_in_which_queue_it_is(suspend: bool) -> None:
    labels = {**LABELS, "kueue.x-k8s.io/queue-name": "team-a"}
    job = thing("Job", "m-v1-train-1", OWNER, metadata={"labels": labels})
    job["apiVersion"], job["spec"] = "batch/v1", {"suspend": suspend, "template": {"spec": {"containers": []}}}
    (seen,) = observe.jobs([slim(job)], [], {"v1": 1}, {})
    assert (seen.suspended, seen.queue) == (suspend, "team-a")


def deployment(**status: int) -> Manifest:
    manifest = thing("Deployment", "m-v1", OWNER, status=status)
    manifest["spec"] = {"replicas": 2}
    return manifest


@pytest.mark.parametrize(
    ("reason", "status", "updated"),
    [
        ("all run the newest", {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}, True),
        ("the controller has not seen it", {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2}, False),
        ("an old pod is left", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2}, False),
        ("a new pod is missing", {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1}, False),
        ("nothing is known", {}, False),
    ],
)
def test_a_workload_is_updated_when_every_replica_runs_the_newest(reason: str, status: dict[str, int], updated: bool) -> None:
    assert observe.workloads([deployment(**status)], [], {"v1": 1})[0].updated is updated, reason


def serving_pod(owner: str = "m-v1-abc", phase: str = "Running") -> Manifest:
    return thing(
        "Pod",
        "m-v1-abc-x",
        [{"kind": "ReplicaSet", "name": owner, "uid": "rs", "controller": True}],
        metadata={"labels": {**LABELS, "pod-template-hash": "abc"}},
        status={
            "phase": phase,
            "podIP": "198.18.8.9",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}],
        },
    )


def test_serving_pods_are_found_by_their_replica_set() -> None:
    pods = observe.workloads([deployment()], [serving_pod()], {"v1": 1})[0].pods
    assert [(pod.ip, pod.ready, pod.ready_since) for pod in pods] == [
        ("198.18.8.9", True, observe.time_of("2026-01-01T00:00:09Z"))
    ]


@pytest.mark.parametrize("pod", [serving_pod(owner="m-v10-abc"), serving_pod(phase="Failed")])
def test_pods_of_others_and_ended_pods_are_left_out(pod: Manifest) -> None:
    assert observe.workloads([deployment()], [pod], {"v1": 1})[0].pods == ()


def test_a_deployment_that_cannot_make_pods_tells_why() -> None:
    manifest = deployment()
    manifest["status"] = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}
    assert observe.workloads([manifest], [], {"v1": 1})[0].warning == "exceeded quota"


def the_route(*parents: Manifest) -> Manifest:
    manifest = thing("HTTPRoute", "m", [], status={"parents": list(parents)})
    backends = [{"name": "m-v1", "weight": 0}, {"name": "m-v2", "weight": 100}, {"name": "elsewhere"}]
    manifest["spec"] = {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": backends}]}
    return manifest


def parent(status: str = "True", generation: int = 2, name: str = "gw") -> Manifest:
    return {
        "parentRef": {"name": name, "namespace": "shop"},
        "controllerName": "gateway.example/controller",
        "conditions": [
            {"type": "Accepted", "status": "True", "observedGeneration": generation},
            {
                "type": "ResolvedRefs",
                "status": status,
                "observedGeneration": generation,
                "reason": "BackendNotFound",
                "message": "no Service",
            },
        ],
    }


def test_a_route_tells_the_weights_of_our_versions() -> None:
    state = observe.route(the_route(parent()), "m", "")
    assert state.accepted
    assert state.weights == ((1, 0), (2, 100))


def test_a_route_tells_whom_it_mirrors_to() -> None:
    manifest = the_route(parent())
    assert observe.route(manifest, "m", "").mirror is None
    rule = manifest["spec"]["rules"][0]
    rewrite = {"type": "URLRewrite", "urlRewrite": {}}
    rule["filters"] = [rewrite, {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m-v3", "port": 81}}}]
    assert observe.route(manifest, "m", "").mirror == Mirror(3, 100)
    rule["filters"][1]["requestMirror"]["percent"] = 20
    assert observe.route(manifest, "m", "").mirror == Mirror(3, 20)
    rule["filters"][1]["requestMirror"]["backendRef"]["name"] = "somebody-elses"
    assert observe.route(manifest, "m", "").mirror is None


@pytest.mark.parametrize(
    ("reason", "parents", "words"),
    [
        ("nobody answered", (), "no Gateway controller has answered"),
        ("an old answer", (parent(generation=1),), "has not looked at the newest route yet"),
        ("refused", (parent("False"),), "ResolvedRefs: BackendNotFound: no Service"),
    ],
)
def test_a_route_that_is_not_carried_out_tells_why(reason: str, parents: tuple[Manifest, ...], words: str) -> None:
    state = observe.route(the_route(*parents), "m", "")
    assert not state.accepted, reason
    assert words in state.message


def test_the_answer_of_a_gateway_that_the_route_has_left_says_nothing() -> None:
    assert observe.route(the_route(parent(), parent("False", 1, "old")), "m", "").accepted
    assert "no Gateway controller has answered" in observe.route(the_route(parent(name="old")), "m", "").message


def test_a_version_that_cannot_be_read_is_named() -> None:
    broken = thing("ModelVersion", "m-v1", OWNER)
    broken["spec"] = {"number": 1, "unheardOf": True}
    found, words = observe.versions([broken], "v1")
    assert found == ()
    assert words.startswith("ModelVersion m-v1: ")


def test_of_a_status_that_cannot_be_read_the_quarantine_is_kept() -> None:
    entry = {
        "version": 3,
        "identity": "a" * 64,
        "inputsDigest": "b" * 64,
        "reason": "CanaryWorse",
        "since": "2026-01-01T00:00:00Z",
    }
    raw = {"stable": 2, "held": True, "quarantined": [entry, {"version": "x"}], "rollout": {"unheardOf": 1}, "summary": 7}
    status = observe.salvaged_status({"status": raw})
    assert (status.stable, status.held, status.rollout) == (2, True, None)
    assert [one.version for one in status.quarantined] == [3]


def test_a_missing_gateway_is_told_instead() -> None:
    assert observe.route(the_route(), "m", "Gateway a/gw does not exist").message == "Gateway a/gw does not exist"


def the_gateway(port: int, **status: Any) -> Manifest:
    manifest = thing("Gateway", "gw", [], status=status)
    manifest["spec"] = {
        "listeners": [{"name": "tls", "protocol": "HTTPS", "port": 443}, {"name": "web", "protocol": "HTTP", "port": port}]
    }
    return manifest


@pytest.mark.parametrize(("port", "address"), [(80, "10.96.0.9"), (8080, "10.96.0.9:8080")])
def test_a_gateways_address_has_its_port_unless_it_is_80(port: int, address: str) -> None:
    manifest = the_gateway(port, addresses=[{"value": "10.96.0.9"}])
    assert observe.gateway(manifest, ParentReference(name="gw")) == (address, "")


def test_a_gateway_without_a_class_tells_its_condition() -> None:
    condition = {"type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"}
    address, problem = observe.gateway(the_gateway(80, conditions=[condition]), ParentReference(name="gw"))
    assert (address, problem) == ("", "Gateway shop/gw: Pending: Waiting for controller")


def test_a_spec_that_cannot_be_read_names_the_field_and_not_its_value() -> None:
    words = observe.deployment_spec(thing("ModelDeployment", "m", [], spec={"secret": "value"}))
    assert isinstance(words, str)
    assert "spec." in words
    assert "value" not in words.replace("valid", "")
