"""`triggers.newData`: small Jobs look at the data source, and another listing than the newest version was begun with is new data.

    interval over -> Job poll -> its answer, a digest of names, sizes and ETags -> status.triggers.data, and the Job is deleted
    -> the listing is neither the one that prepare read last nor one that a version was begun with: new data

The operator reads no Secret of a source. Whichever of create, write and delete is the last before a kill, the Job that is there,
its UID in the status, or its fixed name tells the next pass where it stands. A look that fails says nothing about the data: it is
told and tried again, later each time, until the spec names another source or Secret, or prepare has read it. Used by
`perennial.core.plan`, and by `perennial.core.triggers` for what is new.
"""

from __future__ import annotations

import hashlib

from perennial.api.base import seconds
from perennial.api.triggers import DataStatus, PollProblem, TriggersStatus
from perennial.core import jobs, limits
from perennial.core.actions import CreatePollJob, DeleteJob
from perennial.core.answers import prepared_of
from perennial.core.draft import Draft
from perennial.core.inputs import since, source_address, source_secret, stamp
from perennial.core.jobs import Reading
from perennial.core.observed import Job
from perennial_runtime.contract import PollResult, PollSpec

CONDITION = "DataPolled"
ACTION = CreatePollJob.__name__
LONGEST_RETRY_SECONDS = 3600.0
"""After a look that failed: twice the interval, twice that after the next, and so on, but no more than this or the interval."""
LOOK_SECONDS = 20.0


def take_in(draft: Draft) -> None:
    """What Jobs have answered goes into the status, before anything is decided on it; what cannot be looked at is told."""
    wish, status = draft.observed.spec.triggers.new_data, draft.status.triggers
    if wish is None or status is None:
        draft.after.extend(DeleteJob(job.name, job.uid) for job in draft.observed.poll_jobs)
        if status is not None and status.data is not None:
            draft.set(triggers=status.model_copy(update={"data": None}))
        return
    if status.data is None:
        _set(draft, DataStatus())
    waits = [reading for job in draft.observed.poll_jobs if (reading := _taken_in(draft, job)) is not None]
    if new_listing(draft):  # seen now, or while the attempt was under way that was one too many
        limits.forgive(draft, f"the data changed: {words(draft)}")
    _tell(draft, next((reading for reading in waits if reading.message and reading.reason != jobs.ENDED), None))


def begin(draft: Draft) -> None:
    """Asks for the next Job when it is due, after everything else in this pass: one at a time."""
    wish, data = draft.observed.spec.triggers.new_data, _data(draft)
    if wish is None or data is None or draft.observed.poll_jobs or draft.observed.spec.paused:
        return
    pause = _pause(draft, data, seconds(wish.interval))
    waited = since(draft.observed.now, data.polled_at) if data.polled_at else pause
    if 0.0 <= waited < pause:
        draft.wake(pause - waited)
        return
    draft.after.append(CreatePollJob(data.polls + 1, _looked_at(draft), _secret(draft), draft.observed.defaults.serving_image))


def new_listing(draft: Draft) -> str:
    """The digest of a listing that no version was begun with; empty when there is none."""
    data = _data(draft)
    if data is None or not data.listing:
        return ""
    return data.listing if data.listing not in _known(draft, data) else ""


def words(draft: Draft) -> str:
    """Why a version is made, in a sentence."""
    data = _data(draft)
    if data is None:
        return ""
    return f"new data: {data.objects} files, {data.bytes} bytes, seen at {data.changed_at} (listing {data.listing[:12]})"


def taken_up(status: TriggersStatus, listing: str | None) -> TriggersStatus:
    """A version has begun: it stands for all that was seen."""
    data = status.data
    if data is None or not (listing or data.listing):
        return status
    return status.model_copy(update={"data": data.model_copy(update={"taken": listing or data.listing})})


def _taken_in(draft: Draft, job: Job) -> Reading | None:
    """What a Job came to goes into the status, and the Job goes; the reading of one that runs."""
    reading = jobs.read(job, "its deadline", draft.observed.now)
    if reading.state == "running":
        draft.wake(LOOK_SECONDS)
        return reading
    draft.after.append(DeleteJob(job.name, job.uid))
    data = _data(draft)
    if data is None or data.job == job.uid:
        return None  # taken in before, by a pass that was killed before it could delete it
    looked = {"polls": max(data.polls, job.attempt), "polled_at": stamp(draft.observed.now), "job": job.uid}
    answer = reading.answer
    if not isinstance(answer, PollResult):
        _failed(draft, data.model_copy(update=looked), reading)
        return None
    if data.problem is not None:
        draft.tell("Normal", CONDITION, "the data source can be looked at again")
    data = data.model_copy(update={**looked, "problem": None})
    if answer.source == _looked_at(draft).digest:
        data = _seen(draft, data, answer)
    _set(draft, data)
    return None


def _seen(draft: Draft, data: DataStatus, answer: PollResult) -> DataStatus:
    """A listing as it is now. The first one is what later ones are compared with, where no version tells what it read."""
    if answer.listing == data.listing:
        return data
    size = {"objects": answer.objects, "bytes": answer.bytes}
    data = data.model_copy(update={"listing": answer.listing, **size, "changed_at": stamp(draft.observed.now)})
    if not _known(draft, data):
        return data.model_copy(update={"taken": answer.listing})
    return data


def _failed(draft: Draft, data: DataStatus, reading: Reading) -> None:
    before = data.problem
    if before is None:
        draft.tell("Warning", "DataNotPolled", f"{reading.reason}: {reading.message}")
    known = before or PollProblem(since=stamp(draft.observed.now), tries=0, reason=reading.reason[:128])
    tries = known.tries if known.source in ("", _source(draft)) else 0
    said = {"reason": reading.reason[:128], "message": reading.message[:1024]}
    update = {"tries": tries + 1, **said, "source": _source(draft)}
    _set(draft, data.model_copy(update={"problem": known.model_copy(update=update)}))


def _pause(draft: Draft, data: DataStatus, interval: float) -> float:
    """Seconds between two looks: longer after those that failed, but not where what kept them from it seems to be over."""
    problem = data.problem
    if problem is None:
        return interval
    if problem.source and problem.source != _source(draft):
        return 0.0
    steps = (step for version in draft.versions.values() for step in version.status.steps if step.step == "prepare")
    if any(step.state == "Succeeded" and (step.finished_at or "") > (data.polled_at or "") for step in steps):
        return interval  # prepare has read it meanwhile
    return max(interval, min(LONGEST_RETRY_SECONDS, interval * 2.0 ** min(problem.tries, 12)))


def _known(draft: Draft, data: DataStatus) -> set[str]:
    """Listings that are not new: what a version was begun with, and what prepare read last, or found to be the same rows: the
    copies of a web server may give the same file another ETag each."""
    answers = [answer for number in sorted(draft.versions) if (answer := prepared_of(draft.versions[number].status))]
    read = {answer.listing for answer in answers if answer.data == answers[-1].data}
    return {listing for listing in (data.taken, *read) if listing}


def _tell(draft: Draft, held: Reading | None) -> None:
    """Only while something is wrong."""
    data = _data(draft)
    trouble = data.problem if data is not None else None
    refused = next((words for name, words in draft.observed.errors if name == ACTION), "")
    why = jobs.why_undone(refused, trouble, held)
    if why is None:
        return
    draft.find(CONDITION, False, why[0], f"nobody can tell whether there is new data: {why[1]}")


def _data(draft: Draft) -> DataStatus | None:
    return draft.status.triggers.data if draft.status.triggers is not None else None


def _set(draft: Draft, data: DataStatus) -> None:
    if draft.status.triggers is not None:
        draft.set(triggers=draft.status.triggers.model_copy(update={"data": data}))


def _looked_at(draft: Draft) -> PollSpec:
    source = draft.observed.spec.data.source
    return PollSpec(draft.observed.meta.name, source_address(source), source.pvc.claim_name if source.pvc else "")


def _secret(draft: Draft) -> str | None:
    return source_secret(draft.observed.spec.data.source, draft.observed.defaults.store.secret_name)


def _source(draft: Draft) -> str:
    """Digest of what is looked at, and with which Secret."""
    return hashlib.sha256(f"{_looked_at(draft).digest} {_secret(draft)}".encode()).hexdigest()
