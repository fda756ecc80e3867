"""Records a rollout while it is measured: of each pass what `replay` needs to let it happen again, to the last bit.

`candidate` says when a rollout begins (`begin`) and what each pass of it came to (`passed`); `plan` ends every pass with
`settle`, which asks for the recordings of rollouts that are over to be kept. A recording is in memory until then: nothing waits
for it, no decision looks at it, and one that an operator lost begins again where the next one takes the rollout up.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from perennial.api.recording import (
    FORMAT,
    FORMAT_VERSION,
    LARGEST_RECORDING,
    MOST_PASSES,
    Header,
    Note,
    Outcome,
    Place,
    Terms,
)
from perennial.api.rollout_status import RolloutStatus
from perennial.core import analysis, measuring, routers
from perennial.core.actions import KeepRecording
from perennial.core.arms import READY_SECONDS, ready_pods, workload_of
from perennial.core.draft import Draft
from perennial.core.inputs import stamp
from perennial.core.observed import MetricReading, Observed
from perennial.core.rollout import Course
from perennial.core.tape import MOST_WORK, PART, Counts, Recording, Seen, bounds, line, microseconds, packed

MOST_KEPT = 4
"""Recordings that wait to be written, of one model."""


def begin(draft: Draft, begun: RolloutStatus) -> None:
    """A rollout begins with this pass."""
    if draft.observed.defaults.recordings:
        with suppress(ValidationError):  # what the format cannot say must not stop a rollout
            _put(draft, _begun(draft, begun, complete=True))


def passed(draft: Draft, before: RolloutStatus, course: Course, *, waits: bool = False) -> None:
    """One pass of a rollout: what it saw, where the rollout stood `before`, and what it came to."""
    if not draft.observed.defaults.recordings:
        return
    with suppress(ValidationError):  # what the format cannot say must not stop a rollout
        _put(draft, _passed(draft, before, course, waits=waits))


def _passed(draft: Draft, before: RolloutStatus, course: Course, *, waits: bool) -> Recording:
    """The recording with the pass, or cut before it. Raises ValidationError where the format has no word for how it stands."""
    known = _of(draft, before.candidate)
    by_person = before.phase == "Watch" and known is not None and known.last is not None and known.last.phase != "Watch"
    if known is None or known.decided or (known.last != before and not by_person):
        known = _begun(draft, before, complete=False)
    try:
        known = _with_pass(known, draft.observed, before, course, waits=waits, promoted=by_person)
    except ValidationError:
        known = _cut(known)
    if course.outcome != "continue":
        watched = course.outcome == "promote" and draft.observed.spec.rollout.watch is not None
        known = replace(_said(known, Note(outcome=_outcome(draft, course))), decided=not watched)
    return known


def settle(draft: Draft) -> None:
    """The end of a pass: recordings go on with the rollout as it is now, or are over, and are asked to be kept."""
    if not draft.recordings:
        return
    current = draft.status.rollout
    settled = (_settled(draft, one, current) for one in draft.recordings)
    draft.recordings = tuple(one for one in settled if one.version in draft.versions)[-MOST_KEPT:]
    if current is None:  # a rollout that is measured is not to wait for a file, nor for its refusal
        draft.after.extend(KeepRecording(one.version, one.data()) for one in draft.recordings if one.over)


def _settled(draft: Draft, one: Recording, current: RolloutStatus | None) -> Recording:
    if one.over:
        return one
    goes_on = current is not None and current.candidate == one.version and not one.decided
    if goes_on:
        return replace(one, last=current)
    if not one.decided:
        version = draft.versions.get(one.version)
        words = f"v{one.version} is {version.status.state}: {version.status.message}" if version else "it is gone"
        one = _said(one, Note(outcome=Outcome(what="ended", at=stamp(draft.observed.now), message=words[:2048])))
    return replace(one, decided=True, over=True, last=None)


def _of(draft: Draft, version: int) -> Recording | None:
    """The recording that goes on."""
    return next((one for one in draft.recordings if one.version == version and not one.over), None)


def _put(draft: Draft, recording: Recording) -> None:
    others = (one for one in draft.recordings if one.over or one.version != recording.version)
    draft.recordings = (*others, recording)


def _begun(draft: Draft, rollout: RolloutStatus, *, complete: bool) -> Recording:
    observed, terms = draft.observed, _terms(draft.observed)
    identities = [
        (version.status.identity or "") if (version := draft.versions.get(number)) else ""
        for number in (rollout.candidate, rollout.stable)
    ]
    header = Header(
        format=FORMAT,
        version=FORMAT_VERSION,
        namespace=observed.meta.namespace,
        model=observed.meta.name,
        candidate=rollout.candidate,
        stable=rollout.stable,
        candidate_identity=identities[0],
        stable_identity=identities[1],
        began=microseconds(observed.now),
        complete=complete,
        start=rollout,
        terms=terms,
    )
    return Recording(rollout.candidate, observed.now, (_json(header),), terms, last=rollout)


def _with_pass(
    one: Recording, observed: Observed, before: RolloutStatus, course: Course, *, waits: bool, promoted: bool
) -> Recording:
    """The recording with one more pass, or cut before it. Raises ValidationError where the format has no room for it."""
    if one.truncated:
        return one
    if one.passes >= MOST_PASSES or one.size > LARGEST_RECORDING:
        return _cut(one)
    after, terms, place = course.rollout, _terms(observed), place_of(before)
    counted, moved = _look(observed, before, after)
    readings = _readings(observed)
    crashed = [max(0, getattr(after, name) - getattr(before, name)) for name in ("crashes_candidate", "crashes_stable")]
    note = Note(
        place=place if place != one.place else None,
        terms=terms if terms != one.terms else None,
        crashes=crashed if any(crashed) else None,
        readings=readings if readings != one.readings else None,
        runs=after.runs if after.runs != before.runs else None,
        scores=_scores(terms, counted),
        promoted=promoted,
    )
    counts = None if counted is None else _counts(terms, counted)
    work = one.work + (counts.work if counts else 0)
    if counts and (counts.problem() or work > MOST_WORK):
        return _cut(one)  # nobody would read it
    if note != Note():
        one = _said(one, note)
    now = max(one.at, observed.now)
    passed_since = microseconds(now) - microseconds(one.at)
    one = _added(
        one, line([passed_since, int(_seen(observed, before, waits=waits, moved=moved)), *(counts.numbers() if counts else ())])
    )
    return replace(one, at=now, passes=one.passes + 1, work=work, terms=terms, place=place, readings=readings)


def _cut(one: Recording) -> Recording:
    return replace(_said(one, Note(truncated=True)), truncated=True)


def place_of(rollout: RolloutStatus) -> Place:
    """Where a rollout stands."""
    weight = dict(measuring.weights(rollout))[rollout.candidate]
    return Place(phase=rollout.phase, step=rollout.step, weight=weight)


def _terms(observed: Observed) -> Terms:
    spec = observed.spec
    return Terms(
        rollout=spec.rollout,
        by="connections" if routers.by_replicas(spec) else "requests",
        replicas=spec.serving.replicas,
        progress_deadline=spec.serving.progress_deadline,
    )


def _look(observed: Observed, before: RolloutStatus, after: RolloutStatus) -> tuple[analysis.Look | None, bool]:
    """What the pass counted, and whether the readings moved; None when they were not taken, the next pass counts them then."""
    if observed.counters is None or not measuring.is_carried(observed, before):
        return None, False
    look = measuring.seen(observed, before)
    if look is None:
        return None, False
    kept = analysis.to_readings(look.readings)
    moved = not before.measured or kept != before.pods
    taken = not moved or kept == after.pods or after.phase != before.phase
    return (look, moved) if taken else (None, False)


def _counts(terms: Terms, look: analysis.Look) -> Counts:
    slow = [analysis.slow(look, measuring.bound_index(bound)) for bound in bounds(terms.rollout)]
    candidate, stable = look.candidate, look.stable
    return Counts(
        candidate.total,
        candidate.bad,
        candidate.timed,
        candidate.lost,
        stable.total,
        stable.bad,
        stable.timed,
        tuple((block.candidate_bad, block.stable_bad) for block in slow),
    )


def _scores(terms: Terms, look: analysis.Look | None) -> list[list[int]] | None:
    """Only where they can hold a step back."""
    limited = any(one.prediction_shift and one.prediction_shift.max_distance is not None for one in terms.rollout.metrics)
    if look is None or not limited or not (look.candidate.scores or look.stable.scores):
        return None
    return [list(look.candidate.scores), list(look.stable.scores)]


def _readings(observed: Observed) -> dict[str, list[int] | str]:
    return {name: _reading(one) for name, one in observed.readings.items()}


def _reading(one: Any) -> list[int] | str:
    if isinstance(one, MetricReading):
        return [microseconds(one.at), one.candidate_good, one.candidate_total, one.stable_good, one.stable_total]
    return str(one.reason)[:128]


def _seen(observed: Observed, before: RolloutStatus, *, waits: bool, moved: bool) -> Seen:
    candidate, stable = (workload_of(observed, version) for version in (before.candidate, before.stable))
    carried = routers.carried(observed, before, dict(measuring.weights(before)))
    route = routers.live(observed)
    found = {
        Seen.CANDIDATE_READY: bool(ready_pods(candidate, observed.now)),
        Seen.CANDIDATE_OF_AGE: bool(ready_pods(candidate, observed.now, READY_SECONDS)),
        Seen.STABLE_READY: bool(ready_pods(stable, observed.now)),
        Seen.STABLE_OF_AGE: bool(ready_pods(stable, observed.now, READY_SECONDS)),
        Seen.READ: observed.counters is not None,
        Seen.STEADY: carried.steady,
        Seen.REACHED: carried.reached,
        Seen.WAITS: waits,
        Seen.PAUSED: observed.spec.paused,
        Seen.MOVED: moved,
        Seen.ROUTER: route is not None,
        Seen.ACCEPTED: route is not None and route.accepted,
        Seen.UNSEEN: route is not None and route.unseen,
        Seen.MIRRORED: route is not None and route.mirror is not None,
        Seen.NO_MIRROR: bool(observed.mirror_problem),
    }
    return Seen(sum(flag for flag, is_so in found.items() if is_so))


def _outcome(draft: Draft, course: Course) -> Outcome:
    states = course.rollout.metrics
    assert course.outcome != "continue"  # noqa: S101 - the caller's own condition
    return Outcome(
        what=course.outcome,
        at=stamp(draft.observed.now),
        reason=course.reason,
        message=course.message[:2048],
        log_e={state.name: analysis.log_e(measuring.resumed(course.rollout, state)) for state in states},
    )


def _said(one: Recording, note: Note) -> Recording:
    return _added(one, _json(note))


def _json(value: Header | Note) -> str:
    return line(value.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _added(one: Recording, text: str) -> Recording:
    """With one more line; so many of them are packed together."""
    lines = (*one.lines, text)
    if len(lines) < PART:
        return replace(one, lines=lines)
    return replace(one, parts=(*one.parts, packed(lines)), lines=())
