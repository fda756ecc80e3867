"""How a Job of ours stands: an ordered chain of small checks over its pods, from what the API server tells to a reason and words.

Judged by exit code *and* reason of our named containers, now and before (a deadline in back-off hides the real end there): an OOM
kill of a child leaves exit code 0. Which pod is looked at says `perennial.core.jobpods`. `perennial.core.training` turns the
reading into the version's records; `perennial.core.runs` reads a metric's Jobs by the same checks, its own in front, and
`perennial.core.storing` those of the ledger, `polling` those that look at the data source, `reproducing` those that train again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from perennial.core import jobpods
from perennial.core.observed import ContainerState, Job, JobPod
from perennial_runtime.contract import (
    EXIT_REFUSED,
    EXIT_TRANSIENT,
    Answer,
    Container,
    ContractError,
    Fault,
    Refusal,
    TrainResult,
    decode_answer,
)

CANNOT_START_SECONDS = 180.0
"""How long an image may not be pulled, or a container not be created, before we fail the Job: Kubernetes never does."""
DISRUPTIONS = 5
"""Evictions and preemptions that cost no attempt."""

EVICTED = "Evicted"
"""The kubelet's reason of a pod that it ended for memory or disk."""
_NEVER_RAN = ("StartError", "ContainerCannotRun")
"""Reasons of a container's end that is none: its command could not be run, and the message is the container runtime's."""
_SPEAKS = {
    "prepare": Container.PREPARE,
    "train": Container.REPORTER,
    "evaluate": Container.EVALUATE,
    "ledger": Container.LEDGER,
    "reproduce": Container.COMPARE,
    "poll": Container.POLL,
}
"""Whose termination message is the step's answer."""
METRIC_STEP = "metric"
"""The step of a Job that measures for a metric (`perennial.core.runs`)."""
METRIC_CONTAINER = "measure"
REPRODUCE_STEP = "reproduce"
"""The step of a Job that trains a version again (`perennial.core.reproducing`)."""
LEDGER_STEP = "ledger"
"""The step of a Job that stores entries of the ledger (`perennial.core.storing`)."""
POLL_STEP = "poll"
"""The step of a Job that looks at the data source (`perennial.core.polling`)."""
_ORDER = {
    POLL_STEP: (Container.POLL,),
    LEDGER_STEP: (Container.LEDGER,),
    METRIC_STEP: (METRIC_CONTAINER,),
    "prepare": (Container.PREPARE,),
    "train": (Container.FETCH, Container.TRAIN, Container.REPORTER),
    "evaluate": (Container.SCORE, Container.METRICS, Container.EVALUATE),
    REPRODUCE_STEP: (Container.FETCH, Container.TRAIN, Container.COMPARE),
}
_START_FIX = {
    "ImageCannotBePulled": "correct {image} or {pulls}.imagePullSecrets",
    "ImageNameInvalid": "correct {image}",
    "ContainerCannotBeCreated": "correct what it names in {field} or in this namespace",
}
QUOTA_FIX = "raise the quota or lower the requests"
ENDED = "Ended"
"""Reason of a Job that has ended and whose answer is on its way: a matter of moments, and nothing to tell people of."""
QUEUED = ("Suspended", "Unschedulable")
"""Reasons of a Job that waits for its turn or its node: nothing of it runs, and no time of its own passes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a Job amounts to. `running` may carry a note (why it does not start); `failed` may be worth another attempt."""

    state: Literal["running", "succeeded", "refused", "failed"]
    reason: str = ""
    message: str = ""
    answer: Answer | None = None
    stop: bool = False
    """The Job would go on by itself and has to be deleted."""
    secret: str = ""
    """Which Secret is to be mended, as `contract.Mounted` has it; empty: none."""


class Trouble(Protocol):
    """How the last Job of a kind failed, as the status holds it."""

    @property
    def reason(self) -> str: ...

    @property
    def message(self) -> str: ...


def read(job: Job, timeout: str, now: datetime, disruptions: Collection[str] = ()) -> Reading:
    """The first check that has something to say decides. `disruptions` are the UIDs of the pods that were evicted so far."""
    pod = jobpods.telling(job)
    checks = (
        news_to_come(job, jobpods.first(job) if job.complete else pod),
        _complete(job),
        _too_often_disrupted(job, pod, disruptions),
        _suspended(job),
        killed_for_memory(job, pod) if job.failed else _killed_before_others(job, pod),
        out_of_time(job, pod, timeout),
        out_of_storage(job, pod),
        _ended_badly(job, pod),
        failed_otherwise(job),
        cannot_start(job, pod, now),
        not_scheduled(job, pod),
    )
    return next((reading for reading in checks if reading is not None), Reading("running", "Running"))


def news_to_come(job: Job, pod: JobPod | None) -> Reading | None:
    """A Job ends after its pods (Kubernetes 1.31 and later), but the watches are not in step: its end may be seen first."""
    if (job.complete or job.failed) and pod is not None and pod.phase in ("Pending", "Running"):
        return Reading("running", ENDED, f"Job {job.name} has ended; what its pod {pod.name} answered has not been seen yet")
    return None


def has_ended(job: Job) -> bool:
    """Its pod ends first: for a moment the Job itself does not say so yet. A disrupted pod is no end, another one comes."""
    pod = jobpods.newest(job)
    return job.complete or job.failed or (pod is not None and pod.phase in ("Succeeded", "Failed") and not pod.disrupted)


def exit_of(container: ContainerState) -> tuple[int | None, str]:
    """(exit code, termination message) of its end, now or before."""
    code = container.exit_code if container.state == "terminated" else container.last_exit_code
    return code, container.message or container.last_message


def has_succeeded(job: Job) -> bool:
    """Its pod ends first, with the answer in it, and the Job says so a second later, which nothing has to wait for.

    Of several workers only the Job knows how many there are to be.
    """
    pod = jobpods.newest(job)
    return job.complete or (pod is not None and pod.index is None and pod.phase == "Succeeded" and not pod.deleting)


def _complete(job: Job) -> Reading | None:
    if job.failed or not has_succeeded(job):
        return None
    killed = next((killed for pod in jobpods.workers(job) if (killed := killed_for_memory(job, pod))), None)
    if killed:
        return killed
    container = next((c for c in ours(job, jobpods.first(job)) if c.name == _SPEAKS[job.step]), None)
    if container is None:
        return Reading("failed", "ResultLost", f"Job {job.name} completed, but its pod is gone and with it the answer")
    try:
        answer = decode_answer(container.message)
    except ContractError as error:
        return Reading("failed", "AnswerUnreadable", f"container {container.name} of Job {job.name} left no answer: {error}")
    return _from_answer(answer)


def _from_answer(answer: Answer) -> Reading:
    match answer:
        case Refusal():
            return _refused(answer)
        case Fault(reason, message):
            return Reading("failed", reason, message)
        case TrainResult(problem=str() as problem, message=message):
            return Reading("failed", problem, message)
        case _:
            return Reading("succeeded", "Completed", "", answer)


def _refused(said: Refusal) -> Reading:
    """With the answer itself only where it tells of which rows: the rest of it stands in the reading."""
    return Reading("refused", said.reason, said.message, said if said.data else None, secret=said.secret)


def out_of_time(job: Job, pod: JobPod | None, timeout: str) -> Reading | None:
    """The pod's deadline is over; it counts from when the pod got its node, so an image may have taken all of it."""
    if pod is None or pod.reason != "DeadlineExceeded":
        return None
    waiting = [container for container in ours(job, pod) if container.state == "waiting" and not container.last_reason]
    words = f"the {job.step} pod {pod.name} ran longer than {timeout} and was ended"
    if waiting and len(waiting) == len(list(ours(job, pod))):
        said = next((f": {one.reason}: {one.message}" for one in waiting if one.reason), "")
        words = f"the {job.step} pod {pod.name} had not started after {timeout}{said}"
    if job.step in ("train", METRIC_STEP):
        words += f"; raise {_field(job)}.timeout or make the {'training' if job.step == 'train' else 'measurement'} shorter"
    return Reading("failed", "TimedOut", words)


def out_of_storage(job: Job, pod: JobPod | None) -> Reading | None:
    """The kubelet ended the pod for what it wrote itself. It gives no DisruptionTarget then, as it does when the node is short of
    something, so a Job ends by it; and the containers' exit code 137 says nothing."""
    if pod is None or pod.disrupted or pod.reason != EVICTED:
        return None
    words = f"pod {pod.name} of Job {job.name} was ended for what it wrote to the node's disk: {' '.join(pod.message.split())}"
    return Reading("failed", "OutOfStorage", f"{words}; write less, or raise {_field(job)}.resources.limits.ephemeral-storage")


def _too_often_disrupted(job: Job, pod: JobPod | None, disruptions: Collection[str]) -> Reading | None:
    if len(disruptions) <= DISRUPTIONS:
        return None
    words = "; ".join([f"pods of Job {job.name} were evicted or preempted {len(disruptions)} times", *_pod_words(pod)])
    fix = "give it a higher spec.training.priorityClassName"
    if pod is not None and pod.reason == EVICTED:  # not preempted: the node had too little memory or disk left
        fix = f"request in {_field(job)}.resources what it takes (memory, ephemeral-storage), and limit it to that"
    return Reading("failed", "DisruptedTooOften", f"{words}; {fix}", stop=True)


def _suspended(job: Job) -> Reading | None:
    """Pods that it had are being deleted, however they end; when it is resumed it begins anew, with its whole time."""
    if not job.suspended or job.failed:
        return None
    who = f"queue {job.queue} admits it" if job.queue else "somebody resumes it (spec.suspend: false)"
    return Reading("running", "Suspended", f"Job {job.name} is suspended, and starts when {who}")


def _ended_badly(job: Job, pod: JobPod | None) -> Reading | None:
    if pod is None or pod.disrupted or not (job.failed or pod.phase == "Failed"):
        return None
    if pod.deleting and not job.failed:
        return None  # it was deleted; whether that counts is for the Job to say (not where it was suspended meanwhile)
    killed = killed_for_memory(job, pod)
    if killed:
        return killed
    for container in ours(job, pod):
        exit_code, message = exit_of(container)
        if exit_code and container.reason in _NEVER_RAN:
            words = f"container {container.name} of Job {job.name} could not be started: {' '.join(message.split())[:512]}"
            return Reading("failed", "ContainerCannotStart", f"{words}; correct {_image(job, container.name)} or its command")
        if exit_code:
            return _by_exit_code(container, exit_code, message, _exit_words(job, pod, container, exit_code))
    return None


def killed_for_memory(job: Job, pod: JobPod | None) -> Reading | None:
    for container in ours(job, pod):
        if "OOMKilled" in (container.reason, container.last_reason):
            limit = container.memory_limit or "the node's memory"
            words = f"container {container.name} of Job {job.name} was killed for memory: its peak reached its limit, {limit}; "
            field = _field(job, container.name)
            words += f"raise {field}.resources.limits.memory"
            if field == "spec.training":
                words += " (prepare and evaluate have at least that) or use less data"
            return Reading("failed", "OutOfMemory", words)
    return None


def _killed_before_others(job: Job, pod: JobPod | None) -> Reading | None:
    """A container that others wait for was killed for memory in a child and ended with 0: the kubelet starts no other one then,
    and the pod would hang until its deadline."""
    if (
        pod is None
        or pod.phase != "Pending"
        or not any(one.exit_code == 0 and one.reason == "OOMKilled" for one in ours(job, pod))
    ):
        return None
    killed = killed_for_memory(job, pod)
    return replace(killed, stop=True) if killed else None


def _by_exit_code(container: ContainerState, exit_code: int, message: str, words: str) -> Reading:
    if container.name == Container.METRICS:
        return _program_ended(exit_code, message, words)
    answer = _said(message)
    if exit_code == EXIT_REFUSED:
        if isinstance(answer, Refusal):
            return _refused(answer)
        return Reading("refused", "TrainerRefused", f"{words} (64: the input is refused)")
    if isinstance(answer, Fault | Refusal):
        return Reading("failed", answer.reason, answer.message)
    if exit_code == EXIT_TRANSIENT:
        return Reading("failed", "Transient", f"{words} (75: try again)")
    reason = "TrainerFailed" if container.name == Container.TRAIN else "StepFailed"
    return Reading("failed", reason, words)


def _program_ended(exit_code: int, message: str, words: str) -> Reading:
    """The user's program that measures metrics of their own: what it says is for people, and no answer of ours."""
    said = "".join(sign if sign.isascii() and sign.isprintable() else " " for sign in message)
    told = f"the program of evaluation.metrics failed: {words}" + (f"; it says: {' '.join(said.split())[:512]}" if said else "")
    if exit_code == EXIT_REFUSED:
        return Reading("refused", "MetricsRefused", told)
    return Reading("failed", "MetricsFailed", told)


def _exit_words(job: Job, pod: JobPod, container: ContainerState, exit_code: int) -> str:
    whose, where = (f"job/{job.name}", "") if pod.index is None else (pod.name, f" of worker {pod.index}")
    return f"container {container.name}{where} ended with exit code {exit_code}; see: kubectl logs {whose} -c {container.name}"


def _said(message: str) -> Answer | None:
    try:
        return decode_answer(message)
    except ContractError:
        return None


def failed_otherwise(job: Job) -> Reading | None:
    if not job.failed:
        return None
    words = [job.failure_message or "the Job failed", *_pod_words(jobpods.newest(job))]
    return Reading("failed", job.failure_reason or "JobFailed", f"Job {job.name}: {'; '.join(words)}")


def _pod_words(pod: JobPod | None) -> list[str]:
    """Why the pod failed as a whole, as the kubelet tells it: no healthy device, a full volume, the node's pressure."""
    return [f"pod {pod.name}: {pod.reason}: {pod.message}"] if pod and pod.reason else []


def cannot_start(job: Job, pod: JobPod | None, now: datetime) -> Reading | None:
    if pod is None or pod.phase != "Pending":
        return None
    for container in pod.containers:
        reason = jobpods.stuck(container)
        if reason is None:
            continue
        words = f"container {container.name} of pod {pod.name}: {container.reason}: {container.message}"
        field, image = _field(job, container.name), _image(job, container.name)
        pulls = field if job.step == METRIC_STEP else "spec.training"
        fix = _START_FIX[reason].format(field=field, image=image, pulls=pulls)
        waited = (now - _could_start(pod)).total_seconds()
        if waited < CANNOT_START_SECONDS and reason != "ImageNameInvalid":
            return Reading("running", reason, f"{words}; {fix}")
        return Reading("failed", reason, f"{words} (for {waited:.0f} s); {fix}", stop=True)
    return None


def _could_start(pod: JobPod) -> datetime:
    """From when on a container that waits was free to start: the pod has its node, and what goes before it has ended."""
    before = [one.ended_at for one in pod.containers if one.ended_at is not None]
    return max([pod.running_since or pod.scheduled_at or pod.created_at, *before])


def not_scheduled(job: Job, pod: JobPod | None) -> Reading | None:
    if pod is None:
        return Reading("running", "PodNotCreated", f"{job.warning}; {QUOTA_FIX}") if job.warning else None
    return Reading("running", "Unschedulable", f"pod {pod.name}: {pod.unschedulable}") if pod.unschedulable else None


def why_undone(refused: str, trouble: Trouble | None, held: Reading | None) -> tuple[str, str] | None:
    """(reason, words): what keeps the Jobs from doing their work; None when nothing does.

    `refused`: what the API server said to the newest one; `trouble`: how the last one failed; `held`: why the running one waits.
    """
    if refused:
        return "RefusedByCluster", f"{refused}; trying again"
    if trouble is not None:
        return trouble.reason, f"{trouble.message}; it is tried again, later each time"
    return (held.reason, held.message) if held is not None else None


def _field(job: Job, container: str = "") -> str:
    """Where the spec says what this Job, or this container of it, runs."""
    if container == Container.METRICS:
        return "spec.evaluation.metrics"
    return "metrics[].job" if job.step == METRIC_STEP else "spec.training"


def _image(job: Job, container: str) -> str:
    """Where the image of a container is named: a field of the spec, or the chart, where it is one of ours."""
    if container == Container.METRICS:
        return "spec.evaluation.metrics.image (spec.training.image where it is not given)"
    if container in (Container.LEDGER, Container.POLL):
        return "the chart's value images.serving"
    if container in _SPEAKS.values() or container in (Container.FETCH, Container.SCORE):
        return "the chart's value images, with which the next version is made,"
    return f"{_field(job)}.image"


def ours(job: Job, pod: JobPod | None) -> Iterator[ContainerState]:
    """The step's own containers, in the order in which they run; injected ones are left out."""
    if pod is None:
        return
    by_name = {container.name: container for container in pod.containers}
    for name in _ORDER[job.step]:
        if name in by_name:
            yield by_name[name]
