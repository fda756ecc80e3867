"""`spec.limits`: how often retrains begin by themselves, and when none does any more because they do not help.

A version that a trigger, the spec or a person began is noted as a start. A retrain that would begin too soon waits; nothing here
holds back a changed spec or a person's request. Attempts that did not improve are counted in a row: those that were rejected,
failed or were taken back. One that serves, and is not watched any more, ends the row. Used by `perennial.core.triggers`.
"""

from __future__ import annotations

from datetime import timedelta

from perennial.api.base import seconds
from perennial.api.triggers import MOST_FAILURES, MOST_STARTS, Start, TriggersStatus
from perennial.core import watch
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import moment, since, stamp
from perennial.core.observed import Version
from perennial.core.sameness import ended_as_same, is_automatic

DAY_SECONDS = 86_400.0
STOPPED = "RetrainingStopped"
"""The condition, and the event of its beginning."""
NOT_IMPROVED = ("Failed", "Rejected", "RolledBack")
"""States of an attempt that did not improve. One that was superseded or ended by a person, or that trained the model that serves
already, says nothing."""


def begun(draft: Draft, status: TriggersStatus, version: Version) -> TriggersStatus:
    """A version began: it is noted, and another spec forgives what came before."""
    start = Start(version=version.number, at=stamp(draft.observed.now), automatic=is_automatic(version))
    starts = [one for one in status.starts if one.version != version.number]
    kept = status.model_copy(update={"starts": _newest([*starts, start])})
    return forgiven(kept, version.number - 1) if version.spec.trigger.reason in ("Created", "SpecChanged") else kept


def _newest(starts: list[Start]) -> list[Start]:
    """As many as the status holds. One of a person or of the spec is forgotten before one of a trigger: only those are counted,
    and only the newest of all begins a cooldown."""
    others = [one.version for one in starts[:-1] if not one.automatic]
    too_many = set(others[: max(0, len(starts) - MOST_STARTS)])
    return [one for one in starts if one.version not in too_many][-MOST_STARTS:]


def forgiven(status: TriggersStatus, number: int) -> TriggersStatus:
    """What came up to this version is counted no more."""
    after = max(status.counted_after, number)
    failures = [one for one in status.failures if one > after]
    return status.model_copy(update={"counted_after": after, "failures": failures, "stopped_at": None})


def forgive(draft: Draft, why: str) -> bool:
    """Retrains begin by themselves again, if they had stopped; whether they had."""
    status = draft.status.triggers
    if status is None or status.stopped_at is None:
        return False
    draft.set(triggers=forgiven(status, max(status.failures, default=0)))
    draft.event("Normal", "RetrainingResumed", f"retrains begin by themselves again: {why}")
    return True


def cooling(draft: Draft) -> tuple[str, float]:
    """(until when `cooldown` holds a retrain back, and the seconds that are left of it); empty when it does not."""
    wish, starts = draft.observed.spec.limits.cooldown, draft.status.triggers.starts if draft.status.triggers else []
    if wish is None or not starts:
        return "", 0.0
    newest = starts[-1]
    waited, length = since(draft.observed.now, newest.at), seconds(wish)
    if not 0.0 <= waited < length:
        return "", 0.0
    ends = stamp(moment(newest.at) + timedelta(seconds=length))
    return f"limits.cooldown {wish} since v{newest.version} began at {newest.at} is over at {ends}", length - waited


def spent(draft: Draft) -> tuple[str, float]:
    """(until when `runsPerDay` holds a retrain back, and the seconds that are left of it); empty when it does not."""
    wish, status = draft.observed.spec.limits.runs_per_day, draft.status.triggers
    now = draft.observed.now
    runs = [one for one in (status.starts if status else ()) if one.automatic and 0.0 <= since(now, one.at) < DAY_SECONDS]
    if wish is None or len(runs) < wish:
        return "", 0.0
    first = runs[-wish]
    ends = stamp(moment(first.at) + timedelta(seconds=DAY_SECONDS))
    words = f"{len(runs)} retrains began by themselves within 24 hours, limits.runsPerDay allows {wish}: the next may at {ends}"
    return words, DAY_SECONDS - since(now, first.at)


def settle(draft: Draft) -> None:
    """Counts the attempts that did not improve, and stops the triggers when there are too many in a row."""
    status = draft.status.triggers
    if status is None:
        return
    idle = {number for number, version in draft.versions.items() if ended_as_same(version)}
    trained = [one for one in status.starts if one.version not in idle]
    status = _counted(draft, status.model_copy(update={"starts": trained}))
    most = draft.observed.spec.limits.stop_after_failures
    if status.stopped_at is None and len(status.failures) >= most:
        status = status.model_copy(update={"stopped_at": stamp(draft.observed.now)})
        draft.event("Warning", STOPPED, why_stopped(draft, status), status.failures[-1])
    elif status.stopped_at is not None and len(status.failures) < most:
        status = status.model_copy(update={"stopped_at": None})
        draft.event("Normal", "RetrainingResumed", "retrains begin by themselves again: an attempt improved, or more may fail")
    draft.set(triggers=status)


def tell(draft: Draft) -> None:
    """A condition while triggers are stopped."""
    if words := why_stopped(draft, draft.status.triggers):
        draft.find(STOPPED, True, "StopAfterFailures", words)


def why_stopped(draft: Draft, status: TriggersStatus | None) -> str:
    """That nothing is retrained by itself, and what changes that; empty while triggers work."""
    if status is None or status.stopped_at is None:
        return ""
    said = ", ".join(f"v{number}" for number in status.failures[-5:])
    count = len(status.failures)
    return (
        f"{count} attempt{'s' if count > 1 else ''} in a row did not improve (the last: {said}), and limits.stopAfterFailures is "
        f"{draft.observed.spec.limits.stop_after_failures}: nothing is retrained by itself until the data or the spec changes, "
        "or a person types perennial.dev/resume"
    )


def _counted(draft: Draft, status: TriggersStatus) -> TriggersStatus:
    """The row of attempts that did not improve, after the newest that did."""
    watched = watch.under_way(draft)
    good = watched.stable if watched is not None else draft.status.stable or 0
    after = max(status.counted_after, good)
    states = {number: version.status.state for number, version in draft.versions.items()}
    bad = {number for number, state in states.items() if state in NOT_IMPROVED}
    known = {one for one in status.failures if one not in states or states[one] not in FINAL}  # deleted, or being tried again
    failures = sorted(number for number in known | bad if number > after)
    return status.model_copy(update={"counted_after": after, "failures": failures[-MOST_FAILURES:]})
