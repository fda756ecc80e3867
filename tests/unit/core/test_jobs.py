"""How a Job's end is read: every way in which a pod can end, and the words that a person gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from perennial.core import jobpods, jobs
from perennial.core.actions import CreateJob
from perennial.core.observed import ContainerState, Job, JobPod
from perennial_runtime.contract import Fault, PrepareResult, Refusal, TrainResult, encode_answer
from unit.core.world import START, World, failed


def job(step: str, *containers: ContainerState, pod: JobPod | None = None, **state: object) -> Job:
    base = Job(f"delays-v2-{step}-1", "u", 2, step, 1, START)
    pods = (replace(pod or JobPod("pod-x", "pu", "Failed", START), containers=containers),) if containers or pod else ()
    return replace(base, pods=pods, **state)  # type: ignore[arg-type]


def ended(name: str, code: int, reason: str = "Error", message: str = "", **more: str) -> ContainerState:
    return ContainerState(name, "terminated", reason, message, code, **more)  # type: ignore[arg-type]


def waiting(name: str, reason: str, message: str = "") -> ContainerState:
    return ContainerState(name, "waiting", reason, message)


@dataclass(frozen=True)
class Case:
    reason: str
    job: Job
    state: str
    expected: str
    words: str = ""
    after: float = 10.0


UPLOADED = ended("reporter", 0, "Completed", encode_answer(TrainResult("m", "p", 9)))
SCORED = ContainerState("score", "terminated", "Completed", "", 0, ended_at=START + timedelta(seconds=200))
PENDING = JobPod("pod-x", "pu", "Pending", START)
DONE = JobPod("pod-x", "pu", "Succeeded", START)
NOT_ADMITTED = replace(PENDING, phase="Failed", reason="UnexpectedAdmissionError", message="no healthy devices present")
FILLED = replace(
    PENDING,
    phase="Failed",
    reason="Evicted",
    message="Pod ephemeral local storage usage exceeds the total limit of containers 64Mi. ",
)
GOING = JobPod("pod-x", "pu", "Running", START, deleting=True)
SCHEDULED_LATE = replace(PENDING, scheduled_at=START + timedelta(seconds=60))
NOTHING = encode_answer(TrainResult(None, None, 0, "OutputMissing", "the trainer ended without /perennial/out/model.onnx"))
PREPARED = encode_answer(PrepareResult("d", "t", "h", "s", "p", 1, 1, 1, 0, "x", 0.5))
CASES = [
    Case("completed", job("prepare", ended("prepare", 0, "Completed", PREPARED), complete=True), "succeeded", "Completed"),
    Case(
        "the pod has succeeded, and the Job does not say so yet",
        job("prepare", ended("prepare", 0, "Completed", PREPARED), pod=DONE),
        "succeeded",
        "Completed",
    ),
    Case(
        "the pod has succeeded, and a child of it was killed",
        job("train", ended("train", 0, "OOMKilled", memory_limit="1Gi"), UPLOADED, pod=DONE),
        "failed",
        "OutOfMemory",
    ),
    Case(
        "the pod has succeeded, and somebody deletes it before the Job says so",
        job("prepare", ended("prepare", 0, "Completed", PREPARED), pod=replace(DONE, deleting=True)),
        "running",
        "Running",
    ),
    Case("still running", job("train"), "running", "Running"),
    Case(
        "the Job's end is seen before its pod's",
        job("train", ContainerState("reporter", "running"), pod=replace(PENDING, phase="Running"), complete=True),
        "running",
        "Ended",
        "has not been seen yet",
    ),
    Case(
        "the Job's failure is seen before its pod's",
        job("prepare", ContainerState("prepare", "running"), pod=replace(PENDING, phase="Running"), failed=True),
        "running",
        "Ended",
    ),
    Case(
        "R6 trainer exits non-zero",
        job("train", ended("fetch", 0, "Completed"), ended("train", 3), UPLOADED, failed=True),
        "failed",
        "TrainerFailed",
        "exit code 3; see: kubectl logs job/delays-v2-train-1 -c train",
    ),
    Case(
        "R7 killed for memory",
        job("train", ended("train", 137, "OOMKilled", memory_limit="256Mi"), UPLOADED, failed=True),
        "failed",
        "OutOfMemory",
        "its limit, 256Mi; raise spec.training.resources.limits.memory",
    ),
    Case(
        "R7 a child killed for memory, exit code 0",
        job("train", ended("train", 0, "OOMKilled", memory_limit="1Gi"), UPLOADED, complete=True),
        "failed",
        "OutOfMemory",
    ),
    Case(
        "R8 past its timeout",
        job("train", ended("train", 137), pod=JobPod("pod-x", "pu", "Failed", START, reason="DeadlineExceeded"), failed=True),
        "failed",
        "TimedOut",
        "ran longer than 1h",
    ),
    Case(
        "R7 killed for memory, and then its time was over",
        job(
            "train",
            ended("train", 137, "OOMKilled", memory_limit="1Gi"),
            pod=JobPod("pod-x", "pu", "Failed", START, reason="DeadlineExceeded"),
            failed=True,
        ),
        "failed",
        "OutOfMemory",
    ),
    Case(
        "a pod that the kubelet did not admit",
        job("train", pod=NOT_ADMITTED, failed=True, failure_reason="BackoffLimitExceeded"),
        "failed",
        "BackoffLimitExceeded",
        "pod pod-x: UnexpectedAdmissionError: no healthy devices present",
    ),
    Case(
        "R21 ended by the kubelet for what it wrote",
        job("train", ended("train", 137), ended("reporter", 137), pod=FILLED, failed=True),
        "failed",
        "OutOfStorage",
        "exceeds the total limit of containers 64Mi.; write less, or raise spec.training.resources.limits.ephemeral-storage",
    ),
    Case(
        "evicted because the node was short of something, which is no fault of the Job's",
        job("train", ended("train", 137), pod=replace(FILLED, disrupted=True)),
        "running",
        "Running",
    ),
    Case("R9 writes nothing", job("train", ended("reporter", 0, "Completed", NOTHING), complete=True), "failed", "OutputMissing"),
    Case(
        "R14 image that cannot be pulled, at first",
        job("train", waiting("train", "ErrImagePull", "not found"), pod=PENDING),
        "running",
        "ImageCannotBePulled",
        "not found",
    ),
    Case(
        "R14 image that cannot be pulled, for 3 minutes",
        job("train", waiting("train", "ImagePullBackOff", "not found"), pod=PENDING),
        "failed",
        "ImageCannotBePulled",
        "not found (for 200 s)",
        200.0,
    ),
    Case(
        "R14 image of the user's that cannot be pulled is named where the user can correct it",
        job("train", waiting("train", "ImagePullBackOff", "not found"), pod=PENDING),
        "running",
        "ImageCannotBePulled",
        "; correct spec.training.image or spec.training.imagePullSecrets",
    ),
    Case(
        "R14 image of ours that cannot be pulled, which the spec does not name",
        job("train", waiting("reporter", "ImagePullBackOff", "not found"), pod=PENDING),
        "running",
        "ImageCannotBePulled",
        "; correct the chart's value images, with which the next version is made, or spec.training.imagePullSecrets",
    ),
    Case(
        "R14 image that cannot be pulled, on a pod that has long waited for a node",
        job(
            "train",
            waiting("train", "ImagePullBackOff", "not found"),
            pod=SCHEDULED_LATE,
        ),
        "running",
        "ImageCannotBePulled",
        "not found",
        200.0,
    ),
    Case(
        "image name that is none", job("train", waiting("train", "InvalidImageName"), pod=PENDING), "failed", "ImageNameInvalid"
    ),
    Case(
        "nowhere to run",
        job("train", pod=replace(PENDING, unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")),
        "running",
        "Unschedulable",
        "2 Insufficient nvidia.com/gpu",
    ),
    Case("R17 quota", job("train", warning="exceeded quota: tiny"), "running", "PodNotCreated", "exceeded quota: tiny"),
    Case(
        "refused by our own step",
        job("prepare", ended("prepare", 64, "Error", encode_answer(Refusal("ColumnMissing", "no column late"))), failed=True),
        "refused",
        "ColumnMissing",
        "no column late",
    ),
    Case("refused by a user's image", job("train", ended("train", 64), UPLOADED, failed=True), "refused", "TrainerRefused"),
    Case(
        "the store did not answer",
        job("evaluate", ended("evaluate", 75, "Error", encode_answer(Fault("StoreUnavailable", "no answer"))), failed=True),
        "failed",
        "StoreUnavailable",
    ),
    Case(
        "fetch failed", job("train", ended("fetch", 75), waiting("train", "PodInitializing"), failed=True), "failed", "Transient"
    ),
    Case(
        "a program that measures metrics of the user's own fails",
        job("evaluate", ended("score", 0, "Completed"), ended("metrics", 3, message="no\n\x1bcolumn amount\n"), failed=True),
        "failed",
        "MetricsFailed",
        "exit code 3; see: kubectl logs job/delays-v2-evaluate-1 -c metrics; it says: no column amount",
    ),
    Case(
        "such a program that answers in our name",
        job("evaluate", ended("metrics", 1, message=encode_answer(Refusal("OnnxBroken", "no model"))), failed=True),
        "failed",
        "MetricsFailed",
        '{"refused":',
    ),
    Case(
        "such a program that refuses",
        job("evaluate", ended("score", 0, "Completed"), ended("metrics", 64), failed=True),
        "refused",
        "MetricsRefused",
        "the program of evaluation.metrics failed",
    ),
    Case(
        "what goes before such a program refuses the model",
        job("evaluate", ended("score", 64, "Error", encode_answer(Refusal("OnnxBroken", "no model"))), failed=True),
        "refused",
        "OnnxBroken",
    ),
    Case(
        "such a program is killed for memory",
        job("evaluate", ended("metrics", 137, "OOMKilled", memory_limit="2Gi"), failed=True),
        "failed",
        "OutOfMemory",
        "raise spec.evaluation.metrics.resources.limits.memory",
    ),
    Case(
        "a child of it is, and no other container will start",
        job("evaluate", ended("metrics", 0, "OOMKilled"), waiting("evaluate", "PodInitializing"), pod=PENDING),
        "failed",
        "OutOfMemory",
        "raise spec.evaluation.metrics",
    ),
    Case(
        "the image of such a program cannot be pulled",
        job("evaluate", SCORED, waiting("metrics", "ErrImagePull", "not found"), pod=PENDING),
        "failed",
        "ImageCannotBePulled",
        "correct spec.evaluation.metrics.image (spec.training.image where it is not given) or spec.training.imagePullSecrets",
        after=400.0,
    ),
    Case(
        "it cannot for a moment, after minutes in which the model was scored",
        job("evaluate", SCORED, waiting("metrics", "ErrImagePull", "not found"), pod=PENDING),
        "running",
        "ImageCannotBePulled",
        after=250.0,
    ),
    Case(
        "such a program that is not there",
        job("evaluate", ended("metrics", 128, "StartError", "exec: no such file"), failed=True),
        "failed",
        "ContainerCannotStart",
        "correct spec.evaluation.metrics.image (spec.training.image where it is not given) or its command",
    ),
    Case(
        "an image of ours that cannot be pulled",
        job("poll", waiting("poll", "ErrImagePull", "not found"), pod=PENDING),
        "running",
        "ImageCannotBePulled",
        "correct the chart's value images.serving or spec.training.imagePullSecrets",
    ),
    Case(
        "another image of ours that cannot be pulled",
        job("prepare", waiting("prepare", "InvalidImageName"), pod=PENDING),
        "failed",
        "ImageNameInvalid",
        "correct the chart's value images, with which the next version is made",
    ),
    Case("answer lost with its pod", job("prepare", complete=True), "failed", "ResultLost"),
    Case(
        "answer that is none",
        job("prepare", ended("prepare", 0, "Completed", "hello"), complete=True),
        "failed",
        "AnswerUnreadable",
    ),
    Case(
        "evicted",
        job("train", ended("train", 137), pod=JobPod("pod-x", "pu", "Failed", START, disrupted=True)),
        "running",
        "Running",
    ),
    Case(
        "suspended before it had a pod",
        job("train", suspended=True, queue="team-a"),
        "running",
        "Suspended",
        "starts when queue team-a admits it",
    ),
    Case(
        "suspended while it ran, its pod is being deleted",
        job("train", ended("train", 137), pod=replace(GOING, phase="Failed"), suspended=True),
        "running",
        "Suspended",
        "somebody resumes it",
    ),
    Case(
        "resumed while its old pod is still being deleted",
        job("train", ended("train", 137), pod=replace(GOING, phase="Failed")),
        "running",
        "Running",
    ),
    Case(
        "suspended after it had failed",
        job("train", ended("train", 3), suspended=True, failed=True),
        "failed",
        "TrainerFailed",
    ),
    Case(
        "failed without a pod", job("train", failed=True, failure_reason="BackoffLimitExceeded"), "failed", "BackoffLimitExceeded"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_job_is_read_as(case: Case) -> None:
    reading = jobs.read(case.job, "1h", START + timedelta(seconds=case.after))
    assert (reading.state, reading.reason) == (case.state, case.expected)
    assert case.words in reading.message


def test_job_that_would_go_on_for_ever_is_stopped_when_it_is_given_up() -> None:
    stuck = job("train", waiting("train", "ImagePullBackOff"), pod=PENDING)
    assert jobs.read(stuck, "1h", START + timedelta(seconds=300)).stop


def test_six_disruptions_are_too_many() -> None:
    assert jobs.read(job("train"), "1h", START, [f"u{number}" for number in range(5)]).state == "running"
    reading = jobs.read(job("train"), "1h", START, [f"u{number}" for number in range(6)])
    assert reading.reason == "DisruptedTooOften"
    assert reading.stop


def test_too_many_evictions_are_told_in_the_kubelets_words_with_what_helps_against_them() -> None:
    words = "The node was low on resource: ephemeral-storage. Container train was using 20Gi"
    short = replace(FILLED, disrupted=True, message=words)
    reading = jobs.read(job("train", pod=short), "1h", START, [f"u{number}" for number in range(6)])
    assert (reading.state, reading.reason) == ("failed", "DisruptedTooOften")
    assert words in reading.message
    assert "request in spec.training.resources what it takes (memory, ephemeral-storage)" in reading.message
    assert "priorityClassName" not in reading.message


def test_every_attempt_of_every_step_is_told_its_number_by_which_its_log_is_kept() -> None:
    told: list[tuple[str, int]] = []

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        told.append((step, action.input.attempt))
        assert action.input.attempt == action.attempt
        return failed(START, ContainerState(step, "terminated", "Error", "", 75)) if action.attempt == 1 else None

    World(answer=answer).until(lambda w: w.status.stable == 1)
    assert set(told) == {(step, attempt) for step in ("prepare", "train", "evaluate") for attempt in (1, 2)}


def workers(*pods: JobPod, **state: object) -> Job:
    return replace(Job("delays-v2-train-1", "u", 2, "train", 1, START), pods=pods, **state)  # type: ignore[arg-type]


def worker(index: int, phase: str, *containers: ContainerState, ended_at: float | None = None, **more: object) -> JobPod:
    when = START + timedelta(seconds=ended_at) if ended_at is not None else None
    made = JobPod(f"pod-{index}", f"u{index}", phase, START, index=index, ended_at=when, containers=containers)
    return replace(made, **more)  # type: ignore[arg-type]


def read(found: Job) -> jobs.Reading:
    return jobs.read(found, "1h", START + timedelta(seconds=10))


def test_workers_succeed_with_what_the_first_ones_reporter_answers() -> None:
    others = [worker(index, "Succeeded", ended("reporter", 0, "Completed")) for index in (2, 1)]
    assert read(workers(*others, worker(0, "Succeeded", UPLOADED), complete=True)).answer == TrainResult("m", "p", 9)


def test_one_of_several_workers_that_has_succeeded_is_no_end_before_the_job_says_so() -> None:
    assert read(workers(worker(0, "Succeeded", UPLOADED))).state == "running"


def test_worker_that_failed_first_says_why_and_not_those_that_followed_it() -> None:
    followed = worker(0, "Failed", ended("train", 1), ended_at=7, deleting=True)
    reading = read(workers(followed, worker(1, "Failed", ended("train", 3), ended_at=5), failed=True))
    assert reading.reason == "TrainerFailed"
    assert "container train of worker 1 ended with exit code 3; see: kubectl logs pod-1 -c train" in reading.message


def test_child_killed_for_memory_beside_any_worker_spoils_the_result() -> None:
    killed = worker(1, "Succeeded", ended("train", 0, "OOMKilled", memory_limit="1Gi"))
    assert read(workers(worker(0, "Succeeded", UPLOADED), killed, complete=True)).reason == "OutOfMemory"


def test_worker_that_finds_no_node_says_what_all_wait_for() -> None:
    waits = worker(1, "Pending", unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    found = workers(worker(0, "Running"), waits)
    assert (read(found).reason, jobpods.waiting_since(found)) == ("Unschedulable", START)


def test_evicted_worker_is_followed_by_its_newest_pod() -> None:
    evicted = worker(1, "Failed", ended("train", 137), disrupted=True)
    again = worker(1, "Running", name="pod-1-b", created_at=START + timedelta(seconds=5))
    assert read(workers(worker(0, "Running"), evicted, again)).reason == "Running"
