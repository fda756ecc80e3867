"""`spec.triggers` and `spec.limits`: when a retrain begins by itself, and how often at most; and `status.triggers`.

`perennial.core.triggers` decides, with `schedule`, `polling` and `limits` beside it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Digest, Duration, SpecModel, StatusModel, Text, Timestamp, cel, rules

CRON_PATTERN = "^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$"
ZONE_PATTERN = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
MOST_RUNS = 100
MOST_STARTS = MOST_RUNS + 1
"""So many runs as a day can have, and the newest start, which the cooldown goes by, whoever began it."""
MOST_FAILURES = 100

AutomaticReason = Literal["Schedule", "NewData"]
"""Why a retrain begins by itself."""


class Schedule(SpecModel):
    """Retrain by the calendar."""

    cron: Annotated[
        str,
        Field(
            pattern=CRON_PATTERN,
            max_length=100,
            examples=["0 3 * * *"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{CRON_PATTERN}')",
                    "triggers.schedule.cron needs five fields: minute hour day-of-month month day-of-week, e.g. 0 3 * * *",
                    '\'triggers.schedule.cron is "%s": it needs five fields, minute hour day-of-month month day-of-week, '
                    "e.g. 0 3 * * * for every day at three'.format([self])",
                )
            ),
        ),
    ]
    """Minute, hour, day of the month, month, day of the week, as Debian's cron reads them: 0 3 * * * is every day at three,
    0 6 * * MON every Monday at six, 0 0 L * * the last day of every month."""
    time_zone: Annotated[
        str,
        Field(
            pattern=ZONE_PATTERN,
            max_length=64,
            examples=["Europe/Berlin"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{ZONE_PATTERN}')",
                    "triggers.schedule.timeZone must be the name of a time zone, e.g. UTC or Europe/Berlin",
                    "'triggers.schedule.timeZone is \"%s\": it must be the name of a time zone, e.g. UTC or Europe/Berlin'"
                    ".format([self])",
                )
            ),
        ),
    ] = "UTC"
    """IANA name of the time zone in which `cron` is read. A time that is left out when clocks go forward is made up for right
    after the gap; one that comes twice when they go back is taken once."""


class NewData(SpecModel):
    """Retrain when there is other data behind data.source than the newest version was made of; {} with the default below."""

    interval: Annotated[
        Duration,
        Field(
            json_schema_extra=rules(
                cel(
                    "duration(self) >= duration('10s')",
                    "triggers.newData.interval must be at least 10s",
                    "'triggers.newData.interval is %s: each look takes a small Job; take at least 10s'.format([self])",
                )
            )
        ),
    ] = "5m"
    """How often the names, sizes and ETags of the files are looked at, by a small Job; at least 10s."""


class Triggers(SpecModel):
    """What begins a retrain, besides a changed spec and a person; one version is made for all that is due."""

    schedule: Schedule | None = None
    new_data: NewData | None = None


class Limits(SpecModel):
    """How often retrains begin by themselves. A changed spec and a person's request are never held back."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.cooldown) || !has(self.runsPerDay) || self.runsPerDay < 2"
                " || duration(self.cooldown) < duration('24h')",
                "limits contradict each other: a cooldown of a day or more and several runsPerDay; remove one or lower the first",
                "'limits.cooldown %s lets at most one retrain begin in a day, limits.runsPerDay asks for up to %d: remove one of"
                " them, or take a cooldown under 24h'.format([self.cooldown, self.runsPerDay])",
            )
        )
    )

    cooldown: Duration | None = None
    """Between the beginning of the newest version, whatever began it, and a retrain that begins by itself."""
    runs_per_day: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    """Retrains that begin by themselves within 24 hours, at most."""
    stop_after_failures: Annotated[int, Field(ge=1, le=MOST_FAILURES)] = 3
    """So many attempts in a row that did not improve (rejected, failed, rolled back), and none begins by itself any more until
    the data or the spec changes or a person types resume."""


class ScheduleStatus(StatusModel):
    """The calendar, as it was read last."""

    cron: Annotated[str, Field(max_length=100)]
    time_zone: Annotated[str, Field(max_length=64)]
    next: Timestamp | None = None
    """When a retrain is due next; a time that has passed: it is due, and waits. Null where the schedule names no time."""
    last: Timestamp | None = None
    """The newest time that was due and taken up by a version."""


class PollProblem(StatusModel):
    """The data source could not be looked at, and is tried again."""

    since: Timestamp
    """When that began."""
    tries: int = 1
    """Looks that have failed since."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, in a word."""
    message: Text = ""
    """Why, in its own words."""
    source: Digest = ""
    """Digest of the source and the Secret's name that it was looked at with; others are looked at without delay."""


class DataStatus(StatusModel):
    """What is known of the files behind data.source."""

    polls: int = 0
    """Looks that were recorded; the next Job is named after it."""
    polled_at: Timestamp | None = None
    """When the last one was."""
    job: Annotated[str, Field(max_length=64)] = ""
    """UID of its Job."""
    listing: Digest = ""
    """Digest of names, sizes and ETags as the last look found them."""
    objects: int = 0
    """Files that it found."""
    bytes: int = 0
    """Their size together."""
    changed_at: Timestamp | None = None
    """When a look first found that listing."""
    taken: Digest = ""
    """The listing that the newest version was begun with: another one is new data."""
    problem: PollProblem | None = None
    """Why the source cannot be looked at; null: it can."""


class Start(StatusModel):
    """A version that began."""

    version: int
    at: Timestamp
    automatic: bool = False
    """By a trigger, not by the spec or a person."""


class TriggersStatus(StatusModel):
    """Where the triggers stand."""

    schedule: ScheduleStatus | None = None
    data: DataStatus | None = None
    starts: Annotated[list[Start], Field(max_length=MOST_STARTS)] = []
    """The newest versions that began, and of older ones rather those of triggers, which runsPerDay counts; those that ended as
    SameInputs are left out, for they trained nothing."""
    failures: Annotated[list[int], Field(max_length=MOST_FAILURES)] = []
    """Versions that did not improve, in a row."""
    counted_after: int = 0
    """Up to this version none is counted: it improved, or what came before it was forgiven."""
    stopped_at: Timestamp | None = None
    """When limits.stopAfterFailures was reached; null: retrains begin by themselves."""
