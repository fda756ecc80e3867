"""Metrics whose requests are counted elsewhere than in the serving pods: from a provider's readings to the same test.

    wanted (what to ask) -> the shell asks now and then -> measure (differences of readings are blocks) -> judged as every metric

A reading holds cumulative counters of both arms, all of one time. The difference of two readings at one weight is a block; it
closes when both arms have moved, because the source reads them at different times, and one arm alone compares with nothing.
After a change of weight nothing is counted for one scrape interval, because what the source shows then may be from before; the
block that spans the change is dropped. Counters that fall, or that do not fit together, drop the block too, and for two scrape
intervals nothing is compared: a series that was lost for one scrape is back by then, and what it had counted is not new.

A problem of a provider says nothing about the candidate. While there is one, or while nothing was counted at this weight, no
step passes (`perennial.core.elsewhere`); at the step's deadline that is too little data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import astuple
from datetime import datetime, timedelta

from perennial.api.base import seconds
from perennial.api.metrics import RolloutMetric
from perennial.api.rollout_status import ProvidedCounts, RolloutStatus
from perennial.core import analysis, metrics
from perennial.core.conditions import Finding
from perennial.core.inputs import moment, moved, since, stamp, version_name
from perennial.core.measuring import is_carried
from perennial.core.observed import MetricProblem, MetricQuery, MetricReading, Observed

COUNTERS = ("candidate_good", "candidate_total", "stable_good", "stable_total")
FELL, DISAGREE, TOO_MANY = "CountersFell", "CountersDisagree", "TooManyCounted"
BLIND_INTERVALS = 2.0
"""Scrape intervals after a fall of the counters in which nothing is compared."""

LARGEST_BAD = 1_000_000
"""Bad ones in a block, of both arms: more would keep the operator busy for a second, and no rollout needs them."""


def begin(metrics: Iterable[RolloutMetric]) -> list[ProvidedCounts]:
    """Nothing read yet."""
    return [ProvidedCounts(name=metric.name) for metric in metrics if metric.prometheus is not None]


def wanted(observed: Observed) -> tuple[MetricQuery, ...]:
    """What to ask while a rollout lasts."""
    current = observed.status.rollout
    if current is None or observed.meta.deleting or (observed.invalid and not observed.remembered):
        return ()
    wishes = {metric.name: metric for metric in observed.spec.rollout.metrics}
    queries = (_query(observed, current, wishes.get(entry.name)) for entry in current.provided)
    return tuple(query for query in queries if query is not None)


def unknown_sources(observed: Observed) -> str:
    """Which metric names a source that the operator does not have; empty when all are known."""
    known = observed.defaults.metric_sources
    wrong = [
        f"{metric.name} (source {metric.prometheus.source})"
        for metric in observed.spec.rollout.metrics
        if metric.prometheus is not None and metric.prometheus.source not in known
    ]
    if not wrong:
        return ""
    words = ", ".join(known) or "none"
    return (
        f"spec.rollout.metrics: the operator has no source for {', '.join(wrong)}; known: {words}; "
        "correct the name, or add the source to the chart's metricSources"
    )


def measure(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """The rollout with what its providers counted since their last readings."""
    rollout = _joined(observed, rollout)
    if not rollout.provided:
        return rollout
    if rollout.settled and (rollout.settled_at is None or since(observed.now, rollout.settled_at) < 0.0):
        rollout = rollout.model_copy(update={"settled_at": stamp(observed.now)})
    wishes = {metric.name: metric for metric in observed.spec.rollout.metrics}
    states = {state.name: state for state in rollout.metrics}
    taken, moved = [], False
    for entry in rollout.provided:
        after, block = _take_in(observed, rollout, entry, wishes.get(entry.name))
        taken.append(after)
        moved |= after.at != entry.at
        state = states.get(entry.name)
        wish = wishes.get(entry.name)
        if block is not None and state is not None and wish is not None:
            states[entry.name] = metrics.advanced(observed, rollout, state, wish, block)
    if taken == rollout.provided:
        return rollout
    tests = [states[state.name] for state in rollout.metrics]
    return rollout.model_copy(update={"provided": taken, "metrics": tests, "unsaved": rollout.unsaved or moved})


def moved_by(entries: Iterable[ProvidedCounts], seconds: float) -> list[ProvidedCounts]:
    """The entries with their times moved, for a clock that was set."""
    times = ("at", "since", "fell_at")
    return [entry.model_copy(update={name: moved(getattr(entry, name), seconds) for name in times}) for entry in entries]


def findings(observed: Observed, rollout: RolloutStatus) -> tuple[Finding, ...]:
    """For each metric of a provider that the spec still has, whether it says anything about this step."""
    names = {metric.name for metric in observed.spec.rollout.metrics if metric.prometheus is not None}
    return tuple(_finding(observed, rollout, entry) for entry in rollout.provided if entry.name in names)


def _finding(observed: Observed, rollout: RolloutStatus, entry: ProvidedCounts) -> Finding:
    if entry.reason:
        return Finding("MetricsAnswered", False, entry.reason, entry.problem)
    if entry.name not in observed.readings:
        return Finding("MetricsAnswered", None, "Asked", f"metric {entry.name}: its source has not answered yet")
    if not rollout.settled or not entry.candidate_requests or not _is_of_this_weight(rollout, entry):
        words = f"metric {entry.name}: requests of both versions were not counted at this weight yet"
        return Finding("MetricsAnswered", None, "NothingCounted", words)
    return Finding("MetricsAnswered", True, "EveryMetricAnswered")


def _is_of_this_weight(rollout: RolloutStatus, entry: ProvidedCounts) -> bool:
    return bool(entry.since and rollout.settled_at) and moment(entry.since or "") >= moment(rollout.settled_at or "")


def _joined(observed: Observed, rollout: RolloutStatus) -> RolloutStatus:
    """With an entry for a metric that was counted in the pods when the rollout began, and is a provider's by now."""
    known, judged = {entry.name for entry in rollout.provided}, {state.name for state in rollout.metrics}
    more = [entry for entry in begin(observed.spec.rollout.metrics) if entry.name in judged - known]
    return rollout.model_copy(update={"provided": [*rollout.provided, *more], "unsaved": True}) if more else rollout


def _query(observed: Observed, rollout: RolloutStatus, metric: RolloutMetric | None) -> MetricQuery | None:
    if metric is None or metric.prometheus is None:
        return None
    meta, wish = observed.meta, metric.prometheus

    def of(expression: str, version: int) -> str:
        filled = expression.replace("$(version)", version_name(meta.name, version))
        return filled.replace("$(name)", meta.name).replace("$(namespace)", meta.namespace)

    return MetricQuery(
        metric=metric.name,
        source=wish.source,
        candidate_good=of(wish.good, rollout.candidate),
        candidate_total=of(wish.total, rollout.candidate),
        stable_good=of(wish.good, rollout.stable),
        stable_total=of(wish.total, rollout.stable),
    )


def _take_in(
    observed: Observed, rollout: RolloutStatus, entry: ProvidedCounts, metric: RolloutMetric | None
) -> tuple[ProvidedCounts, analysis.Block | None]:
    """What the provider's last answer makes of an entry, and the block that it closes."""
    query, answer = _query(observed, rollout, metric), observed.readings.get(entry.name)
    if metric is None or metric.prometheus is None or query is None or answer is None:
        return entry, None
    digest = hashlib.sha256("\n".join(astuple(query)).encode()).hexdigest()[:16]
    if entry.query != digest:
        entry = ProvidedCounts(name=entry.name, query=digest)
    if entry.fell_at and since(observed.now, entry.fell_at) < 0.0:
        entry = entry.model_copy(update={"fell_at": None})
    if isinstance(answer, MetricProblem):
        return _with_problem(entry, answer), None
    interval = timedelta(seconds=seconds(metric.prometheus.scrape_interval))
    if wrong := _why_impossible(answer):
        return _dropped(entry, answer, DISAGREE, f"{_about(query)}: {wrong}"), None
    if not rollout.settled or not is_carried(observed, rollout):
        return _answered(entry), None
    return _compared(entry, answer, _starts(rollout, entry, interval), query)


def _compared(
    entry: ProvidedCounts, reading: MetricReading, start: datetime, query: MetricQuery
) -> tuple[ProvidedCounts, analysis.Block | None]:
    """The difference to the reading before, if that is of this weight too; else this one is the first."""
    if reading.at < start:
        return _answered(entry).model_copy(update={"at": None}), None
    if entry.at is None or moment(entry.at) < start:
        first = {"since": stamp(reading.at), "candidate_requests": 0, "fell_at": None, "reason": "", "problem": ""}
        return _read(entry, reading).model_copy(update=first), None
    gained = {name: getattr(reading, name) - getattr(entry, name) for name in COUNTERS}
    seen = zip(COUNTERS, entry.latest, strict=False)
    fell = [name.replace("_", "'s ") for name, count in seen if getattr(reading, name) < count]
    if fell:
        words = f"{_about(query)}: {', '.join(fell)} fell (a restart, or series that went away): {_DROPPED}"
        return _dropped(entry, reading, FELL, words), None
    if gained["candidate_good"] > gained["candidate_total"] or gained["stable_good"] > gained["stable_total"]:
        words = f"{_about(query)}: good grew by more than total: good must be a part of total, counted with it; {_DROPPED}"
        return _dropped(entry, reading, DISAGREE, words), None
    if not gained["candidate_total"] or not gained["stable_total"]:
        return _answered(_seen(entry, reading)), None
    block = analysis.Block(
        gained["candidate_total"],
        gained["candidate_total"] - gained["candidate_good"],
        gained["stable_total"],
        gained["stable_total"] - gained["stable_good"],
    )
    counted = {"candidate_requests": entry.candidate_requests + block.candidate_total}
    if block.candidate_bad + block.stable_bad > LARGEST_BAD:
        words = f"{_about(query)}: more than {LARGEST_BAD:,} bad ones between two readings: are these requests? {_DROPPED}"
        return _dropped(entry, reading, TOO_MANY, words), None
    return _answered(_read(entry, reading)).model_copy(update=counted), block


_DROPPED = "what was counted since the last reading is left out; counting goes on after two scrape intervals"


def _starts(rollout: RolloutStatus, entry: ProvidedCounts, interval: timedelta) -> datetime:
    """The earliest time whose counters are all of this weight, and whole."""
    start = moment(rollout.settled_at or rollout.started_at) + interval
    return max(start, moment(entry.fell_at) + BLIND_INTERVALS * interval) if entry.fell_at else start


def _why_impossible(reading: MetricReading) -> str:
    for arm in ("candidate", "stable"):
        if getattr(reading, f"{arm}_good") > getattr(reading, f"{arm}_total"):
            return f"the {arm}'s good is more than its total: good must be a part of total, counted with it"
    return ""


def _about(query: MetricQuery) -> str:
    return query.about(query.candidate_good, query.candidate_total)


def _read(entry: ProvidedCounts, reading: MetricReading) -> ProvidedCounts:
    counters = {name: getattr(reading, name) for name in COUNTERS}
    return _seen(entry, reading).model_copy(update={**counters, "at": stamp(reading.at)})


def _seen(entry: ProvidedCounts, reading: MetricReading) -> ProvidedCounts:
    return entry.model_copy(update={"latest": [getattr(reading, name) for name in COUNTERS]})


def _answered(entry: ProvidedCounts) -> ProvidedCounts:
    """An answer that can be used ends a problem; after a fall that lasts until counters are compared again."""
    if entry.fell_at and entry.reason in (FELL, DISAGREE, TOO_MANY):
        return entry
    return entry.model_copy(update={"reason": "", "problem": ""})


def _with_problem(entry: ProvidedCounts, problem: MetricProblem) -> ProvidedCounts:
    """The words of one problem stay as they were first said, so that a status does not move by itself."""
    if entry.reason == problem.reason:
        return entry
    return entry.model_copy(update={"reason": problem.reason[:128], "problem": problem.message[:1024]})


def _dropped(entry: ProvidedCounts, reading: MetricReading, reason: str, words: str) -> ProvidedCounts:
    """Nothing to compare with until the counters can be trusted again."""
    fallen = entry.model_copy(update={"at": None, "fell_at": stamp(reading.at)})
    return _with_problem(fallen, MetricProblem(reason, words))
