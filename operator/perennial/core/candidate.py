"""The candidate's way from a judged model to all of the traffic, and what ends it: the next action for the newest version.

Training is `perennial.core.training`'s, a rollout's passes are `perennial.core.rollout`'s; here their outcomes become status:
promotion, rollback with quarantine, failure by deadline.
"""

from __future__ import annotations

from perennial.api.base import seconds
from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import Quarantine
from perennial.core import (
    accelerator,
    approval,
    arms,
    elsewhere,
    measuring,
    objective,
    providers,
    recording,
    rollout,
    routers,
    sameness,
    shadow,
    smoke,
    training,
    watch,
    window,
)
from perennial.core.actions import DeleteJob, WriteVersionStatus
from perennial.core.draft import FINAL, IN_TRAINING, Draft
from perennial.core.inputs import since, stamp
from perennial.core.jobs import METRIC_STEP, REPRODUCE_STEP, has_succeeded
from perennial.core.observed import Version
from perennial.core.returns import start as start_return
from perennial_runtime.contract import Champion

HELD = "nothing is promoted until data, training or evaluation change in the spec, or a person types perennial.dev/resume"


def advance(draft: Draft) -> None:
    """One pass of the candidate, if there is one, and of a promoted version that is still watched."""
    watched = watch.under_way(draft)
    if watched is not None:
        _watch(draft, watched)
    number = draft.status.candidate
    if number is None or number not in draft.versions:
        draft.wake(1.0 if number is not None else None)
        return
    if draft.state(number) in ("Failed", "Superseded"):
        _begin_again(draft, number)
    if draft.state(number) in IN_TRAINING:
        _train(draft, number)
    if draft.state(number) == "Deploying" and draft.status.rollout is not None and draft.status.rollout.candidate == number:
        draft.set_version(number, state="Canary")  # its rollout began, and the operator ended before it had written that
    if draft.state(number) == "Deploying":
        _deploy(draft, number)
    elif draft.state(number) == "Canary":
        _canary(draft, number)


def _begin_again(draft: Draft, number: int) -> None:
    """A candidate that has ended is one that a person wants to be tried again (`retry`); what it has done is not done again."""
    steps = training.forgiven(draft.versions[number].status.steps)
    words = "tried again: a person asked for it"
    draft.set_version(number, state="Pending", finished_at=None, deployed_at=None, steps=steps, message=words)


def champion_of(draft: Draft) -> Champion | None:
    """What a challenger is compared with: the version that serves."""
    version = draft.versions.get(draft.status.stable or 0)
    if version is None or version.status.identity is None or version.status.bento is None:
        return None
    return Champion(version.meta.name, version.status.identity, version.status.bento, version.signed_for, version.meta.uid)


def stop_jobs(draft: Draft) -> None:
    """Running Jobs of a superseded version are deleted; Jobs that ended keep their evidence."""
    for job in draft.observed.jobs:
        version = draft.versions.get(job.version)
        ended = has_succeeded(job) or job.failed or job.step in (METRIC_STEP, REPRODUCE_STEP)  # for others to delete
        if version and version.status.state == "Superseded" and not ended:
            draft.before.append(DeleteJob(job.name, job.uid))


def promote(draft: Draft, number: int, message: str) -> None:
    """The candidate becomes stable and gets all traffic, or, where it is to be watched, all but what is held back."""
    previous, under_way, wish = draft.status.stable, draft.status.rollout, draft.observed.spec.rollout.watch
    if previous in draft.versions and previous != number:
        draft.finish(previous, "Retired", f"v{number} took its place")
    draft.set(stable=number, candidate=None, rollout=None)
    draft.set_version(number, state="Serving", message=message[:2048], served_at=stamp(draft.observed.now))
    draft.urgent = True
    if under_way is not None and under_way.phase == "Shadow":
        under_way = shadow.steps_after(draft.observed, under_way)
    if under_way is not None and wish is not None and previous in draft.versions and not under_way.breach:
        draft.set(rollout=rollout.watched(draft.observed, under_way, wish.hold_back))
        words = f"v{number} serves {100 - wish.hold_back} % and is watched for {wish.for_} beside v{previous}: {message}"
        draft.event("Normal", "Promoted", words, number)
        return
    draft.event("Normal", "Promoted", f"v{number} serves all requests: {message}", number)


def roll_back(draft: Draft, number: int, reason: str, message: str) -> None:
    """The candidate is taken back and quarantined; stable gets all traffic as soon as it has a ready pod (mostly at once)."""
    version, stable = draft.versions[number], draft.status.stable
    entry = Quarantine(
        version=number,
        identity=version.status.identity or "",
        inputs_digest=version.spec.inputs_digest,
        reason=reason,
        since=stamp(draft.observed.now),
    )
    watched = watch.under_way(draft)
    if watched is not None:
        stable = watched.stable
    candidate = None if draft.status.candidate == number else draft.status.candidate
    draft.set(stable=stable, candidate=candidate, rollout=None, quarantined=[*draft.status.quarantined, entry][-100:])
    draft.finish(number, "RolledBack", f"{reason}: {message}")
    draft.urgent = True
    draft.event("Warning", "RolledBack", f"v{number} is taken back and quarantined: {reason}: {message}", number)
    if stable is not None:
        start_return(draft, stable, "Breach")


def end(draft: Draft, number: int, reason: str, message: str) -> None:
    """The candidate's rollout ends without harm: nothing is quarantined, and it may be tried again."""
    draft.set(candidate=None, rollout=None, ended=number)
    draft.finish(number, "Superseded", f"{reason}: {message}")
    draft.urgent = True
    draft.event("Warning", "Aborted", f"v{number} is taken back: {message}", number)


def has_answered(draft: Draft, number: int) -> bool:
    """Whether a candidate in its rollout has answered any request, mirrored ones of its shadow included."""
    current, status = draft.status.rollout, draft.versions[number].status
    before = any(one.candidate_total for one in (*status.evidence, *status.shadow_evidence))
    return before or (current is not None and measuring.has_answered(draft.observed, current))


def why_waiting(draft: Draft) -> str:
    """Why nothing may be rolled out now; empty when it may."""
    observed = draft.observed
    if observed.spec.pin is not None:
        return f"spec.pin={observed.spec.pin}: nothing is promoted while it is set"
    if draft.status.held:
        return f"a person returned to an older version: {HELD}"
    if watched := watch.under_way(draft):
        return f"v{watched.candidate} is being watched after its promotion"
    if draft.status.returning is not None:
        return f"a return to v{draft.status.returning.version} is under way"
    if paused := why_paused(draft):
        return paused
    compared = draft.status.stable is not None and draft.status.rollout is None
    return providers.unknown_sources(observed) if compared else ""


def why_paused(draft: Draft) -> str:
    """Who paused it; empty when nobody did."""
    if draft.status.paused:
        return f"a person paused it: kubectl annotate mdep {draft.observed.meta.name} perennial.dev/resume="
    return "spec.paused is true" if draft.observed.spec.paused else ""


def why_not_begun(draft: Draft) -> str:
    """Why no rollout may begin now: besides what stops one, a wish that the cluster cannot carry out."""
    return why_waiting(draft) or shadow.refused(draft.observed, None)


def _train(draft: Draft, number: int) -> None:
    if draft.observed.spec.paused:
        return
    version = draft.versions[number]
    progress = training.advance(draft.observed, version, champion_of(draft))
    draft.before.extend(progress.actions)
    draft.wake(progress.wake_after)
    draft.findings.extend([progress.waits] if progress.waits else [])
    draft.put_version(number, progress.status)
    if words := accelerator.fell_back(version.status.steps, progress.status.steps):
        draft.tell("Warning", "FellBackToCPU", f"v{number}: {words}")
    state = progress.status.state
    if state in FINAL:
        draft.set(candidate=None)
        words = f"v{number}: {progress.status.message}"
        if sameness.ended_as_same(draft.versions[number]):
            draft.event("Normal", sameness.SAME, words, number)
        else:
            draft.event("Warning", state, words, number)
    elif state == "Accepted":
        _accepted(draft, draft.versions[number])


def _accepted(draft: Draft, version: Version) -> None:
    number, stable = version.number, draft.versions.get(draft.status.stable or 0)
    entry = draft.quarantined(version.status.identity)
    if entry:
        draft.set(candidate=None)
        draft.finish(number, "Rejected", f"Quarantined: it is the model of v{entry.version}, rolled back ({entry.reason})")
        draft.event("Warning", "Rejected", draft.versions[number].status.message, number)
    elif stable and _is_as_served(version, stable):
        draft.set(candidate=None)
        draft.finish(number, "Retired", f"it is the model that v{stable.number} serves already: nothing to roll out")
        draft.event("Normal", "Identical", draft.versions[number].status.message, number)
    elif draft.observed.spec.smoke is not None:
        smoke.passed(draft, number)
    elif approval.settle(draft, number) and not why_not_begun(draft):
        draft.set_version(number, state="Deploying", deployed_at=stamp(draft.observed.now))
        draft.event("Normal", "Accepted", f"v{number} is fit to serve: {version.status.message}", number)


def _is_as_served(version: Version, stable: Version) -> bool:
    """It would answer as the version that serves does, by the same image, and its Bento is signed alike."""
    alike = version.spec.runtime == stable.spec.runtime and version.spec.signing == stable.spec.signing
    return alike and version.status.identity == stable.status.identity


def _deploy(draft: Draft, number: int) -> None:
    if why_not_begun(draft):
        draft.set_version(number, state="Accepted", deployed_at=None)
        return
    observed, version = draft.observed, draft.versions[number]
    workload = arms.workload_of(observed, number)
    needed, age = routers.pods_to_begin(draft)
    if workload is not None and workload.updated and len(arms.ready_pods(workload, observed.now, age)) >= needed:
        if draft.status.stable is None:
            promote(draft, number, "the first version, ready after its golden requests")
        elif routers.withholds(observed.spec) and window.knows(draft, version):
            promote(draft, number, "it is the model of a version inside rollout.window: the steps are left out")
        else:
            _enter(draft, number, draft.status.stable)
        return
    draft.wake(1.0)
    if since(observed.now, version.status.deployed_at) > seconds(observed.spec.serving.progress_deadline):
        limit = f"{observed.spec.serving.progress_deadline} (spec.serving.progressDeadline)"
        words = f"not ready within {limit}: {arms.why_not_ready(workload, version)}"
        draft.set(candidate=None)
        draft.finish(number, "Failed", f"NotReady: {words}")
        draft.event("Warning", "Failed", f"v{number}: {words}", number)
    elif told := arms.refused(workload, version):
        draft.set_version(number, message=f"its pods do not get ready: {told}"[:2048])


def _enter(draft: Draft, number: int, stable: int) -> None:
    begun = shadow.begin(draft.observed, number, stable)
    draft.set(rollout=begun)
    recording.begin(draft, begun)
    stage = "shadow" if begun.phase == "Shadow" else "canary at 0 %"
    draft.set_version(number, state="Canary", message=f"{stage}: its pods are read first")
    if not begun.withheld:
        _tell_weight(draft, number, begun)
    draft.urgent = True
    draft.wake(rollout.CHANGED_SECONDS)
    draft.event("Normal", "CanaryStarted", f"v{number} is compared with v{stable} from now on", number)


def _canary(draft: Draft, number: int) -> None:
    before = draft.status.rollout
    if before is None or before.candidate != number:
        draft.set_version(number, state="Accepted", deployed_at=None)
        draft.set(rollout=None)
        draft.wake(0.1)
        return
    stage = shadow.step if before.phase == "Shadow" else rollout.step
    waits = bool(why_waiting(draft))
    course = stage(draft.observed, before, waits=waits)
    recording.passed(draft, before, course, waits=waits)
    _follow(draft, number, before, course)
    match course.outcome:
        case "promote":
            promote(draft, number, course.message)
        case "abort":
            end(draft, number, course.reason, course.message)
        case "continue" if before.phase == "Shadow":
            shadow.tell(draft, number, before, course)
        case "continue" if measuring.weights(course.rollout) != measuring.weights(before):
            _tell_weight(draft, number, course.rollout)
        case _:
            pass


def _watch(draft: Draft, before: RolloutStatus) -> None:
    """One pass of the watch; the version that serves is the rollout's candidate."""
    course = rollout.watch(draft.observed, before)
    recording.passed(draft, before, course)
    _follow(draft, before.candidate, before, course)
    if course.outcome == "watched":
        watch.end(draft, course.message)


def _follow(draft: Draft, number: int, before: RolloutStatus, course: rollout.Course) -> None:
    """What every pass of a rollout leaves: its state, what it found, its evidence; and the return after a breach."""
    draft.findings.extend(course.findings)
    if course.outcome == "continue":
        draft.findings.extend(rollout.breached(course.rollout))
        draft.findings.extend(objective.findings(course.rollout))
        draft.findings.extend(elsewhere.findings(draft.observed, course.rollout))
    draft.wake(course.wake_after)
    draft.urgent |= course.changed
    draft.set(rollout=course.rollout)
    if (draft.urgent or saves(draft)) and (evidence := course.evidence()):
        part = "shadow_evidence" if before.phase == "Shadow" else "evidence"
        draft.set_version(number, **{part: list(evidence)})
    for kind, reason, words in objective.events(before, course.rollout) if course.outcome == "continue" else ():
        draft.event(kind, reason, words, number)
    if course.rollout.breach and not before.breach:
        draft.event("Warning", "Breached", f"v{number}: {course.rollout.breach}; a person must promote or abort it", number)
    if course.outcome != "continue" or course.rollout.phase != before.phase:
        _keep_evidence(draft, number, course)
    if course.outcome == "breach":
        roll_back(draft, number, course.reason, course.message)


def _keep_evidence(draft: Draft, number: int, course: rollout.Course) -> None:
    """Evidence is written before what follows from it: after the ModelDeployment's status it could not be measured again."""
    draft.set_version(number, message=course.message[:2048])
    draft.before.append(WriteVersionStatus(number, draft.versions[number].status))


def saves(draft: Draft) -> bool:
    """Whether measurements have moved and are due to be written."""
    current = draft.status.rollout
    return current is not None and current.unsaved and since(draft.observed.now, current.saved_at) >= rollout.SAVE_SECONDS


def _tell_weight(draft: Draft, number: int, after: RolloutStatus) -> None:
    weight = 0 if after.withheld else after.weight
    draft.set_version(number, message=f"canary at {weight} %")
    reason = "CanaryWithheld" if after.withheld else "CanaryStep"
    draft.event("Warning" if after.withheld else "Normal", reason, f"v{number} gets {weight} % of the requests", number)
