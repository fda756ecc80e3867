"""A version's way to a judged model: prepare, train, evaluate, one Job for each attempt, every step resumable.

`advance` looks at one version's records and Jobs and says what comes next. `perennial.core.plan` calls it for the newest version;
`perennial.core.jobs` reads the Jobs, `perennial.core.stepspecs` says what the steps are given, `perennial.core.gates` judges the
measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from perennial.api.v1alpha1 import ModelVersionStatus
from perennial.api.version import StepRecord
from perennial.core import accelerator, gates, jobs, lineage, ownmetrics, progress, sameness, stepspecs
from perennial.core.actions import CreateJob, DeleteJob
from perennial.core.answers import answer_of
from perennial.core.conditions import Finding
from perennial.core.inputs import job_name, since, source_secret, stamp
from perennial.core.observed import Job, Observed, Version
from perennial.core.trainer import user_words
from perennial_runtime.contract import (
    NOT_COMPARABLE,
    Answer,
    Champion,
    EvaluateResult,
    Mounted,
    PrepareResult,
    TrainResult,
    decode_answer,
    encode_answer,
)

StepName = Literal["prepare", "train", "evaluate"]
OWN_ATTEMPTS = 3
"""Attempts of prepare and evaluate, our own code: most of their failures are the store's or the node's."""
RETRY_SECONDS = 5.0
LOOK_SECONDS = 20.0
"""How soon a running step is looked at again when nothing wakes us: deadlines of ours are no events."""
NO_CHAMPION = "none"
NOT_THE_MODELS = ("Signing", "Signature", "Metric")
"""How reasons begin for which evaluate refuses and the model is not to blame: keys, what serves, or the program that measures
metrics of the user's own. It can be tried again."""
STEPS: tuple[StepName, ...] = ("prepare", "train", "evaluate")
_STATES: dict[str, Literal["Preparing", "Training", "Evaluating"]] = {
    "prepare": "Preparing", "train": "Training", "evaluate": "Evaluating",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """What a version is after this pass, and what has to be done for it."""

    status: ModelVersionStatus
    actions: tuple[CreateJob | DeleteJob, ...] = ()
    wake_after: float | None = None
    waits: Finding | None = None
    """That its Job waits for its turn or its node."""


def advance(observed: Observed, version: Version, champion: Champion | None) -> Progress:
    """One pass of a version that is neither judged nor ended."""
    after = _advance(observed, version, champion)
    return replace(after, actions=(*accelerator.strays(observed, version), *after.actions))


def _advance(observed: Observed, version: Version, champion: Champion | None) -> Progress:
    key = champion.identity if champion else NO_CHAMPION
    for step in STEPS:
        if step == "train" and version.spec.model is not None:
            continue
        record = _last(version.status, step, key)
        if record is None:
            return _begin(observed, version, step, champion)
        if record.state == "Running":
            return _follow(observed, version, record, champion)
        if record.state in ("Refused", "Failed") and (record.forgiven or _is_of_another(record, key)):
            return _begin(observed, version, step, champion)
        if record.state == "Refused":
            early = step == "prepare" and record.reason == NOT_COMPARABLE
            return (_same(observed, version) if early else None) or _end(observed, version.status, record)
        if record.state == "Failed":
            return _again(observed, version, record, champion)
    return _judge(observed, version, key, champion.version if champion else "")


def _is_of_another(record: StepRecord, key: str) -> bool:
    """Whether prepare refused a version because of one that does not serve any more: it may be compared with now."""
    return record.step == "prepare" and record.reason == NOT_COMPARABLE and record.key != key


def forgiven(records: Sequence[StepRecord]) -> list[StepRecord]:
    """The records with all that failed left out of account: a person asked for another try."""
    ended = ("Refused", "Failed")
    return [record.model_copy(update={"forgiven": True}) if record.state in ended else record for record in records]


def _last(status: ModelVersionStatus, step: str, key: str) -> StepRecord | None:
    records = [record for record in status.steps if record.step == step and (step != "evaluate" or record.key == key)]
    return records[-1] if records else None


def _begin(observed: Observed, version: Version, step: StepName, champion: Champion | None) -> Progress:
    if step == "train" and (same := _same(observed, version)) is not None:
        return same
    attempt = 1 + max((record.attempt for record in version.status.steps if record.step == step), default=0)
    record = StepRecord(
        step=step,
        attempt=attempt,
        key=_key(version, step, champion),
        state="Running",
        started_at=stamp(observed.now),
        device=accelerator.next_device(version.spec.training, version.status.steps) if step == "train" else "",
    )
    status = version.status.model_copy(
        update={"state": _STATES[step], "message": f"{step} {attempt} started", "steps": [*version.status.steps, record][-64:]}
    )
    return Progress(status, (_job(version, record, champion),), LOOK_SECONDS)


def _same(observed: Observed, version: Version) -> Progress | None:
    """The end of a version that began by itself and would repeat another: before its training, or where prepare refuses it for
    the version that serves, as it did that one."""
    twin = sameness.twin_of_automatic(observed.versions, version)
    if twin is None:
        return None
    update = {"state": "Superseded", "message": sameness.words(twin), "finished_at": stamp(observed.now)}
    return Progress(version.status.model_copy(update=update))


def _key(version: Version, step: StepName, champion: Champion | None) -> str:
    """Identity of the champion that the step's answer is about."""
    if step == "evaluate":
        return champion.identity if champion else NO_CHAMPION
    return champion.identity if step == "prepare" and champion and stepspecs.compares(version) else ""


def _follow(observed: Observed, version: Version, record: StepRecord, champion: Champion | None) -> Progress:
    job = _find(observed, version, record)
    if job is None:
        return Progress(version.status, (_job(version, record, champion),), LOOK_SECONDS)
    disruptions = _disruptions(version, record, job)
    counted = accelerator.disruptions(version, record, disruptions)
    overrun = ownmetrics.overrun(version, job, observed.now)
    reading = overrun or jobs.read(job, _timeout(version, record.step), observed.now, counted)
    if reading.state == "running":
        return _wait(observed, version, record.model_copy(update={"disrupted_pods": disruptions}), job, reading)
    ended = record.model_copy(
        update={
            "state": {"succeeded": "Succeeded", "refused": "Refused", "failed": "Failed"}[reading.state],
            "reason": reading.reason[:128],
            "message": f"{reading.message}{_secret(version, reading)}{user_words(version.spec.training, reading)}"[:2048],
            "result": encode_answer(reading.answer) if reading.answer else "",
            "disrupted_pods": disruptions,
            "finished_at": stamp(observed.now),
        }
    )
    ended = _without_fault(version, ended)
    found = {**_facts(version, reading.answer), **_trained_on(ended), **lineage.noted(version.status, job, reading.answer)}
    update = {"steps": _with(version.status, ended), "progress": None, **found}
    after = _advance(observed, replace(version, status=version.status.model_copy(update=update)), champion)
    stop = (DeleteJob(job.name, job.uid),) if reading.stop else ()
    return replace(after, actions=(*stop, *after.actions))


def _wait(observed: Observed, version: Version, record: StepRecord, job: Job, reading: jobs.Reading) -> Progress:
    """A Job that has not ended: it runs, or waits for its turn or its node, for a time, where there is a CPU to go to."""
    left = accelerator.left(observed, version, record, job) if reading.reason == "Unschedulable" else None
    if left is not None and left <= 0:
        given_up = accelerator.given_up(version, record, reading.message, stamp(observed.now))
        status = version.status.model_copy(update={"steps": _with(version.status, given_up), "progress": None})
        return replace(_begin(observed, replace(version, status=status), "train", None), actions=(), wake_after=0.0)
    message = f"{reading.message}{user_words(version.spec.training, reading)}"
    words = f"{record.step} {record.attempt}: {reading.reason}" + (f": {message}" if message else "")
    if left is not None:
        words += accelerator.until(version, record, job)
    update: dict[str, Any] = {
        "state": _STATES[record.step],
        "message": words[:2048],
        "steps": _with(version.status, record),
    }
    look = LOOK_SECONDS
    if record.step == "train" and reading.reason == "Running":
        update["progress"] = progress.seen(version.status.progress, record.attempt, job, observed.trained, observed.now)
        look = progress.ASK_SECONDS
    waits = Finding("Queued", True, reading.reason, f"v{version.number}: {words}") if reading.reason in jobs.QUEUED else None
    return Progress(version.status.model_copy(update=update), (), min(look, left or look), waits)


def _with(status: ModelVersionStatus, record: StepRecord) -> list[StepRecord]:
    """The records with this one in the place of what it was."""
    return [record if (old.step, old.attempt) == (record.step, record.attempt) else old for old in status.steps]


def _without_fault(version: Version, ended: StepRecord) -> StepRecord:
    """Workers that lose one of theirs to an eviction end with errors of their own, which are no fault of the trainer."""
    if version.spec.training.workers == 1 or ended.reason != "TrainerFailed" or not ended.disrupted_pods:
        return ended
    words = f"a worker was evicted or preempted, and the others ended: {ended.message}"
    return ended.model_copy(update={"reason": accelerator.DISRUPTED, "message": words[:2048], "forgiven": True})


def _trained_on(record: StepRecord) -> dict[str, str]:
    return {"device": record.device} if record.step == "train" and record.state == "Succeeded" else {}


def _secret(version: Version, reading: jobs.Reading) -> str:
    """Which Secret it is that a step could not use: its pod knows only the keys."""
    spec, store = version.spec, version.spec.store.secret_name
    named = {
        Mounted.STORE: store,
        Mounted.SOURCE: source_secret(spec.data.source, store),
        Mounted.MODEL: spec.model.secret_ref.name if spec.model and spec.model.secret_ref else store,
        Mounted.SIGNING: spec.signing.secret_ref.name if spec.signing else None,
    }
    found = next((name for which, name in named.items() if which == reading.secret), None)
    return f"; it is the Secret {found} of namespace {version.meta.namespace}" if found else ""


def _disruptions(version: Version, record: StepRecord, job: Job) -> list[str]:
    """Who was disrupted so far: a preempted or drained pod is deleted soon after it was told so. As many as it takes to be too
    many, for as many as there are workers count as one."""
    seen = [pod.uid for pod in job.pods if pod.disrupted and pod.uid not in record.disrupted_pods]
    return [*record.disrupted_pods, *seen][: max(16, (jobs.DISRUPTIONS + 1) * version.spec.training.workers)]


def _again(observed: Observed, version: Version, record: StepRecord, champion: Champion | None) -> Progress:
    failures = [
        old
        for old in version.status.steps
        if old.step == record.step and old.state == "Failed" and old.key == record.key and not old.forgiven
    ]
    allowed = version.spec.training.retries + 1 if record.step == "train" else OWN_ATTEMPTS
    if len(failures) >= allowed:
        return _end(observed, version.status, record)
    wait = RETRY_SECONDS * len(failures) - since(observed.now, record.finished_at)
    if wait <= 0:
        return _begin(observed, version, record.step, champion)
    words = (
        f"{record.step} {record.attempt}: {record.reason}: {record.message} (trying again: {len(failures)} of {allowed} failed)"
    )
    return Progress(version.status.model_copy(update={"message": words[:2048]}), (), wait)


def _end(observed: Observed, status: ModelVersionStatus, record: StepRecord) -> Progress:
    judged = record.step == "evaluate" or record.reason == NOT_COMPARABLE  # which prepare finds as evaluate would have
    rejected = judged and record.state == "Refused" and not record.reason.startswith(NOT_THE_MODELS)
    return Progress(
        status.model_copy(
            update={
                "state": "Rejected" if rejected else "Failed",
                "message": f"{record.step}: {record.reason}: {record.message}"[:2048],
                "finished_at": stamp(observed.now),
            }
        )
    )


def _judge(observed: Observed, version: Version, key: str, champion: str) -> Progress:
    """The verdict on what was measured against this champion (`key`, and its name), not against one that served in between."""
    record = _last(version.status, "evaluate", key)
    result = decode_answer(record.result) if record else None
    if not isinstance(result, EvaluateResult):
        raise TypeError(f"evaluate of {version.meta.name} succeeded without a result")
    asked = version.spec.evaluation.gates
    result = gates.measured_by(result, stepspecs.asked(version))
    trained = answer_of(version.status, "train")
    verdicts = gates.judge(asked, result, trained.claims if isinstance(trained, TrainResult) else {})
    refused = [verdict for verdict in verdicts if not gates.passes(asked, verdict)]
    update: dict[str, Any] = {"gates": list(verdicts), "score": _score(result, champion)}
    if refused:
        words = "; ".join(verdict.message for verdict in refused)
        update |= {"state": "Rejected", "message": words[:2048], "finished_at": stamp(observed.now)}
    else:
        passed = "; ".join(verdict.message for verdict in verdicts) or f"no gates were asked for; {_score(result, champion)}"
        update |= {"state": "Accepted", "message": passed[:2048]}
    return Progress(version.status.model_copy(update=update))


def _score(result: EvaluateResult, champion: str) -> str:
    """The first gate's metric. Of a version that is judged by comparisons alone nobody measured one by itself: by how much it is
    better than the champion, then."""
    shown = (one for one in result.gates if one.kind == "minimum" or (one.kind == "maximum" and one.metric in gates.ERRORS))
    first = next(shown, None)
    if first is None:
        compared = next((one for one in result.gates if one.kind == gates.MARGIN), None)
        return gates.beside(compared, f"v{champion.rpartition('-v')[2]}")[:128] if compared is not None else ""
    layout = ".5g" if first.metric in gates.OF_NUMBERS else ".3f"
    return f"{first.metric} {first.estimate:{layout}} {gates.span(first.lower, first.upper, layout)}"


def _facts(version: Version, answer: Answer | None) -> dict[str, Any]:
    match answer:
        case PrepareResult():
            rows = {"rows": answer.train_rows, "holdout_rows": answer.holdout_rows}
            return {**rows, "cutoff": answer.cutoff or None, "split": lineage.split(version.spec, answer)}
        case EvaluateResult():
            digests = {"bento": answer.bento, "card": answer.card, "measurements": answer.evidence}
            return {"identity": answer.identity, **digests}
        case _:
            return {}


def _find(observed: Observed, version: Version, record: StepRecord) -> Job | None:
    name = job_name(observed.meta.name, version.number, record.step, record.attempt)
    return next((job for job in observed.jobs if job.name == name and job.version == version.number), None)


def _timeout(version: Version, step: str) -> str:
    return version.spec.training.timeout if step == "train" else "its deadline"


def _job(version: Version, record: StepRecord, champion: Champion | None) -> CreateJob:
    number, attempt = version.number, record.attempt
    match record.step:
        case "prepare":
            beside = champion if champion is not None and champion.identity == record.key else None
            return CreateJob(number, "prepare", attempt, stepspecs.prepare(version, attempt, beside))
        case "train":
            on_cpu = accelerator.is_on_cpu(version.spec.training, record)
            return CreateJob(number, "train", attempt, stepspecs.train(version, attempt), on_cpu)
        case "evaluate":
            return CreateJob(number, "evaluate", attempt, stepspecs.evaluate(version, attempt, champion))
