"""Requests of a person, carried out. Their form, their verbs and their memory: `perennial.core.requests`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from perennial.api.base import UNATTESTED
from perennial.api.v1alpha1 import RequestRecord
from perennial.api.version import Trigger
from perennial.core import approval, arms, candidate, limits, reproducing, requests, returns, sameness, triggers, watch
from perennial.core.actions import RemoveAnnotation
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import stamp
from perennial.core.requests import Request


def carry_out(draft: Draft) -> None:
    """Every request annotation that is there: done once, recorded, and its annotation removed after the status write."""
    annotations = draft.observed.meta.annotations
    adopted = triggers.adopted_request(draft)
    draft.set(requests=requests.settle(draft.status.requests, annotations))
    for request in requests.found(annotations, draft.observed.meta.declared):
        known = requests.is_known(request, draft.status.requests)
        if known is not None:
            draft.after.append(RemoveAnnotation(request.key, request.value))
            _tell_known(draft, request, known)
            continue
        trained = adopted is not None and request.verb == "retrain"
        outcome = _being_trained(draft, adopted) if trained else _carried_out(draft, request)
        if not outcome:
            continue
        draft.after.append(RemoveAnnotation(request.key, request.value))
        _record(draft, request, outcome)


def _record(draft: Draft, request: Request, outcome: str) -> None:
    """What became of it, and who asked, in status and by an event."""
    by = requests.requested_by(draft.observed.meta.annotations, draft.observed.defaults.attested)
    asked = f" (asked for by {by})" if by != UNATTESTED else ""
    _tell(draft, request, f"{request.verb}{asked}: {outcome}", {"by": by}, refused=outcome.startswith("refused"))
    record = RequestRecord(
        verb=request.verb,
        argument=request.argument,
        id=request.id,
        requested_by=by,
        resource_version=draft.observed.meta.resource_version,
        outcome=outcome[:512],
        handled_at=stamp(draft.observed.now),
    )
    draft.set(requests=requests.remember(draft.status.requests, record))


def _tell(draft: Draft, request: Request, words: str, facts: Mapping[str, str], *, refused: bool) -> None:
    """An event, and an entry in the ledger: of the version that is made, approved, tried or trained again by it."""
    if refused:
        draft.event("Warning", "RequestRefused", words, facts=facts)
    else:
        of = draft.status.latest if request.verb in ("approve", "retry", "retrain") else None
        if request.verb == "reproduce" and draft.status.reproducing is not None:
            of = draft.status.reproducing.version
        draft.event("Normal", "Request", words, of, facts)


def _carried_out(draft: Draft, request: Request) -> str:
    if request.unknown:
        return f"refused: {request.unknown!r} is unknown; write <argument>;id=<token>, or only the argument"
    return _DO[request.verb](draft, request)


def _being_trained(draft: Draft, number: int | None) -> str:
    held = f"; it is not rolled out by itself: {candidate.HELD}" if draft.status.held else ""
    return f"v{number} is being trained{held}"


def _lift(draft: Draft, request: Request) -> str:
    """Out of quarantine: it may be trained, shipped and pinned again. What it did is not forgotten by its version."""
    number = _version_number(request.argument)
    listed = ", ".join(f"v{entry.version}" for entry in draft.status.quarantined) or "none"
    if number is None:
        return f'refused: lift wants the number of a quarantined version, such as "3"; quarantined: {listed}'
    kept = [entry for entry in draft.status.quarantined if entry.version != number]
    if len(kept) == len(draft.status.quarantined):
        return f"refused: v{number} is not quarantined; quarantined: {listed}"
    draft.set(quarantined=kept)
    return f"v{number} is out of quarantine"


def _pause(draft: Draft, request: Request) -> str:
    """Nothing begins and no weight rises; what is under way is measured on, and taken back when it does harm."""
    if draft.status.paused:
        return "it is paused already"
    draft.set(paused=True)
    return "nothing is started or promoted until a person types perennial.dev/resume"


def _resume(draft: Draft, request: Request) -> str:
    """Ends what pause and rollback-to began, and what failed attempts stopped; `spec.paused` is for the spec to end."""
    retrains = "; retrains begin by themselves again" if limits.forgive(draft, "a person typed resume") else ""
    if not draft.status.held and not draft.status.paused:
        return f"nothing is held or paused: new versions are rolled out{retrains}"
    draft.set(held=False, held_digest="", paused=False)
    still = "; spec.paused is still true" if draft.observed.spec.paused else ""
    newest = draft.status.latest
    back = returns.how_back(draft, newest) if draft.status.candidate is None else ""
    return f"new versions are rolled out again{retrains}{still}{back and f'; v{newest} does not come by itself: {back}'}"


def _retry(draft: Draft, request: Request) -> str:
    """The newest version once more, from where it ended: what it has done already is not done again."""
    number, wanted = draft.status.latest, _version_number(request.argument)
    if request.argument and wanted is None:
        return (
            f'refused: retry wants the number of the newest version, such as "{number}", or nothing; found {request.argument!r}'
        )
    if number not in draft.versions or wanted not in (None, number):
        return f"refused: only the newest version is tried again, which is v{number}"
    if paused := candidate.why_paused(draft):
        return f"refused: {paused}"
    if draft.status.candidate is not None:
        return f"refused: v{draft.status.candidate} is under way"
    state = draft.state(number)
    if state not in ("Failed", "Superseded") or sameness.ended_as_same(draft.versions[number]):
        return f"refused: v{number} is {state}; {_instead(draft, number)}"
    approval.ask_again(draft, number)
    draft.set(candidate=number, ended=0)  # `candidate.advance` takes up a candidate that has ended
    return f"v{number} is tried again"


def _instead(draft: Draft, number: int) -> str:
    """What helps a version that is not for another try."""
    entry = next((entry for entry in draft.status.quarantined if entry.version == number), None)
    match draft.state(number):
        case "Rejected":
            return "it was judged and refused, and would be again: change data, training or evaluation, or type retrain"
        case "RolledBack" if entry is not None and entry.reason == "Aborted":
            return f"a person aborted it, and it is quarantined: type perennial.dev/lift={number}, then retrain"
        case "RolledBack" if entry is not None:
            return (
                f"it did harm and is quarantined: if that was no fault of its own, type perennial.dev/lift={number}, then retrain"
            )
        case "RolledBack":
            return "it was taken back: type perennial.dev/retrain=<why> to have it made and judged again"
        case "Superseded":
            return "it would repeat a version that was judged already: type perennial.dev/retrain=<why> to train anyway"
        case "Retired" if back := returns.how_back(draft, number):
            return back
        case _:
            return "there is nothing to try again"


def _tell_known(draft: Draft, request: Request, known: requests.Known) -> None:
    """Nothing is done; said, and counted, unless it is what a crash left of the first time."""
    if not known.message:
        return
    draft.urgent = True
    draft.tell("Warning" if known.differs else "Normal", "RequestKnown", f"{request.verb}: {known.message}")
    again = known.record.model_copy(update={"repeats": known.record.repeats + 1, "pending": True})
    draft.set(requests=[again if record is known.record else record for record in draft.status.requests])


def _rollback_to(draft: Draft, request: Request) -> str:
    target = _version_number(request.argument) if request.argument else returns.previous(draft)
    if target is None and not request.argument:
        return "refused: there is no version before this one that served and was not taken back"
    if target is None:
        return f'refused: rollback-to wants the number of a version, such as "1", or nothing; found {request.argument!r}'
    if draft.observed.spec.pin is not None and draft.observed.spec.pin != target:
        return f"refused: spec.pin={draft.observed.spec.pin} is set; change or remove it first"
    problem = returns.why_not_servable(draft, target)
    if problem:
        return f"refused: {problem}"
    draft.set(held=True, held_digest=draft.wanted_inputs())
    if draft.status.stable == target and draft.status.rollout is None:
        draft.set(returning=None)
        return f"v{target} serves already; {candidate.HELD}"
    returns.start(draft, target, "Requested")
    return f"returning to v{target}; {candidate.HELD}"


def _retrain(draft: Draft, request: Request) -> str:
    if paused := candidate.why_paused(draft):
        return f"refused: {paused}"
    triggers.create(draft, Trigger(reason="Requested", message=f"retrain {request.argument}"[:1024]))
    return ""  # carried out when the version is there: a cluster that refuses it is asked again


def _promote(draft: Draft, request: Request) -> str:
    watched = _watched(draft, request)
    if watched is not None:
        watch.end(draft, "a person ended the watch")
        return f"the watch of v{watched} is over"
    number = draft.status.candidate
    problem = approval.why_waiting(draft) or _no_rollout(draft, request)
    if problem or number is None:
        return f"refused: {problem}"
    waiting = candidate.why_waiting(draft)
    if waiting:
        return f"refused: {waiting}"
    workload = arms.workload_of(draft.observed, number)
    if not arms.ready_pods(workload, draft.observed.now, arms.READY_SECONDS):
        return f"refused: v{number} has no pod that is ready: {arms.why_not_ready(workload)}"
    candidate.promote(draft, number, "a person asked for it; the remaining steps were left out")
    return f"v{number} is promoted"


def _watched(draft: Draft, request: Request) -> int | None:
    """The version under watch, when the request may mean it."""
    current = watch.under_way(draft)
    if current is None:
        return None
    if request.argument:
        return current.candidate if _version_number(request.argument) == current.candidate else None
    return current.candidate if draft.status.candidate is None else None


def _abort(draft: Draft, request: Request) -> str:
    watched = _watched(draft, request)
    if watched is not None:
        candidate.roll_back(draft, watched, "Aborted", "a person asked for it in its watch")
        return f"v{watched} is taken back and quarantined"
    number = draft.status.candidate
    if number is None or number not in draft.versions:
        return "refused: no candidate is under way"
    wanted = _version_number(request.argument)
    if request.argument and wanted is None:
        return f'refused: abort wants the number of the candidate, such as "{number}", or nothing; found {request.argument!r}'
    if wanted is not None and wanted != number:
        return f"refused: the candidate is v{number}, not v{wanted}"
    current = draft.status.rollout
    if current is not None and current.candidate == number:
        if not current.breach and not candidate.has_answered(draft, number):
            candidate.end(draft, number, "Aborted", "a person asked for it before it had answered a request")
            return f"v{number} is ended: it had answered no request"
        candidate.roll_back(draft, number, "Aborted", "a person asked for it")
        return f"v{number} is taken back and quarantined"
    if draft.state(number) not in FINAL:
        draft.set(candidate=None, ended=number)
        draft.finish(number, "Superseded", "Aborted: a person asked for it before its rollout began")
    return f"v{number} is ended"


def _approve(draft: Draft, request: Request) -> str:
    number = _version_number(request.argument)
    if request.argument and number is None:
        return f'refused: approve wants the number of the version that waits, such as "3", or nothing; found {request.argument!r}'
    by = requests.requested_by(draft.observed.meta.annotations, draft.observed.defaults.attested)
    return approval.approve(draft, number, by)


def _reproduce(draft: Draft, request: Request) -> str:
    if paused := candidate.why_paused(draft):
        return f"refused: {paused}"
    by = requests.requested_by(draft.observed.meta.annotations, draft.observed.defaults.attested)
    return reproducing.begin(draft, _version_number(request.argument), by)


def _no_rollout(draft: Draft, request: Request) -> str:
    number = draft.status.candidate
    if number is None or draft.status.rollout is None or draft.status.rollout.candidate != number:
        return "no rollout is under way"
    wanted = _version_number(request.argument)
    if request.argument and wanted is None:
        return f'promote wants the number of the candidate, such as "{number}", or nothing; found {request.argument!r}'
    if wanted is not None and wanted != number:
        return f"the candidate is v{number}, not v{wanted}"
    return ""


def _version_number(argument: str) -> int | None:
    digits = argument.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else None


_DO: dict[str, Callable[[Draft, Request], str]] = {
    "rollback-to": _rollback_to,
    "retrain": _retrain,
    "promote": _promote,
    "abort": _abort,
    "approve": _approve,
    "retry": _retry,
    "pause": _pause,
    "resume": _resume,
    "lift": _lift,
    "reproduce": _reproduce,
}
