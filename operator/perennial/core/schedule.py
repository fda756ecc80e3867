"""`triggers.schedule`: when a retrain is due by the calendar, and what is wrong with a calendar that names no time.

    cron and time zone -> the next time, in status -> now is past it: due -> a version takes it up -> the next time after now

However many times have passed meanwhile, while the operator was down or the model paused, one version makes up for all of them.
cronsim reads expressions as Debian's cron does, also where clocks change; zones come from the package tzdata where the system
has none. Used by `perennial.core.triggers`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from perennial.api.triggers import Schedule, ScheduleStatus, TriggersStatus
from perennial.core.draft import Draft
from perennial.core.inputs import moment, stamp

FOLD_SECONDS = 7200.0
"""More than what clocks are ever set back by in autumn, where cronsim may leave a time out."""


def settle(draft: Draft, status: TriggersStatus) -> TriggersStatus:
    """The calendar of the spec with its next time; that of a changed one is reckoned from now on, nothing is made up for."""
    wish, known = draft.observed.spec.triggers.schedule, status.schedule
    if wish is None:
        return status.model_copy(update={"schedule": None})
    same = known is not None and (known.cron, known.time_zone) == (wish.cron, wish.time_zone)
    if known is not None and same and (known.next or problem(draft)) and not _is_left_out(known, draft.observed.now):
        return status
    coming = None if problem(draft) else next_after(wish.cron, wish.time_zone, draft.observed.now)
    last = known.last if known is not None else None
    fresh = ScheduleStatus(cron=wish.cron, time_zone=wish.time_zone, next=_stamped(coming), last=last)
    return status.model_copy(update={"schedule": fresh})


def due(draft: Draft) -> str:
    """The time that a retrain was due at and nothing has taken up; empty while none is. Looks again when the next one comes."""
    known = draft.status.triggers.schedule if draft.status.triggers is not None else None
    if known is None or known.next is None:
        return ""
    left = (moment(known.next) - draft.observed.now).total_seconds()
    if left > 0:
        draft.wake(left)
        return ""
    return known.next


def words(draft: Draft, at: str) -> str:
    """Why a version is made, in a sentence."""
    wish = draft.observed.spec.triggers.schedule
    return f"the schedule {name(wish)} was due at {at}" if wish is not None else ""


def taken_up(status: TriggersStatus, now: datetime) -> TriggersStatus:
    """A version has begun: it stands for every time up to now."""
    known = status.schedule
    if known is None or known.next is None or moment(known.next) > now:
        return status
    coming = next_after(known.cron, known.time_zone, now)
    return status.model_copy(update={"schedule": known.model_copy(update={"last": known.next, "next": _stamped(coming)})})


def problem(draft: Draft) -> tuple[str, str] | None:
    """(reason, message) of a calendar that names no time: what the API server could not know to be wrong."""
    wish = draft.observed.spec.triggers.schedule
    return _problem(wish, draft.observed.now.date()) if wish is not None else None


def next_after(cron: str, zone: str, now: datetime) -> datetime | None:
    """The first time after `now`; None when none comes within fifty years, or the two cannot be read.

    In an hour that comes twice cronsim may name a time of the first one when asked in the second.
    """
    try:
        times = CronSim(cron, now.astimezone(ZoneInfo(zone)))
        return next((at.astimezone(UTC) for at in times if at > now), None)
    except (CronSimError, KeyError, ValueError, OSError, OverflowError):
        return None


def name(wish: Schedule) -> str:
    """What it is called in messages."""
    return f'"{wish.cron}" ({wish.time_zone})'


@lru_cache(maxsize=4096)
def _problem(wish: Schedule, day: date) -> tuple[str, str] | None:
    """Worked out once a day: it takes a while to see that a time never comes."""
    place = f"spec.triggers.schedule {name(wish)}"
    try:
        ZoneInfo(wish.time_zone)
    except (KeyError, ValueError, OSError):
        words = f"{place}: no time zone is called {wish.time_zone}: write its IANA name, e.g. Europe/Berlin, or UTC"
        return "TimeZoneUnknown", words
    try:
        CronSim(wish.cron, datetime(day.year, day.month, day.day))
    except CronSimError as error:
        words = f"{place}: {str(error)[:1].lower()}{str(error)[1:]}: correct the field, or give a date that there is"
        return "CronUnreadable", words
    if next_after(wish.cron, wish.time_zone, datetime(day.year, day.month, day.day, tzinfo=UTC)) is None:
        return "CronNeverDue", f"{place}: no such time comes within fifty years: correct the day, the month or the weekday"
    return None


def _is_left_out(known: ScheduleStatus, now: datetime) -> bool:
    """Whether a time comes before the one that is noted: that was reckoned by a clock that was ahead and has been set back."""
    if known.next is None or (moment(known.next) - now).total_seconds() < FOLD_SECONDS:
        return False
    coming = next_after(known.cron, known.time_zone, now)
    return coming is not None and (moment(known.next) - coming).total_seconds() > FOLD_SECONDS


def _stamped(at: datetime | None) -> str | None:
    return stamp(at) if at is not None else None
