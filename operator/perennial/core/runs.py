"""Metrics that a Job of the user's measures: one run in each step and in the watch, and every so often where that is wished.

    due (a new step, `every` is over, the last was no measurement) -> a run -> its Job's end -> passed, failed, or no measurement

The exit code and the termination message are the measurement: 0 is good, 1 with words is bad. Whatever else a Job comes to says
nothing about the candidate: it is told and tried again, later each time, and meanwhile no step passes, as `elsewhere` has it.
One bad measurement more than `failureLimit` is a breach. There is no statistic in it, so it has no share of falseRollbackRate.

Which runs there are stands in the status, and `settle` keeps the Jobs to it: after a crash the same Job is asked for again, and
is there. A run is dropped when what it measures changes under it: the job in the spec, or an arm that loses its pods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from perennial.api.base import seconds
from perennial.api.evidence import MetricEvidence
from perennial.api.metrics import JobMetric, RolloutMetric
from perennial.api.rollout_status import MetricRuns, RolloutStatus
from perennial.core import analysis, jobpods, jobs
from perennial.core.actions import CreateMetricJob, DeleteJob
from perennial.core.conditions import Finding
from perennial.core.draft import Draft
from perennial.core.inputs import job_name, moment, moved, since, stamp, version_name
from perennial.core.jobs import METRIC_STEP, Reading
from perennial.core.observed import Job, Observed
from perennial_runtime.contract import MIRROR_SERVICE_PORT

BAD_EXIT = 1
RETRY_SECONDS = 10.0
"""After a run that was no measurement; twice as long after each further one."""
LONGEST_RETRY_SECONDS = 300.0
START_SECONDS = 60.0
"""A run that is under way for so much longer than its time-out is waited for at a step's deadline no more."""
MADE_SECONDS = 5.0
"""A Job that is not there so long after its run began could not be made."""
LONGEST_WORDS = 512
_NOT_WAITING = {"waits_for": "", "waits": ""}


def begin(observed: Observed, candidate: int) -> list[MetricRuns]:
    """No run yet. Numbers go on after those of the version's Jobs that are there, of an earlier rollout of it."""
    last = max((job.attempt for job in _jobs_of(observed, candidate)), default=0)
    return [MetricRuns(name=metric.name, run=last) for metric in observed.spec.rollout.metrics if metric.job is not None]


def measure(observed: Observed, rollout: RolloutStatus, reached: bool) -> RolloutStatus:
    """The rollout with what its runs came to, and with those that begin now: none before the weight is `reached`."""
    if not rollout.runs:
        return rollout
    wishes, last, after = _wishes(observed), max(entry.run for entry in rollout.runs), []
    for entry in rollout.runs:
        wish = wishes.get(entry.name)
        if wish is None:
            after.append(_dropped(entry))
        elif entry.running:
            after.append(_read(observed, rollout, entry, wish))
        elif reached and _is_due(observed, rollout, entry, wish):
            last += 1
            began = {"run": last, "running": True, "began_at": stamp(observed.now), "job": digest(wish)}
            after.append(entry.model_copy(update=began))
        else:
            after.append(entry)
    return rollout.model_copy(update={"runs": after})


def dropped(rollout: RolloutStatus) -> list[MetricRuns]:
    """No run is under way any more: what it would say is not of this weight."""
    return [_dropped(entry) for entry in rollout.runs]


def decided(before: RolloutStatus, after: RolloutStatus) -> bool:
    """Whether a run began or ended: that is written at once."""
    return [(entry.run, entry.running) for entry in before.runs] != [(entry.run, entry.running) for entry in after.runs]


def breach(observed: Observed, rollout: RolloutStatus) -> analysis.Breach | None:
    """More bad measurements than are let pass."""
    wishes = _wishes(observed)
    for entry in rollout.runs:
        wish = wishes.get(entry.name)
        if wish is not None and entry.failed > wish.failure_limit:
            words = f"{entry.name}: {entry.bad} ({_counts(entry)}, failureLimit {wish.failure_limit})"
            return analysis.Breach("MetricJobFailed", words)
    return None


def let_pass(rollout: RolloutStatus) -> str:
    """Bad measurements that took nothing back, for what is said of a candidate that got through; empty when there are none."""
    return "; ".join(f"{entry.name}: {_counts(entry)}, within failureLimit" for entry in rollout.runs if entry.failed)


def is_awaited(observed: Observed, rollout: RolloutStatus) -> bool:
    """Whether a run that this step needs is still within its time: the step's deadline waits for it."""
    wishes = _wishes(observed)
    return any(
        entry.running
        and not _is_measured(rollout, entry, wish)
        and since(observed.now, entry.began_at) <= seconds(wish.timeout) + START_SECONDS
        for entry in rollout.runs
        if (wish := wishes.get(entry.name)) is not None
    )


def is_judged(metrics: Iterable[RolloutMetric], rollout: RolloutStatus) -> bool:
    """Whether the wish still has a Job that this rollout began with."""
    names = {entry.name for entry in rollout.runs}
    return any(metric.job is not None and metric.name in names for metric in metrics)


def settle(draft: Draft) -> None:
    """Jobs as the status says: the runs under way are there, and what runs for nobody is deleted, after all that matters more.

    Of a rollout's runs that ended each metric's last stays, with its logs; they go with the version.
    """
    current, wishes = draft.status.rollout, _wishes(draft.observed)
    running = {entry.run for entry in current.runs if entry.running} if current else set()
    kept = {entry.run for entry in current.runs} if current else set()
    there = {job.name for job in draft.observed.jobs}
    for entry in current.runs if current else ():
        wish = wishes.get(entry.name)
        if current and wish and entry.running and _name(draft.observed, current.candidate, entry.run) not in there:
            environment = tuple(_environment(draft.observed, current, entry.name))
            draft.before.append(CreateMetricJob(current.candidate, entry.name, entry.run, wish, environment))
    for job in draft.observed.jobs:
        if job.step != METRIC_STEP:
            continue
        of_this = current is not None and job.version == current.candidate
        needless = bool(of_this and kept and job.attempt not in kept)
        if needless or not (jobs.has_ended(job) or (of_this and job.attempt in running)):
            draft.after.append(DeleteJob(job.name, job.uid))


def findings(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    """For each metric of a Job whether it has measured the candidate in this step."""
    wishes = _wishes(observed)
    return tuple(_finding(observed, rollout, entry, wishes[entry.name]) for entry in rollout.runs if entry.name in wishes)


def evidence_of(rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """What the runs measured, in numbers and words."""
    return tuple(
        MetricEvidence(
            name=entry.name,
            candidate_total=entry.passed + entry.failed,
            candidate_bad=entry.failed,
            message=f"{_counts(entry)}{entry.said and f'; {entry.said}'}; not part of falseRollbackRate"[:1024],
        )
        for entry in rollout.runs
    )


def moved_by(entries: Iterable[MetricRuns], seconds: float) -> list[MetricRuns]:
    """The entries with their times moved, for a clock that was set."""
    times = ("began_at", "ended_at", "measured_at")
    return [entry.model_copy(update={name: moved(getattr(entry, name), seconds) for name in times}) for entry in entries]


# ---- a run: when it begins, what it comes to ----


def _wishes(observed: Observed) -> dict[str, JobMetric]:
    return {metric.name: metric.job for metric in observed.spec.rollout.metrics if metric.job is not None}


def _is_due(observed: Observed, rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> bool:
    """None begins after a breach or while the model is paused, nor while the version before has no pod to be measured."""
    if not rollout.settled or rollout.breach or rollout.stable_away or observed.spec.paused:
        return False
    waited = since(observed.now, entry.ended_at)
    pause = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** min(entry.errors - 1, 10)) if entry.errors else 0.0
    if 0.0 <= waited < pause and entry.job == digest(wish):
        return False
    again = wish.every is not None and not 0.0 <= waited < seconds(wish.every)
    return bool(entry.errors) or again or not _is_measured(rollout, entry, wish)


def _is_measured(rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> bool:
    """Whether a run of this job that began in this step, or in this watch, was a measurement."""
    entered = rollout.watch_started_at if rollout.phase == "Watch" else rollout.step_entered_at
    if not entry.measured_at or not entered or entry.job != digest(wish):
        return False
    return moment(entry.measured_at) >= moment(entered)


def _dropped(entry: MetricRuns) -> MetricRuns:
    return entry.model_copy(update={"running": False, **_NOT_WAITING}) if entry.running else entry


def _read(observed: Observed, rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> MetricRuns:
    """What the run under way came to; one whose Job is not there is asked for again by `settle`."""
    if entry.job != digest(wish):
        return _dropped(entry)
    name = _name(observed, rollout.candidate, entry.run)
    job = next((job for job in _jobs_of(observed, rollout.candidate) if job.name == name), None)
    if job is None:
        return entry
    reading = read(job, wish.timeout, observed.now)
    words = reading.message[:1024]
    if reading.state == "running":
        if reading.message and reading.reason == entry.waits_for:
            return entry  # as it was first said, so that a status does not move by itself
        return entry.model_copy(update={"waits_for": reading.reason[:128] if words else "", "waits": words})
    measured = {"errors": 0, "measured_at": entry.began_at, "reason": "", "problem": "", "said": words}
    match reading.state:
        case "succeeded":
            update = {**measured, "passed": entry.passed + 1}
        case "refused":
            update = {**measured, "failed": entry.failed + 1, "bad": words}
        case _:
            update = {"errors": entry.errors + 1, "reason": reading.reason[:128], "problem": words}
    return entry.model_copy(update={**_NOT_WAITING, **update, "running": False, "ended_at": stamp(observed.now)})


def read(job: Job, timeout: str, now: datetime) -> Reading:
    """How a run stands: `succeeded` is a good measurement, `refused` a bad one, `failed` none."""
    pod = jobpods.newest(job)
    checks = (
        jobs.news_to_come(job, pod),
        jobs.killed_for_memory(job, pod) if jobs.has_ended(job) else None,
        _passed(job),
        jobs.out_of_time(job, pod, timeout),
        jobs.out_of_storage(job, pod),
        _ended(job),
        jobs.failed_otherwise(job),
        jobs.cannot_start(job, pod, now),
        jobs.not_scheduled(job, pod),
    )
    return next((reading for reading in checks if reading is not None), Reading("running"))


def _passed(job: Job) -> Reading | None:
    if not job.complete:
        return None
    said = next((_words(jobs.exit_of(container)[1]) for container in jobs.ours(job, jobpods.newest(job))), "")
    return Reading("succeeded", "", f"Job {job.name} passed" + (f": {said}" if said else ""))


def _ended(job: Job) -> Reading | None:
    """By the exit code of the user's container and what it said."""
    pod = jobpods.newest(job)
    if pod is None or pod.disrupted or not jobs.has_ended(job):
        return None
    for container in jobs.ours(job, pod):
        code, message = jobs.exit_of(container)
        said = _words(message)
        if code == BAD_EXIT and said:
            return Reading("refused", "", f"Job {job.name} measured it as bad: {said}")
        if code == BAD_EXIT:
            words = (
                f"Job {job.name} ended with exit code 1 and no words, as a script that breaks does too: that is no measurement"
            )
            return Reading("failed", "NothingSaid", f"{words}; write what is bad to /dev/termination-log")
        if code:
            words = f"Job {job.name} ended with exit code {code}, which is no measurement (0 is good, 1 with words is bad)"
            return Reading("failed", "JobBroke", f"{words}{said and f': {said}'}; see: kubectl logs job/{job.name}")
    return None


# ---- words ----


def _finding(observed: Observed, rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> Finding:
    name, measured = _name(observed, rollout.candidate, entry.run), _is_measured(rollout, entry, wish)
    made = since(observed.now, entry.began_at) < MADE_SECONDS or any(job.name == name for job in observed.jobs)
    if entry.running and not made:
        words = f"metric {entry.name}: Job {name} cannot be made; condition WritesRefused says why"
        return Finding("MetricsAnswered", False, "JobNotMade", words)
    if entry.waits_for:
        return Finding("MetricsAnswered", False, entry.waits_for, f"metric {entry.name}: {entry.waits}; waiting")
    if entry.reason:
        return Finding("MetricsAnswered", False, entry.reason, f"metric {entry.name}: {entry.problem}; tried again")
    if entry.running and not measured:
        return Finding("MetricsAnswered", None, "Measuring", f"metric {entry.name}: Job {name} is under way")
    if not measured:
        words = f"metric {entry.name}: its Job has not run at this weight yet"
        return Finding("MetricsAnswered", None, "NotMeasured", words)
    return Finding("MetricsAnswered", True, "EveryMetricAnswered")


def _counts(entry: MetricRuns) -> str:
    runs = entry.passed + entry.failed
    return f"{entry.failed} of {runs} runs bad" if runs else "no run has measured yet"


def _words(message: str) -> str:
    """A termination message as one line; it is the user's own text, of up to 4 KiB."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in message).split())
    return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]}..."


# ---- the Jobs ----


def _name(observed: Observed, candidate: int, run: int) -> str:
    return job_name(observed.meta.name, candidate, METRIC_STEP, run)


def _jobs_of(observed: Observed, version: int) -> Iterator[Job]:
    return (job for job in observed.jobs if job.version == version and job.step == METRIC_STEP)


def digest(wish: JobMetric) -> str:
    """Of what a run measures by: how often, how long and how many may fail is not part of it."""
    said = wish.model_dump_json(exclude={"every", "timeout", "failure_limit"})
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _environment(observed: Observed, rollout: RolloutStatus, metric: str) -> Iterator[tuple[str, str]]:
    """Whom to measure and where. At these addresses requests are counted as mirrored ones: a Job's own are no evidence."""
    namespace = observed.meta.namespace
    yield from (("PERENNIAL_NAME", observed.meta.name), ("PERENNIAL_NAMESPACE", namespace), ("PERENNIAL_METRIC", metric))
    yield "PERENNIAL_WEIGHT", str(rollout.weight)
    for arm, number in (("CANDIDATE", rollout.candidate), ("STABLE", rollout.stable)):
        version = version_name(observed.meta.name, number)
        yield f"PERENNIAL_{arm}", version
        yield f"PERENNIAL_{arm}_URL", f"http://{version}.{namespace}.svc:{MIRROR_SERVICE_PORT}/predict"
