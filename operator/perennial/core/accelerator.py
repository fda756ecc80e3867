"""The nodes that a version trains on: what an attempt asks for, which disruptions count, and the step to a CPU when no node has
had room for too long.

Two passes, so that a kill between any two writes makes no third Job: in the first the record of the attempt that waited ends and
the next one, on a CPU, begins, in one write of the version's status; the second deletes the Job of the ended record and makes
the other, each by its fixed name. `perennial.core.training` asks; `perennial.core.jobs` reads what the scheduler says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import takewhile

from perennial.api.base import seconds
from perennial.api.training import FallbackToCpu, Training
from perennial.api.version import StepRecord
from perennial.core import jobpods
from perennial.core.actions import DeleteJob
from perennial.core.inputs import job_name, stamp
from perennial.core.observed import Job, Observed, Version

CPU = "cpu"
BUSY = "AcceleratorBusy"
"""Reason of an attempt that never got its accelerator."""
DISRUPTED = "WorkersDisrupted"
"""Reason of an attempt of several workers that ended because one of them was evicted or preempted."""
NO_FAILURE = (BUSY, DISRUPTED)
"""Reasons of attempts that cost no retry: the trainer did nothing wrong."""
FIELD = "training.accelerator.fallbackToCPU"


def next_device(training: Training, records: Sequence[StepRecord]) -> str:
    """What the next attempt asks for: a version that has once gone to a CPU stays there."""
    if training.accelerator is None or any(record.device == CPU or record.reason == BUSY for record in records):
        return CPU
    return training.accelerator.resource


def is_on_cpu(training: Training, record: StepRecord) -> bool:
    """Whether an attempt does without the accelerator that the version asks for."""
    return training.accelerator is not None and record.device == CPU


def left(observed: Observed, version: Version, record: StepRecord, job: Job) -> float | None:
    """Seconds until an attempt whose pod waits for a node goes to a CPU; None: it does not wait, or has no such wish."""
    wish, since = _wish(version.spec.training, record), jobpods.waiting_since(job)
    if wish is None or since is None:
        return None
    return seconds(wish.after) - (observed.now - since).total_seconds()


def until(version: Version, record: StepRecord, job: Job) -> str:
    """From when on it is trained on a CPU, as part of what is told of a pod that waits: a time, for a status does not tick."""
    wish, since = _wish(version.spec.training, record), jobpods.waiting_since(job)
    if wish is None or since is None:
        return ""
    return f"; on a CPU from {stamp(since + timedelta(seconds=seconds(wish.after)))} on ({FIELD})"


def given_up(version: Version, record: StepRecord, words: str, now: str) -> StepRecord:
    """The record of an attempt that has waited for long enough, with the scheduler's words; it is no failed one."""
    asked = version.spec.training.accelerator
    wish = _wish(version.spec.training, record)
    what, after = (asked.resource, wish.after) if asked and wish else ("its pod", "its time")
    said = f"no node had room for {what} within {after} ({FIELD}): {words}"
    return record.model_copy(
        update={"state": "Failed", "reason": BUSY, "message": said[:2048], "forgiven": True, "finished_at": now}
    )


def fell_back(before: Sequence[StepRecord], after: Sequence[StepRecord]) -> str:
    """What a pass has to tell of: that an attempt was given up in it; empty when none was."""
    known = sum(record.reason == BUSY for record in before)
    given_up = [record for record in after if record.reason == BUSY][known:]
    return f"trained on a CPU: {given_up[-1].message}" if given_up else ""


def disruptions(version: Version, record: StepRecord, now: Sequence[str]) -> list[str]:
    """What counts against the limit of disruptions: `now`, those of this attempt, and those that ended the attempts right before
    it, for together they are one try. Another failure, and a person's retry after it, begin anew. A drained node may have had all
    workers on it: as many disruptions as there are workers count as one.
    """
    before = [old for old in version.status.steps if old.step == record.step and old.attempt < record.attempt]
    together = takewhile(lambda old: old.reason in NO_FAILURE, reversed(before))
    found = [now, *(old.disrupted_pods for old in together)]
    return [uid for uids in found for uid in uids[:: version.spec.training.workers]]


def strays(observed: Observed, version: Version) -> Iterator[DeleteJob]:
    """Jobs of attempts that were given up while they waited: they would start as soon as a node has room."""
    ended = {
        job_name(observed.meta.name, version.number, record.step, record.attempt)
        for record in version.status.steps
        if record.reason == BUSY
    }
    for job in observed.jobs:
        if job.version == version.number and job.name in ended and not (job.complete or job.failed):
            yield DeleteJob(job.name, job.uid)


def _wish(training: Training, record: StepRecord) -> FallbackToCpu | None:
    if training.accelerator is None or record.step != "train" or record.device == CPU:
        return None
    return training.accelerator.fallback_to_cpu
