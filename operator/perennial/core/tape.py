"""The format of a recording (`perennial.api.recording`): flags and counts of a pass, lines to be kept, and a file read back.

`recording` makes one while a rollout is measured; `replay` lets one happen again. Reading trusts nothing: a file is refused in
words that name the line.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from perennial.api.recording import FORMAT, FORMAT_VERSION, MOST_PASSES, Header, Note, Outcome, Place, Terms
from perennial.api.rollout import Rollout
from perennial.api.rollout_status import MetricRuns, RolloutStatus

LARGEST_FILE = 1024 * 1024
LARGEST_TEXT = 32 * 1024 * 1024
"""Bytes once unpacked: a few bytes of gzip can stand for gigabytes."""
LONGEST_LINE = 256 * 1024
DEEPEST = 24
MOST_LINES = 4 * MOST_PASSES
MOST_BAD = 1_000_000
"""Bad or slow answers in one pass."""
MOST_WORK = 2_000_000
"""Sum over the passes of the root of their bad and slow answers: a pass costs that many terms of a sum."""
MOST_COUNTED = 10**12
PART = 512
"""Lines in one member of the gzip file."""
LONGEST_PAUSE = 400 * 86_400 * 10**6
"""Microseconds between two passes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Seen(IntFlag):
    """What a pass found besides numbers."""

    CANDIDATE_READY = 1
    CANDIDATE_OF_AGE = 2
    """Ready for as long as a pod has to be before it gets requests."""
    STABLE_READY = 4
    STABLE_OF_AGE = 8
    READ = 16
    """Every pod of both arms was read."""
    STEADY = 32
    REACHED = 64
    """As `routers.Carried` has it."""
    WAITS = 128
    """Something outside the rollout keeps its weight from rising."""
    PAUSED = 256
    MOVED = 512
    """Readings differ from those kept before."""
    ROUTER = 1024
    """The HTTPRoute, or the Service, is there."""
    ACCEPTED = 2048
    UNSEEN = 4096
    MIRRORED = 8192
    NO_MIRROR = 16384
    """The Gateways cannot mirror."""


MOST_FLAGS = 2 * Seen.NO_MIRROR - 1


@dataclass(frozen=True, slots=True)
class Counts:
    """Answers of both arms since the readings that were kept before."""

    candidate_total: int
    candidate_bad: int
    candidate_timed: int
    candidate_lost: int
    """Of them, under way in a process that ended; they are part of total and bad."""
    stable_total: int
    stable_bad: int
    stable_timed: int
    slow: tuple[tuple[int, int], ...] = ()
    """Slow ones of the candidate and of stable, by the bounds of the metrics that were in force."""

    def numbers(self) -> list[int]:
        """As a line has them."""
        arms = [self.candidate_total, self.candidate_bad, self.candidate_timed, self.candidate_lost]
        return [*arms, self.stable_total, self.stable_bad, self.stable_timed, *(n for pair in self.slow for n in pair)]

    def problem(self) -> str:
        """What cannot be; empty: nothing."""
        if max(self.numbers()) > MOST_COUNTED:
            return f"more than {MOST_COUNTED:,} answers in one pass"
        lost = min(self.candidate_bad, self.candidate_total)
        fits = self.candidate_bad <= self.candidate_total and self.stable_bad <= self.stable_total and self.candidate_lost <= lost
        slow = all(c <= self.candidate_timed and s <= self.stable_timed for c, s in self.slow)
        if not fits or not slow:
            return "bad, slow or lost answers are more than the answers they are part of"
        if self.costly > MOST_BAD:
            return f"more than {MOST_BAD:,} bad or slow answers in one pass"
        return ""

    @property
    def costly(self) -> int:
        """Bad and slow answers, of both arms."""
        return self.candidate_bad + self.stable_bad + sum(c + s for c, s in self.slow)

    @property
    def work(self) -> int:
        """What they cost of MOST_WORK."""
        return math.isqrt(self.costly)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass as it was recorded."""

    at: datetime
    seen: Seen
    place: Place
    terms: Terms
    counts: Counts | None = None
    """None: no answers were counted in it."""
    crashes: tuple[int, int] = (0, 0)
    readings: dict[str, list[int] | str] = field(default_factory=dict)
    runs: tuple[MetricRuns, ...] | None = None
    scores: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    promoted: bool = False
    """Before it a person promoted the candidate: it is in its watch."""


@dataclass(frozen=True, slots=True)
class Tape:
    """A recording, read."""

    header: Header
    passes: tuple[Pass, ...]
    outcomes: tuple[tuple[int, Outcome], ...]
    """With the number of the pass that came to each, from 0; that of a pass after the last where it was not recorded."""
    truncated: bool = False

    @property
    def began(self) -> datetime:
        """When the rollout, or what is recorded of it, began."""
        return from_microseconds(self.header.began)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording while it is made: lines that are packed, and those that are not yet."""

    version: int
    at: datetime
    """Of the last pass."""
    lines: tuple[str, ...]
    terms: Terms
    parts: tuple[bytes, ...] = ()
    passes: int = 0
    work: int = 0
    """Of MOST_WORK, so far."""
    place: Place | None = None
    readings: dict[str, list[int] | str] = field(default_factory=dict)
    last: RolloutStatus | None = None
    """The rollout as the last pass left it; another one is another story."""
    decided: bool = False
    """It has an outcome after which nothing comes."""
    over: bool = False
    truncated: bool = False

    @property
    def size(self) -> int:
        """Bytes that are packed."""
        return sum(map(len, self.parts))

    def data(self) -> bytes:
        """The file."""
        return b"".join((*self.parts, *((packed(self.lines),) if self.lines else ())))


class Unreadable(Exception):
    """No recording, or none that this release can read; the message says what was found and what to do."""


def line(value: Any) -> str:
    """One line of the file."""
    return json.dumps(value, separators=(",", ":"))


def packed(lines: Sequence[str]) -> bytes:
    """Lines as a member of the gzip file; the same lines are the same bytes."""
    return gzip.compress(("\n".join(lines) + "\n").encode(), 6, mtime=0)


def microseconds(at: datetime) -> int:
    """Since 1970, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(count: int) -> datetime:
    """The time so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=count)


def bounds(rollout: Rollout) -> tuple[str, ...]:
    """The latency bounds whose slow answers a pass counts, in the order in which it has them."""
    found = {metric.latency.slower_than for metric in rollout.metrics if metric.latency is not None}
    return tuple(sorted(found, key=lambda bound: int(bound.removesuffix("ms"))))


def read(data: bytes) -> Tape:
    """A recording from the bytes of its file, gzip'd or plain. Raises Unreadable."""
    lines = _lines(_text(data))
    header = _header(next(lines, ""))
    reader = _Reader(header)
    for number, text in enumerate(lines, start=2):
        if number > MOST_LINES:
            raise Unreadable(f"it has more than {MOST_LINES:,} lines: no recording of Perennial is that long")
        try:
            reader.take(_value(text))
        except (Unreadable, ValidationError, OverflowError) as error:
            raise Unreadable(f"line {number}: {_words(error)}") from None
    return Tape(header, tuple(reader.passes), tuple(reader.outcomes), reader.truncated)


class _Reader:
    """Lines to passes."""

    def __init__(self, header: Header) -> None:
        self.passes: list[Pass] = []
        self.outcomes: list[tuple[int, Outcome]] = []
        self.truncated = False
        self._at = from_microseconds(header.began)
        self._place: Place | None = None
        self._terms = header.terms
        self._readings: dict[str, list[int] | str] = {}
        self._next = Note()
        self._work = 0

    def take(self, value: Any) -> None:
        """One line."""
        if isinstance(value, list):
            self._pass(value)
            return
        note = Note.model_validate(value)
        if note.outcome is not None:
            self.outcomes.append((max(0, len(self.passes) - (0 if self.truncated else 1)), note.outcome))
            if len(self.outcomes) > len(("promote", "watched")):
                raise Unreadable("a rollout ends once")
        self.truncated = self.truncated or note.truncated
        self._place, self._terms = note.place or self._place, note.terms or self._terms
        self._readings = note.readings if note.readings is not None else self._readings
        self._next = note

    def _pass(self, value: list[Any]) -> None:
        if any(type(number) is not int or number < 0 for number in value):
            raise Unreadable("a pass is a list of whole numbers that are not negative")
        if self._place is None:
            raise Unreadable("a pass before anything said where the rollout stood")
        if len(self.passes) >= MOST_PASSES or self.truncated:
            raise Unreadable(f"it has more passes than a recording may have ({MOST_PASSES:,})")
        wanted = 9 + 2 * len(bounds(self._terms.rollout))
        if len(value) not in (2, wanted) or value[0] > LONGEST_PAUSE or value[1] > MOST_FLAGS:
            raise Unreadable(f"a pass has 2 or, with these metrics, {wanted} numbers within their ranges")
        counts = _counts(value[2:]) if len(value) > 2 else None
        self._work += counts.work if counts else 0
        if problem := (counts.problem() if counts else "") or (self._work > MOST_WORK and "too many bad answers in all"):
            raise Unreadable(problem)
        self._at += timedelta(microseconds=value[0])
        crashes, scores = self._next.crashes or (0, 0), self._next.scores or ((), ())
        self.passes.append(
            Pass(
                self._at,
                Seen(value[1]),
                self._place,
                self._terms,
                counts,
                (crashes[0], crashes[1]),
                self._readings,
                None if self._next.runs is None else tuple(self._next.runs),
                (tuple(scores[0]), tuple(scores[1])),
                self._next.promoted,
            )
        )
        self._next = Note()


def _counts(numbers: Sequence[int]) -> Counts:
    a, b, c, d, e, f, g, *slow = numbers
    return Counts(a, b, c, d, e, f, g, tuple(pair for index, pair in enumerate(pairwise(slow)) if index % 2 == 0))


def _header(text: str) -> Header:
    try:
        value = _value(text)
    except Unreadable:
        value = None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Unreadable(f"the first line is not the head of a recording (format {FORMAT})")
    if value.get("version") != FORMAT_VERSION:
        raise Unreadable(f"its format has version {str(value.get('version'))[:20]}, and this release reads {FORMAT_VERSION}")
    try:
        header = Header.model_validate(value)
    except ValidationError as error:
        raise Unreadable(f"line 1: {_words(error)}") from None
    if problem := _cannot_start(header.start):
        raise Unreadable(f"line 1: start.{problem}")
    return header


def _cannot_start(start: RolloutStatus) -> str:
    """What no rollout can have begun with; empty: nothing."""
    if not (math.isfinite(start.planned_seconds) and start.planned_seconds >= 0.0):
        return "plannedSeconds: a time is a number that is not negative"
    for one in start.metrics:
        shares = (one.alpha, *((one.objective.alpha,) if one.objective is not None else ()))
        if not all(0.0 < share < 1.0 for share in shares):
            return f"metrics: {one.name}: alpha: a share of falseRollbackRate lies between 0 and 1"
        ratios = (one.tolerance, *((one.margin.margin,) if one.margin is not None else ()))
        if not all(math.isfinite(ratio) and ratio > 0.0 for ratio in ratios):
            return f"metrics: {one.name}: tolerance or margin: an odds ratio is more than 0"
    return ""


def _text(data: bytes) -> str:
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"it has more than {LARGEST_FILE // 1024} KiB: no recording of Perennial is that large")
    try:
        return b"".join(_unpacked(data)).decode() if data[:2] == b"\x1f\x8b" else data.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise Unreadable(f"no gzip of text: {error}") from None


def _unpacked(data: bytes) -> Iterator[bytes]:
    """Member after member, as far as there may be."""
    left = LARGEST_TEXT
    while data:
        member = zlib.decompressobj(wbits=31)
        found = member.decompress(data, left)
        left -= len(found)
        yield found
        if left <= 0:
            raise Unreadable(
                f"unpacked it has more than {LARGEST_TEXT // 1024 // 1024} MiB: no recording of Perennial is that large"
            )
        if not member.eof:
            raise Unreadable("it ends in the middle: it was not copied whole")
        data = member.unused_data


def _lines(text: str) -> Iterator[str]:
    """Lines that are not empty."""
    for one in text.split("\n"):
        if len(one) > LONGEST_LINE:
            raise Unreadable(f"a line has more than {LONGEST_LINE // 1024} KiB")
        if one.strip():
            yield one


def _value(text: str) -> Any:
    """A line's JSON. Raises Unreadable."""
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise Unreadable(f"it is nested deeper than {DEEPEST}")
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise Unreadable(f"no JSON: {str(error)[:200]}") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _depth(text: str) -> int:
    """Brackets that are open at once, at most; those in texts count too."""
    depth = deepest = 0
    for sign in text:
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])[:200]}: {first['msg'][:300]}"
    return str(error)
