"""Metrics that a Job of the user's measures: one run in each step and in the watch, and every so often where that is wished.

    due (a new step, `every` is over, the last was no measurement) -> a run -> its Job's end -> passed, failed, or no measurement

The exit code and the termination message are the measurement: 0 is good, 1 with words is bad. Whatever else a Job comes to says
nothing about the candidate: it is told and tried again, later each time, and meanwhile no step passes, as `elsewhere` has it.
One bad measurement more than `failureLimit` is a breach. There is no statistic in it, so it has no share of falseRollbackRate.

Which runs there are stands in the status; `settle` keeps the Jobs to it. A run's number belongs to its version for ever, so that
after a crash the same Job is asked for again, and is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from perennial.api.base import seconds
from perennial.api.evidence import MetricEvidence
from perennial.api.metrics import JobMetric, RolloutMetric
from perennial.api.rollout_status import MetricRuns, RolloutStatus
from perennial.core import analysis, jobs
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
LONGEST_WORDS = 512


def begin(observed: Observed, candidate: int) -> list[MetricRuns]:
    """No run yet; numbers go on after those of an earlier rollout of the version."""
    last = max((job.attempt for job in _jobs_of(observed, candidate)), default=0)
    return [MetricRuns(name=metric.name, run=last) for metric in observed.spec.rollout.metrics if metric.job is not None]


def measure(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """The rollout with what its runs came to, and with those that begin now."""
    if not rollout.runs:
        return rollout
    wishes, last, after = _wishes(observed), max(entry.run for entry in rollout.runs), []
    for entry in rollout.runs:
        wish = wishes.get(entry.name)
        if wish is None:
            after.append(entry.model_copy(update={"running": False}))
        elif entry.running:
            after.append(_read(observed, rollout, entry, wish))
        elif _is_due(observed, rollout, entry, wish):
            last += 1
            began = {"run": last, "running": True, "began_at": stamp(observed.now)}
            after.append(entry.model_copy(update=began))
        else:
            after.append(entry)
    return rollout.model_copy(update={"runs": after})


def decided(before: RolloutStatus, after: RolloutStatus) -> bool:
    """Whether a run began or ended: that is written at once."""
    return [(entry.run, entry.running) for entry in before.runs] != [(entry.run, entry.running) for entry in after.runs]


def breach(observed: Observed, rollout: RolloutStatus) -> analysis.Breach | None:
    """More bad measurements than are let pass."""
    wishes = _wishes(observed)
    for entry in rollout.runs:
        wish = wishes.get(entry.name)
        if wish is not None and entry.failed > wish.failure_limit:
            words = f"{entry.name}: {entry.message} ({_counts(entry)}, failureLimit {wish.failure_limit})"
            return analysis.Breach("MetricJobFailed", words)
    return None


def settle(draft: Draft) -> None:
    """Jobs as the status says: the runs under way are there, and what runs for nobody any more is deleted.

    Of a rollout's ended runs each metric's last stays, with its logs; they go with the version.
    """
    current = draft.status.rollout
    entries = current.runs if current else []
    candidate = current.candidate if current else None
    wishes = _wishes(draft.observed)
    there = {job.name for job in draft.observed.jobs}
    kept = {entry.run for entry in entries}
    running = {entry.run for entry in entries if entry.running}
    for entry in entries:
        wish = wishes.get(entry.name)
        if current and wish and entry.running and _name(draft.observed, current.candidate, entry.run) not in there:
            environment = tuple(_environment(draft.observed, current, entry.name))
            draft.before.append(CreateMetricJob(current.candidate, entry.name, entry.run, wish, environment))
    for job in draft.observed.jobs:
        if job.step != METRIC_STEP:
            continue
        ended, of_this = job.complete or job.failed, job.version == candidate
        if (not ended and not (of_this and job.attempt in running)) or (of_this and job.attempt not in kept):
            draft.before.append(DeleteJob(job.name, job.uid))


def findings(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    """For each metric of a Job whether it has measured the candidate in this step."""
    wishes = _wishes(observed)
    return tuple(_finding(observed, rollout, entry) for entry in rollout.runs if entry.name in wishes)


def evidence_of(rollout: RolloutStatus) -> tuple[MetricEvidence, ...]:
    """What the runs measured, in numbers and words."""
    return tuple(
        MetricEvidence(
            name=entry.name,
            candidate_total=entry.passed + entry.failed,
            candidate_bad=entry.failed,
            message=f"{_counts(entry)}{entry.message and f'; {entry.message}'}; not part of falseRollbackRate"[:1024],
        )
        for entry in rollout.runs
    )


def moved_by(entries: Iterable[MetricRuns], seconds: float) -> list[MetricRuns]:
    """The entries with their times moved, for a clock that was set."""
    times = ("began_at", "ended_at", "measured_at")
    return [entry.model_copy(update={name: moved(getattr(entry, name), seconds) for name in times}) for entry in entries]


def _wishes(observed: Observed) -> dict[str, JobMetric]:
    return {metric.name: metric.job for metric in observed.spec.rollout.metrics if metric.job is not None}


def _is_due(observed: Observed, rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> bool:
    """A run begins only at a weight that is carried out, and none after a breach or while the model is paused."""
    if not rollout.settled or rollout.breach or observed.spec.paused:
        return False
    waited = since(observed.now, entry.ended_at)
    if entry.errors and 0.0 <= waited < min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** (entry.errors - 1)):
        return False
    again = wish.every is not None and not 0.0 <= waited < seconds(wish.every)
    return bool(entry.errors) or again or not _is_measured(rollout, entry)


def _is_measured(rollout: RolloutStatus, entry: MetricRuns) -> bool:
    """Whether a run that began in this step, or in this watch, was a measurement."""
    entered = rollout.watch_started_at if rollout.phase == "Watch" else rollout.step_entered_at
    return bool(entry.measured_at and entered) and moment(entry.measured_at or "") >= moment(entered or "")


def _read(observed: Observed, rollout: RolloutStatus, entry: MetricRuns, wish: JobMetric) -> MetricRuns:
    """What the run under way came to; one whose Job is not there is asked for again by `settle`."""
    name = _name(observed, rollout.candidate, entry.run)
    job = next((job for job in _jobs_of(observed, rollout.candidate) if job.name == name), None)
    if job is None:
        return entry
    reading = read(job, wish.timeout, observed.now)
    told = {"reason": reading.reason[:128], "message": reading.message[:1024]}
    if reading.state == "running":
        return _under_way(entry, reading, told)
    ended = {**told, "running": False, "ended_at": stamp(observed.now)}
    match reading.state:
        case "succeeded":
            update = {"passed": entry.passed + 1, "errors": 0, "measured_at": entry.began_at, "reason": ""}
        case "refused":
            update = {"failed": entry.failed + 1, "errors": 0, "measured_at": entry.began_at, "reason": ""}
        case _:
            update = {"errors": entry.errors + 1}
    return entry.model_copy(update={**ended, **update})


def _under_way(entry: MetricRuns, reading: Reading, told: dict[str, str]) -> MetricRuns:
    """Why the run does not start, as long as that is so. What the run before it came to is told until this one has ended."""
    if reading.message:
        return entry.model_copy(update=told) if reading.reason != entry.reason else entry
    waited = entry.reason and not entry.errors
    return entry.model_copy(update={"reason": "", "message": ""}) if waited else entry


def read(job: Job, timeout: str, now: datetime) -> Reading:
    """How a run stands: `succeeded` is a good measurement, `refused` a bad one, `failed` none."""
    pod = jobs.newest(job)
    checks = (
        jobs.news_to_come(job, pod),
        jobs.killed_for_memory(job, pod) if job.failed or job.complete else None,
        _passed(job),
        _out_of_time(job, timeout),
        _ended(job),
        jobs.failed_otherwise(job),
        jobs.cannot_start(job, pod, now),
        jobs.not_scheduled(job, pod),
    )
    return next((reading for reading in checks if reading is not None), Reading("running"))


def _passed(job: Job) -> Reading | None:
    if not job.complete:
        return None
    said = next((_words(container.message) for container in jobs.ours(job, jobs.newest(job))), "")
    return Reading("succeeded", "", f"Job {job.name} passed" + (f": {said}" if said else ""))


def _out_of_time(job: Job, timeout: str) -> Reading | None:
    pod = jobs.newest(job)
    if pod is None or pod.reason != "DeadlineExceeded":
        return None
    return Reading("failed", "TimedOut", f"Job {job.name} ran longer than {timeout} and was ended: raise the job's timeout")


def _ended(job: Job) -> Reading | None:
    """By the exit code of the user's container and what it said."""
    pod = jobs.newest(job)
    if pod is None or pod.disrupted or not (job.failed or pod.phase == "Failed"):
        return None
    for container in jobs.ours(job, pod):
        code = container.exit_code if container.state == "terminated" else container.last_exit_code
        said = _words(container.message or container.last_message)
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


def _finding(observed: Observed, rollout: RolloutStatus, entry: MetricRuns) -> Finding:
    if entry.reason:
        last = "tried again" if not entry.running else "waiting"
        return Finding("MetricsAnswered", False, entry.reason, f"metric {entry.name}: {entry.message}; {last}")
    if entry.running:
        words = f"metric {entry.name}: Job {_name(observed, rollout.candidate, entry.run)} is under way"
        return Finding("MetricsAnswered", None, "Measuring", words)
    if not _is_measured(rollout, entry):
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


def _name(observed: Observed, candidate: int, run: int) -> str:
    return job_name(observed.meta.name, candidate, METRIC_STEP, run)


def _jobs_of(observed: Observed, version: int) -> Iterator[Job]:
    return (job for job in observed.jobs if job.version == version and job.step == METRIC_STEP)


def _environment(observed: Observed, rollout: RolloutStatus, metric: str) -> Iterator[tuple[str, str]]:
    """Whom to measure and where. At these addresses requests are counted as mirrored ones: a Job's own are no evidence."""
    namespace = observed.meta.namespace
    yield from (("PERENNIAL_NAME", observed.meta.name), ("PERENNIAL_NAMESPACE", namespace), ("PERENNIAL_METRIC", metric))
    yield "PERENNIAL_WEIGHT", str(rollout.weight)
    for arm, number in (("CANDIDATE", rollout.candidate), ("STABLE", rollout.stable)):
        version = version_name(observed.meta.name, number)
        yield f"PERENNIAL_{arm}", version
        yield f"PERENNIAL_{arm}_URL", f"http://{version}.{namespace}.svc:{MIRROR_SERVICE_PORT}/predict"


def is_judged(metrics: Iterable[RolloutMetric], rollout: RolloutStatus) -> bool:
    """Whether the wish still has a Job that this rollout began with."""
    names = {entry.name for entry in rollout.runs}
    return any(metric.job is not None and metric.name in names for metric in metrics)
