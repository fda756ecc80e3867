"""How a model stands, on one screen: worked out from its status and its versions' alone.

`perennial.cli.explanation` tells why one version is what it is, with all of its numbers; here the numbers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from perennial.api.v1alpha1 import RequestRecord
from perennial.api.version import StepRecord
from perennial.cli.asking import Model, Version
from perennial.cli.exits import of_version
from perennial.cli.explanation import Section, because, decided, stands
from perennial.cli.frame import is_trouble, stage, training
from perennial.cli.screen import age, second, span
from perennial.core import lineage, requests
from perennial.core.accelerator import CPU, NO_FAILURE
from perennial.core.inputs import moment, since

SHOWN = 8
"""Newest requests and newest decisions."""


def described(model: Model, version: Version | None, now: datetime) -> list[Section]:
    """All sections that have something to say; `version` is the one whose steps and gates are shown."""
    found = [
        Section(
            f"{model.name}: {model.status.summary or 'not seen by the operator yet'}",
            [f"namespace {model.namespace}", *_not_ready(model)],
        ),
        Section("What serves", list(_serves(model, now))),
        Section("What is under way", list(_under_way(model, now)) or ["nothing"]),
        Section("What begins a retrain by itself", list(retrains(model))),
        _conditions(model, now),
        *(_of_version(model, version, now) if version else ()),
        Section("What people asked for", list(_asked(model))),
        Section("What was decided", list(_decided(model))),
    ]
    return [one for one in found if one.lines or one.rows]


def _not_ready(model: Model) -> Iterator[str]:
    """Why what serves is not reached; where nothing serves, that is told as what serves."""
    for one in model.status.conditions:
        if model.status.stable is not None and (one.type, one.status) == ("Ready", "False"):
            yield f"not Ready, {one.reason}: {one.message}"


def _serves(model: Model, now: datetime) -> Iterator[str]:
    status = model.status
    stable = model.version(status.stable)
    if stable is None:
        ready = next((one for one in status.conditions if one.type == "Ready"), None)
        yield f"no version serves{f': {ready.message}' if ready else ''}"
        return
    when = stable.status.served_at
    yield f"v{stable.number}{f' since {second(when)} ({age(when, now)})' if when else ''}: {stable.status.message}"
    shares = [one for one in status.weights if one.weight]
    if len(shares) > 1:
        yield "requests: " + ", ".join(f"v{one.version} {one.weight} %" for one in shares)
    if status.address:
        yield f"at {status.address}"


def _under_way(model: Model, now: datetime) -> Iterator[str]:
    """What goes on, what it waits for, and what a person can do."""
    status = model.status
    if status.returning is not None:
        yield f"v{status.returning.version} comes back ({status.returning.reason}) since {_ago(status.returning.since, now)}"
    if status.rollout is not None:
        yield stage(model, status.rollout, now)
    yield from _trained_again(model, now)
    candidate = model.version(status.candidate)
    if candidate is not None:
        yield f"v{candidate.number} is {candidate.status.state}: {candidate.status.message}"
        yield from filter(None, [training(model, now)])
        held = of_version(model.spec, status, candidate.number, candidate.status)
        if held is not None:
            yield held.words
    for one in status.conditions:
        if (
            one.type in ("Reconciling", "Stalled")
            and one.status == "True"
            and one.reason != (candidate and candidate.status.state)
        ):
            yield f"{one.type}, {one.reason}: {one.message.removeprefix(f'{one.reason}: ')}"
    for request in requests.found(model.manifest["metadata"].get("annotations") or {}):
        yield f"the request {request.key}={request.value!r} waits for the operator"


def _trained_again(model: Model, now: datetime) -> Iterator[str]:
    again = model.status.reproducing
    if again is not None:
        waits = f"; it has not begun: {again.waits}" if again.waits else ""
        yield f"v{again.version} is trained again, to compare; asked for {_ago(again.since, now)}{waits}"


def retrains(model: Model) -> Iterator[str]:
    """What is due next, what was seen of the data, what holds a retrain back."""
    wish, status = model.spec.triggers, model.status.triggers
    if status is None:
        return
    if wish.schedule is not None and status.schedule is not None:
        coming = f"next at {second(status.schedule.next)}" if status.schedule.next else "at no time: see the condition Accepted"
        yield f'the schedule "{wish.schedule.cron}" ({wish.schedule.time_zone}): {coming}'
    if wish.new_data is not None:
        data = status.data
        seen = f"{data.objects:,} files, as they are since {second(data.changed_at)}" if data and data.changed_at else "not yet"
        yield f"new data, looked for every {wish.new_data.interval}: {seen}"
    for one in model.status.conditions:
        if one.type == "RetrainDue":
            yield f"due: {one.message}"
    if status.failures:
        said = ", ".join(f"v{number}" for number in status.failures[-5:])
        most = model.spec.limits.stop_after_failures
        yield f"attempts in a row that did not improve: {len(status.failures)} of {most} (the last: {said})"


def _conditions(model: Model, now: datetime) -> Section:
    """Those that are trouble first."""
    ordered = sorted(model.status.conditions, key=lambda one: (not is_trouble(one), one.type))
    rows = [[f"{one.type}={one.status}", one.reason, age(one.last_transition_time, now), one.message] for one in ordered]
    return Section("Conditions", [], ("CONDITION", "REASON", "SINCE", "MESSAGE"), rows, ordered)


def _of_version(model: Model, version: Version, now: datetime) -> Iterator[Section]:
    status, classes = version.status, lineage.classes_words(version.status)
    made = version.manifest["metadata"].get("creationTimestamp")
    yield Section(
        f"v{version.number}: {status.state}",
        [
            *([status.message] if status.message else []),
            f"made {_ago(made, now)}, {because(version)}",
            *([f"it tells apart {classes}"] if classes else []),
            *stands(model, version),
        ],
        ("STEP", "ATTEMPT", "STATE", "BEGAN", "TOOK", "WHY"),
        [_step(record, now) for record in status.steps],
        status.steps,
    )
    yield Section(f"Gates of v{version.number}", [f"{gate.verdict}: {gate.message}" for gate in status.gates])
    rollout = model.status.rollout
    is_shadow = rollout is not None and rollout.candidate == version.number and rollout.phase == "Shadow"
    found = status.shadow_evidence if is_shadow else status.evidence
    lines = [f"{one.name}: {one.message or 'nothing was counted'}" for one in found]
    yield Section(f"{'Shadow' if is_shadow else 'Rollout'} of v{version.number}", lines)


def _step(record: StepRecord, now: datetime) -> list[str]:
    end = moment(record.finished_at) if record.finished_at else now
    took = span((end - moment(record.started_at)).total_seconds()) if record.started_at else "-"
    words = ": ".join(part for part in (record.reason, record.message) if part)
    of_a_person = record.forgiven and record.reason not in NO_FAILURE
    why = f"{words}{' (not counted any more: a person asked for another try)' if of_a_person else ''}"
    device = f" ({record.device})" if record.device not in ("", CPU) else ""
    return [f"{record.step}{device}", str(record.attempt), record.state, second(record.started_at), took, why or "-"]


def _asked(model: Model) -> Iterator[str]:
    found = model.status.requests
    if len(found) > SHOWN:
        yield f"the last {SHOWN} of {len(found)} that are remembered: kubectl perennial history {model.name} -n {model.namespace}"
    yield from map(_request, found[-SHOWN:])


def _decided(model: Model) -> Iterator[str]:
    ledger = model.status.ledger
    shown = ledger.entries[-SHOWN:]
    if ledger.length > len(shown):
        every = f"kubectl perennial history {model.name} -n {model.namespace} --all"
        yield f"the last {len(shown)} of {ledger.length:,}: {every}"
    yield from (decided(one, of=True) for one in shown)


def _request(record: RequestRecord) -> str:
    asked = f"{record.verb} {record.argument}".rstrip()
    return f"{second(record.handled_at)} {asked} (by {record.requested_by}): {record.outcome}"


def _ago(stamp: str | None, now: datetime) -> str:
    return f"{span(since(now, stamp))} ago" if stamp else "at an unknown time"
