"""What would have been: at which `falseRollbackRate` and at which `minimumRequests` a recorded rollout had come to another end.

Nothing is assumed about how the end depends on either: each sweep replays the rollout on a grid over the whole range that the API
allows, and at the values where the evidence says that it must change; between two neighbours that differ the border is found by
bisection, to the last step of the scale. A lone island between two neighbours that agree would be missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from perennial.api.rollout import Rollout
from perennial.core import analysis
from perennial.core.replay import Replayed, replay
from perennial.core.tape import Tape

RATE_SCALE = 1_000_000
"""The borders of falseRollbackRate are found to a millionth."""
RATES = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
"""In millionths; the first and the last are what the API allows."""
REQUESTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
MOST_MARKS = 12
"""Values that the evidence points at, in one sweep."""


@dataclass(frozen=True, slots=True)
class Span:
    """Values of a field, from the first to the last, at which a rollout ends alike."""

    first: float
    last: float
    outcome: str
    exact: bool
    """It stood where the recorded one stood until its end; else its requests are an estimate (`perennial.core.replay`)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a policy promises for a candidate as good as stable."""

    rate: float
    """It is taken back by chance so often at most, over shadow, steps and watch."""
    guarantee: analysis.Guarantee
    outside: tuple[str, ...]
    """Metrics with a way to take a candidate back that is no part of it."""


def by_rate(tape: Tape, policy: Rollout) -> tuple[Span, ...]:
    """Spans of falseRollbackRate, everything else as in the policy."""

    def run(step: int) -> Replayed:
        return replay(tape, policy.model_copy(update={"false_rollback_rate": step / RATE_SCALE}))

    marks = _marks_of_evidence(policy, run(RATES[0]))
    found = _spans(run, (*RATES, round(policy.false_rollback_rate * RATE_SCALE), *marks), RATES[0], RATES[-1])
    return tuple(Span(one.first / RATE_SCALE, one.last / RATE_SCALE, one.outcome, one.exact) for one in found)


def by_requests(tape: Tape, policy: Rollout) -> tuple[Span, ...]:
    """Spans of minimumRequests, everything else as in the policy."""

    def run(step: int) -> Replayed:
        return replay(tape, policy.model_copy(update={"minimum_requests": step}))

    before = 0 if tape.header.complete else tape.header.start.step_candidate_requests
    all_of_them = before + sum(one.counts.candidate_total for one in tape.passes if one.counts is not None)
    most = min(REQUESTS[-1], all_of_them + 1)  # from there on none is ever reached
    marks = [mark for count in run(1).answered[:MOST_MARKS] for mark in (count, count + 1)]
    found = _spans(run, (*REQUESTS, policy.minimum_requests, *marks, most), 1, most)
    *others, last = found
    return (*others, Span(last.first, REQUESTS[-1], last.outcome, last.exact))


def claim(tape: Tape, policy: Rollout) -> Claim:
    """What the policy promises, on the router that was recorded."""
    provided = any(metric.prometheus is not None for metric in policy.metrics)
    by_requests = tape.header.terms.by == "requests" and not provided
    outside = [metric.name for metric in policy.metrics if metric.job is not None or metric.objective is not None]
    return Claim(policy.false_rollback_rate, "exact" if by_requests else "approximate", tuple(outside))


def _marks_of_evidence(policy: Rollout, longest: Replayed) -> Iterator[int]:
    """Where the largest E of a metric meets its threshold, and where it meets the one of suspicion; a step before and after."""
    weights = {metric.name: float(metric.weight) for metric in policy.metrics if metric.is_compared}
    if not weights:
        return
    shares = analysis.split_alpha(0.5, weights, shadow=policy.shadow is not None)
    strongest = sorted(longest.largest_log_e, key=lambda one: one[1], reverse=True)
    for name, log_e in [one for one in strongest if one[0] in shares and one[1] > 0.0][: MOST_MARKS // 4]:
        for rate in (math.exp(-log_e), math.exp(-2.0 * log_e)):
            border = math.ceil(rate / (2.0 * shares[name]) * RATE_SCALE)
            yield from (border - 1, border)


def _spans(run: Callable[[int], Replayed], points: Iterable[int], low: int, high: int) -> tuple[Span, ...]:
    """The whole range in spans; `points` are looked at, and the borders between those that differ."""

    @cache
    def end(step: int) -> tuple[str, bool]:
        found = run(step)
        return found.outcome, found.is_exact

    looked_at = sorted({low, high, *(point for point in points if low <= point <= high)})
    spans, first = list[Span](), low
    for before, after in pairwise(looked_at):
        known = before
        while end(known) != end(after):
            border = _border(end, known, after)
            spans.append(Span(first, border - 1, *end(known)))
            first = known = border
    return (*spans, Span(first, high, *end(high)))


def _border(end: Callable[[int], tuple[str, bool]], low: int, high: int) -> int:
    """The first step over `low` that ends otherwise, on the way to `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if end(middle) == end(low) else (low, middle)
    return high
