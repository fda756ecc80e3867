"""Which of a Job's pods tells how it stands: of several workers the one that failed, waits or has the answer.

Used by `perennial.core.jobs` and whoever else reads Jobs.
"""

from __future__ import annotations

from datetime import datetime

from perennial.core.observed import ContainerState, Job, JobPod

_CANNOT_START = {
    "ErrImagePull": "ImageCannotBePulled",
    "ImagePullBackOff": "ImageCannotBePulled",
    "ErrImageNeverPull": "ImageCannotBePulled",
    "InvalidImageName": "ImageNameInvalid",
    "CreateContainerConfigError": "ContainerCannotBeCreated",
    "CreateContainerError": "ContainerCannotBeCreated",
    "RunContainerError": "ContainerCannotBeCreated",
}


def newest(job: Job) -> JobPod | None:
    """The pod that was made last."""
    return max(job.pods, key=lambda pod: (pod.created_at, pod.name), default=None)


def telling(job: Job) -> JobPod | None:
    """The pod that says how the Job stands: of several workers the first that failed, else one that cannot start."""
    there = workers(job)
    if failed := [pod for pod in there if pod.phase == "Failed" and not pod.disrupted]:
        return min(failed, key=lambda pod: (pod.deleting, pod.ended_at is None, pod.ended_at or pod.created_at))
    if pending := [pod for pod in there if pod.phase == "Pending"]:
        return min(pending, key=lambda pod: (not pod.unschedulable, not any(map(stuck, pod.containers))))
    return next(iter(there), None)


def workers(job: Job) -> list[JobPod]:
    """The newest pod of each worker, in order; of a Job of one pod that one."""
    by_index = {pod.index or 0: pod for pod in sorted(job.pods, key=lambda pod: (pod.created_at, pod.name))}
    return [by_index[index] for index in sorted(by_index)]


def first(job: Job) -> JobPod | None:
    """The newest pod of the first worker, whose reporter has the answer."""
    return next((pod for pod in workers(job) if not pod.index), None)


def waiting_since(job: Job) -> datetime | None:
    """From when on a pod of it has waited for a node; None when none does."""
    return min((pod.created_at for pod in workers(job) if pod.phase == "Pending" and pod.unschedulable), default=None)


def stuck(container: ContainerState) -> str | None:
    """Why a container that waits will not start by itself, in a word; None where it may."""
    return _CANNOT_START.get(container.reason) if container.state == "waiting" else None
