"""The two arms of a rollout as pods: which of them take traffic, why others do not, how often their servers were restarted.

Read by every rule that gives or takes requests: `rollout`, `returns`, `serving`, `report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from perennial.core.observed import Observed, ServingPod, Version, Workload
from perennial_runtime.contract import Container, ContractError, Fault, Mounted, Refusal, decode_answer

READY_SECONDS = 2.0
"""A pod takes traffic when it has been ready for so long."""


def workload_of(observed: Observed, version: int) -> Workload | None:
    """The serving Deployment of a version."""
    return next((workload for workload in observed.workloads if workload.version == version), None)


def ready_pods(workload: Workload | None, now: datetime, age: float = 0.0) -> tuple[ServingPod, ...]:
    """Pods that take traffic, ready for at least `age` seconds."""
    if workload is None:
        return ()
    return tuple(pod for pod in workload.pods if pod.ready and not pod.deleting and _is_of_age(pod, now, age))


def _is_of_age(pod: ServingPod, now: datetime, age: float) -> bool:
    """Kubelets have clocks of their own: one that is ahead must not make a ready pod look unready."""
    return age <= 0.0 or pod.ready_since is None or not 0.0 <= (now - pod.ready_since).total_seconds() < age


def why_not_ready(workload: Workload | None, version: Version | None = None) -> str:
    """The reason in the cluster's own words, as far as pods and Deployment tell it, or in those of our own step in a pod.

    A step knows no names of Secrets; `version` does.
    """
    if workload is None:
        return "its Deployment does not exist yet"
    if workload.warning:
        return workload.warning
    if told := refused(workload, version):
        return told
    for pod in workload.pods:
        if pod.unschedulable:
            return f"pod {pod.name} is unschedulable: {pod.unschedulable}"
        for container in pod.containers:
            words = _container_words(pod, container.reason, container.message, container.last_reason, container.last_message)
            if words and container.state != "running":
                return f"{words} (container {container.name})"
    return "its pods are not ready yet"


def refused(workload: Workload | None, version: Version | None) -> str:
    """What a step of ours in one of the pods last gave as the reason why it cannot go on; empty: none has."""
    for pod in workload.pods if workload is not None else ():
        for container in pod.containers:
            if container.state == "running" or container.exit_code == 0:
                continue  # it goes on, or went well in the end
            for message in (container.message, container.last_message):
                if told := _answered(message, version):
                    return f"pod {pod.name}: {told} (container {container.name})"
    return ""


def _answered(message: str, version: Version | None) -> str:
    try:
        answer = decode_answer(message)
    except ContractError:
        return ""
    if not isinstance(answer, Refusal | Fault):
        return ""
    which = answer.secret if isinstance(answer, Refusal) else ""
    named: dict[str, str] = {}
    if version is not None:
        named[Mounted.STORE] = version.spec.store.serving_secret_name
        named |= {Mounted.SIGNING: version.spec.signing.secret_ref.name} if version.spec.signing else {}
    secret = f"; it is the Secret {named[which]} of namespace {version.meta.namespace}" if version and which in named else ""
    return f"{answer.reason}: {answer.message}{secret}"


def _container_words(pod: ServingPod, reason: str, message: str, last_reason: str, last_message: str) -> str:
    if last_message or last_reason not in ("", "Completed"):
        return f"pod {pod.name}: {reason}: {last_reason} {last_message}".strip()
    return f"pod {pod.name}: {reason} {message}".strip() if reason not in ("", "Completed", "PodInitializing") else ""


def restarts_of(workload: Workload | None) -> dict[str, int]:
    """Restarts of the server by UID of the pod, without pods that had none: the map stays small."""
    found = {
        pod.uid: sum(c.restarts for c in pod.containers if c.name == Container.SERVER)
        for pod in (workload.pods if workload else ())
    }
    return {uid: count for uid, count in found.items() if count}


def newly(restarts: Mapping[str, int], before: Mapping[str, int]) -> int:
    """Restarts that came since `before`, pod by pod."""
    return sum(max(0, count - before.get(uid, 0)) for uid, count in restarts.items())
