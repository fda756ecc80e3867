"""From the pods' cumulative counters to blocks: what each arm answered since the last look that counted.

`adapters` reads `PodCounters`, `rollout` keeps the last reading in status (`to_readings`, `from_readings`), `look` takes the
differences pod by pod, and a metric makes its `Block` of them (`errors`, `slow`), which goes to `eprocess.advance`.

- A look needs every pod of both arms. What could not be read is not lost: the next look that works covers it too.
- The first reading of a rollout is the baseline, and so is the first of a pod that is older than the rollout (it was not ready
  at the time): what it counted before is another time's. A younger pod started later, so all that it counted is new.
- A pod that is not there (unready, draining, gone) adds nothing and keeps its last reading: what it had answered stays counted,
  once.
- Counters that fell, or a container restart, mean a new process that counts from zero. What its predecessor had under way was
  never answered:
  those requests count as bad.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from perennial.api.rollout_status import PodReading
from perennial.core.analysis.eprocess import Block
from perennial.core.observed import PodCounters


@dataclass(frozen=True, slots=True)
class Increments:
    """What one arm's pods counted since the last look."""

    total: int = 0
    bad: int = 0
    timed: int = 0
    buckets: tuple[int, ...] = ()
    """Timed requests at or under each latency bound."""
    scores: tuple[int, ...] = ()
    """Scores answered, by bin."""
    lost: int = 0
    """Requests that were under way in a process that ended; counted in `total` and `bad` already."""


@dataclass(frozen=True, slots=True)
class Look:
    """The differences of both arms, and the readings that the next look starts from."""

    candidate: Increments
    stable: Increments
    readings: tuple[PodCounters, ...]


def look(
    previous: Collection[PodCounters] | None,
    current: Collection[PodCounters] | None,
    *,
    candidate: int,
    stable: int,
    existing: Collection[str] | None = None,
    older: Collection[str] = (),
) -> Look | None:
    """Both arms' differences since `previous`; None when not every pod was read (`current` is None).

    `previous` is None at the first look of a rollout. `candidate` and `stable` are version numbers; pods of others are left
    out. `existing` are the UIDs of all pods that are still there, ready or not; the readings of others are dropped (all are
    kept when it is not given); `older` are those of pods that were made before the rollout began.
    """
    if current is None:
        return None
    arms = (candidate, stable)
    now = [pod for pod in current if pod.version in arms]
    if previous is None:
        return Look(Increments(), Increments(), _ordered(now))
    before = {pod.uid: pod for pod in previous if pod.version in arms}
    pairs = [(before.get(pod.uid, pod if pod.uid in older else None), pod) for pod in now]
    seen = {pod.uid for pod in now}
    absent = [pod for uid, pod in before.items() if uid not in seen and (existing is None or uid in existing)]
    return Look(
        _sum(_difference(old, new) for old, new in pairs if new.version == candidate),
        _sum(_difference(old, new) for old, new in pairs if new.version == stable),
        _ordered([*(_kept(old, new) for old, new in pairs), *absent]),
    )


def broken_off(look: Look) -> Look:
    """What is left to count of a look during which the weight was changed: requests that a crash of the candidate broke off.

    The answers of such a time say nothing (the arms did not share it), but a request that was never answered is a bad one,
    beside what stable answered meanwhile.
    """
    lost = look.candidate.lost
    candidate = Increments(total=lost, bad=lost, lost=lost)
    return Look(candidate, look.stable if lost else Increments(), look.readings)


def errors(look: Look) -> Block:
    """The block of an errors metric: every answer counts."""
    return Block(look.candidate.total, look.candidate.bad, look.stable.total, look.stable.bad)


def slow(look: Look, bound: int) -> Block:
    """The block of a latency metric: timed answers, bad when slower than bucket `bound` of contract.LATENCY_BOUNDS_MS."""
    return Block(look.candidate.timed, _slower(look.candidate, bound), look.stable.timed, _slower(look.stable, bound))


def to_readings(counters: Iterable[PodCounters]) -> list[PodReading]:
    """The readings as the status holds them."""
    return [
        PodReading(
            uid=pod.uid,
            version=pod.version,
            total=pod.total,
            bad=pod.bad,
            timed=pod.timed,
            buckets=list(pod.buckets),
            scores=list(pod.scores),
            in_flight=pod.in_flight,
            restarts=pod.restarts,
        )
        for pod in counters
    ]


def from_readings(readings: Iterable[PodReading]) -> tuple[PodCounters, ...]:
    """The readings of a status."""
    return tuple(
        PodCounters(
            uid=pod.uid,
            version=pod.version,
            total=pod.total,
            bad=pod.bad,
            timed=pod.timed,
            buckets=tuple(pod.buckets),
            scores=tuple(pod.scores),
            in_flight=pod.in_flight,
            restarts=pod.restarts,
        )
        for pod in readings
    )


def _difference(old: PodCounters | None, new: PodCounters) -> Increments:
    if old is None:
        return Increments(new.total, min(new.bad, new.total), new.timed, new.buckets, new.scores)
    if _is_new_process(old, new):
        lost = max(0, old.in_flight)
        return Increments(
            total=new.total + lost,
            bad=min(new.bad, new.total) + lost,
            timed=new.timed,
            buckets=new.buckets,
            scores=new.scores,
            lost=lost,
        )
    total = new.total - old.total
    return Increments(
        total=total,
        bad=min(new.bad - old.bad, total),
        timed=new.timed - old.timed,
        buckets=tuple(after - before for before, after in _paired(old.buckets, new.buckets)),
        scores=tuple(max(0, after - before) for before, after in _paired(old.scores, new.scores)),
    )


def _is_new_process(old: PodCounters, new: PodCounters) -> bool:
    fell = new.total < old.total or new.bad < old.bad or new.timed < old.timed
    return fell or new.restarts > old.restarts or any(now < then for then, now in _paired(old.buckets, new.buckets))


def _kept(old: PodCounters | None, new: PodCounters) -> PodCounters:
    """The reading to go on from. Counters can tell of a restart before the status does; anticipated, it counts once."""
    if old is None:
        return new
    anticipated = old.restarts + 1 if _is_new_process(old, new) else old.restarts
    return replace(new, restarts=max(new.restarts, anticipated))


def _paired(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int]]:
    """Buckets side by side; a reading without buckets had counted nothing yet."""
    return list(zip(old + (0,) * (len(new) - len(old)), new, strict=False))


def _sum(parts: Iterable[Increments]) -> Increments:
    result = Increments()
    for part in parts:
        result = Increments(
            result.total + part.total,
            result.bad + part.bad,
            result.timed + part.timed,
            tuple(a + b for a, b in _paired(result.buckets, part.buckets)) or result.buckets,
            tuple(a + b for a, b in _paired(result.scores, part.scores)) or result.scores,
            result.lost + part.lost,
        )
    return result


def _slower(arm: Increments, bound: int) -> int:
    in_time = arm.buckets[bound] if arm.buckets else arm.timed
    return min(max(0, arm.timed - in_time), arm.timed)


def _ordered(pods: Iterable[PodCounters]) -> tuple[PodCounters, ...]:
    """By UID, so that the same readings are the same status."""
    return tuple(sorted(pods, key=lambda pod: pod.uid))
