"""Reproduction: a version trained again from its record, and compared with what it became, because a person asked for it.

    request -> `status.reproducing` -> a Job: the train Job's pod with `compare` in the reporter's place -> its answer
    -> a report on the ModelVersion, an event, an entry in the ledger; the Job goes

The same rows come from the store by digest, the image is the one that the kubelet resolved then, seed and parameters are the
spec's. It makes no version and touches nothing that serves; it is tried once, for who asked can ask again. The Job of one that
could not be compared stays with its log until the next one, all others go.
"""

from __future__ import annotations

from perennial.api.base import seconds
from perennial.api.lineage import MOST_REPORTS, Reproducing, Reproduction
from perennial.api.v1alpha1 import ModelVersionStatus
from perennial.core import accelerator, jobs, lineage, stepspecs
from perennial.core.actions import CreateReproduceJob, DeleteJob, WriteVersionStatus
from perennial.core.answers import answer_of
from perennial.core.draft import Draft
from perennial.core.inputs import job_name, since, stamp
from perennial.core.jobs import REPRODUCE_STEP, Reading
from perennial.core.observed import Job, Version
from perennial_runtime.contract import CompareSpec, PrepareResult, ReproduceResult, TrainResult

ACTION = CreateReproduceJob.__name__
LOOK_SECONDS = 20.0
START_SECONDS = 3600.0
"""Longest wait for a pod that can't start, beside the training's own time-out: nobody waits for ever for a busy node."""
_EVENTS = {"Equal": "Reproduced", "Different": "ReproducedDifferently", "Failed": "NotReproduced"}


def begin(draft: Draft, number: int | None, by: str) -> str:
    """A person asks for it; the outcome in words."""
    version, under_way = draft.versions.get(number or 0), draft.status.reproducing
    if version is None:
        there = ", ".join(f"v{one}" for one in sorted(draft.versions)) or "none"
        return f'refused: reproduce wants the number of a version that is there, such as "3"; there are {there}'
    if under_way is not None and under_way.version == version.number:
        return f"v{version.number} is being trained again since {under_way.since}"
    if under_way is not None:
        return f"refused: v{under_way.version} is being trained again since {under_way.since}; ask again when that is over"
    if version.spec.model is not None:
        return f"refused: v{version.number} was there already, and was not trained here: there is nothing to make again"
    if _record(version) is None:
        return f"refused: v{version.number} is {version.status.state} and has no model that could be compared"
    if version.spec.training.workers > 1:
        return f"refused: v{version.number} was trained by {version.spec.training.workers} workers: only one pod is trained again"
    attempt = 1 + max((one.attempt for one in version.status.reproduced), default=0)
    began = Reproducing(version=version.number, attempt=attempt, since=stamp(draft.observed.now), requested_by=by)
    draft.set(reproducing=began)
    return f"v{version.number} is trained again from its record, by {_image(version)}"


def settle(draft: Draft) -> None:
    """Asks for the Job, takes in its end, and removes what nobody waits for."""
    _advance(draft)
    _sweep(draft)


def _advance(draft: Draft) -> None:
    current = draft.status.reproducing
    if current is None:
        return
    version = draft.versions.get(current.version)
    if version is None or version.meta.deleting:
        draft.set(reproducing=None)
        return
    known = next((one for one in version.status.reproduced if one.attempt == current.attempt), None)
    if known is not None:  # it was written before a crash, and the rest was not
        _end(draft, known)
        return
    job = _find(draft, current)
    reading = _read(draft, current, version, job)
    if job is None and reading.state == "running":
        draft.after.append(_job(version, current.attempt, draft.observed.defaults.training_image))
    _follow(draft, current, version, reading)


def _read(draft: Draft, current: Reproducing, version: Version, job: Job | None) -> Reading:
    """How its Job stands, which the cluster may refuse to make; it does not wait for ever for that, nor for a node."""
    timeout, now = version.spec.training.timeout, draft.observed.now
    name = job_name(draft.observed.meta.name, current.version, REPRODUCE_STEP, current.attempt)
    if job is None:
        refused = next((words for name, words in draft.observed.errors if name == ACTION), "")
        reading = Reading("running", "RefusedByCluster" if refused else "Pending", refused)
    else:
        reading = jobs.read(job, timeout, now)
    if reading.state != "running":
        return reading
    if since(now, current.since) > seconds(timeout) + START_SECONDS:
        why = reading.message or ("it runs" if job is not None else "it is not there")
        return Reading("failed", "NotStarted", f"Job {name} has not ended in time: {why}")
    if job is not None and any(pod.disrupted for pod in job.pods):
        return Reading("failed", "Disrupted", f"a pod of Job {name} was evicted or preempted")
    return reading


def _follow(draft: Draft, current: Reproducing, version: Version, reading: Reading) -> None:
    if reading.state == "running":
        draft.wake(LOOK_SECONDS)
        words = f"{reading.reason}: {reading.message}"[:1024] if reading.message else ""
        told = current.waits.partition(":")[0] == reading.reason and bool(current.waits) == bool(words)
        if not told and words != current.waits:  # as it was first said, so that a status does not move by itself
            draft.set(reproducing=current.model_copy(update={"waits": words}))
        return
    report = _report(draft, current, version, reading)
    reports = [*version.status.reproduced, report][-MOST_REPORTS:]
    draft.set_version(version.number, reproduced=reports)
    draft.before.append(WriteVersionStatus(version.number, _as_read(draft, version.number, reports)))
    _end(draft, report)


def _as_read(draft: Draft, number: int, reports: list[Reproduction]) -> ModelVersionStatus:
    """Written before the ModelDeployment's status, so nothing goes with it that rests on that: the version may be a candidate."""
    status = next(version.status for version in draft.observed.versions if version.number == number)
    return status.model_copy(update={"reproduced": reports})


def _report(draft: Draft, current: Reproducing, version: Version, reading: Reading) -> Reproduction:
    if isinstance(reading.answer, ReproduceResult):
        outcome, said = ("Equal" if reading.answer.equal else "Different"), reading.answer.message
    else:
        again = f"ask again: perennial.dev/reproduce={current.version}"
        outcome, said = "Failed", f"{reading.reason}: {reading.message[:800]}; {again}"
    words = said + "".join(f"; {caveat}" for caveat in _caveats(version) if outcome == "Different")
    return Reproduction.model_validate(
        {"attempt": current.attempt, "at": stamp(draft.observed.now), "outcome": outcome, "message": words[:1024]}
    )


def _caveats(version: Version) -> list[str]:
    """What of the record is not exact, as a reason for a difference."""
    found = []
    if lineage.BY_DIGEST not in lineage.of(version.status).image:
        found.append(f"the image that trained is not recorded by digest: {_image(version)} may be another one now")
    trained = [record for record in version.status.steps if record.step == "train"]
    if any(record.attempt > 1 or record.disrupted_pods for record in trained):
        found.append("it was trained in more than one attempt, and may have gone on from a checkpoint, which this one does not")
    return found


def _end(draft: Draft, report: Reproduction) -> None:
    current = draft.status.reproducing
    if current is None:
        return
    draft.set(reproducing=None)
    reason = _EVENTS[report.outcome]
    facts = {"attempt": str(report.attempt), "outcome": report.outcome}
    words = f"v{current.version}: {report.message}"
    draft.event("Normal" if report.outcome == "Equal" else "Warning", reason, words, current.version, facts)


def _sweep(draft: Draft) -> None:
    """Jobs that nobody waits for; that of a version's newest reproduction stays when it failed, with its log."""
    current = draft.status.reproducing
    for job in draft.observed.jobs:
        if job.step != REPRODUCE_STEP:
            continue
        wanted = current is not None and (job.version, job.attempt) == (current.version, current.attempt)
        reports = draft.versions[job.version].status.reproduced if job.version in draft.versions else []
        failed = current is None and bool(reports) and (reports[-1].attempt, reports[-1].outcome) == (job.attempt, "Failed")
        if not (wanted or (failed and jobs.has_ended(job))):
            draft.after.append(DeleteJob(job.name, job.uid))


def _find(draft: Draft, current: Reproducing) -> Job | None:
    name = job_name(draft.observed.meta.name, current.version, REPRODUCE_STEP, current.attempt)
    return next((job for job in draft.observed.jobs if job.name == name and job.version == current.version), None)


def _record(version: Version) -> tuple[PrepareResult, TrainResult] | None:
    """What prepare and train answered."""
    prepared, trained = answer_of(version.status, "prepare"), answer_of(version.status, "train")
    whole = isinstance(prepared, PrepareResult) and isinstance(trained, TrainResult) and trained.model
    return (prepared, trained) if whole else None  # type: ignore[return-value]


def _image(version: Version) -> str:
    """What trains again: by digest where the kubelet told it, else as the spec names it."""
    resolved = lineage.of(version.status).image
    if lineage.BY_DIGEST in resolved:
        return resolved
    return version.spec.training.image or version.spec.runtime.training_image


def _job(version: Version, attempt: int, compares: str) -> CreateReproduceJob:
    """`compares`: the image of this release, for the version's own may be older than the comparison."""
    record = _record(version)
    if record is None:
        raise TypeError(f"{version.meta.name} has no model")
    train = stepspecs.train(version, attempt, uid=f"{version.meta.uid}-reproduce-{attempt}", scratch=True)
    compare = CompareSpec(
        version=version.meta.name,
        store=version.spec.store.uri,
        model=record[1].model or "",
        train=record[0].train,
        schema=record[0].schema,
        environment=record[1].environment,
    )
    on_cpu = version.spec.training.accelerator is not None and version.status.device == accelerator.CPU
    return CreateReproduceJob(version.number, attempt, train, compare, _image(version), compares, on_cpu)
