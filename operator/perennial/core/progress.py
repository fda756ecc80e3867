"""How far a trainer is, for people to see: whose reporter is asked, and what of its answer is worth a write of the status.

A status does not tick: percent goes in steps of 5, and what is left is told as the time at which it will be over. So a training
is 20 writes at most, however long it takes. Nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from perennial.api.version import TrainProgress
from perennial.core.inputs import stamp
from perennial.core.observed import Job, JobPod, Observed, TrainReading

STEP = 5
"""Per cent."""
ASK_SECONDS = 10.0
"""Between two questions to one reporter."""


def wanted(observed: Observed) -> tuple[JobPod, ...]:
    """Train pods of the candidate whose reporters are asked: of several workers the first, which is the one that answers."""
    number = observed.status.candidate
    if number is None or observed.meta.deleting:
        return ()
    running = (job for job in observed.jobs if job.version == number and job.step == "train" and not (job.complete or job.failed))
    return tuple(pod for job in running if (pod := _asked(job)) is not None)


def seen(
    before: TrainProgress | None, attempt: int, job: Job, readings: Mapping[str, TrainReading], now: datetime
) -> TrainProgress | None:
    """What the status says after a pass. Of another attempt, or when it went back to a checkpoint, it begins anew."""
    kept = before if before is not None and before.attempt == attempt else None
    pod = _asked(job)
    reading = readings.get(pod.uid) if pod is not None else None
    if reading is None:
        return kept
    percent = int(min(100.0, max(0.0, reading.percent)) // STEP * STEP)
    if kept is not None and kept.percent == percent:
        return kept
    ends = stamp(now + timedelta(seconds=reading.left)) if reading.left is not None else None
    return TrainProgress(attempt=attempt, percent=percent, loss=reading.loss, ends_at=ends)


def _asked(job: Job) -> JobPod | None:
    """The newest running pod that has an address."""
    running = [pod for pod in job.pods if pod.phase == "Running" and pod.ip and not pod.index and not pod.deleting]
    return max(running, key=lambda pod: (pod.created_at, pod.name), default=None)
