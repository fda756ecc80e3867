"""The two arms of a rollout as pods: which of them take traffic, why others do not, how often their servers were restarted.

Read by every rule that gives or takes requests: `rollout`, `returns`, `serving`, `report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from perennial.core.observed import Observed, ServingPod, Workload
from perennial_runtime.contract import Container

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


def why_not_ready(workload: Workload | None) -> str:
    """The reason in the cluster's own words, as far as pods and Deployment tell it."""
    if workload is None:
        return "its Deployment does not exist yet"
    if workload.warning:
        return workload.warning
    for pod in workload.pods:
        if pod.unschedulable:
            return f"pod {pod.name} is unschedulable: {pod.unschedulable}"
        for container in pod.containers:
            words = _container_words(pod, container.reason, container.message, container.last_reason, container.last_message)
            if words and container.state != "running":
                return f"{words} (container {container.name})"
    return "its pods are not ready yet"


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
