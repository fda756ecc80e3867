"""What `kubectl perennial backtest` tells: a recorded rollout, whether its replay reproduces it, what another policy would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perennial.api.recording import Outcome
from perennial.api.rollout import Rollout
from perennial.cli.exits import Exit
from perennial.cli.explanation import Section
from perennial.cli.screen import figures
from perennial.core import analysis, backtest, measuring
from perennial.core.backtest import Claim, Span
from perennial.core.inputs import stamp
from perennial.core.replay import CUT, Milestone, NotRecorded, Replayed, check, replay, reproduced, said
from perennial.core.tape import Tape

_DONE = {"promote": "promoted", "breach": "rolled back", "abort": "aborted", "watched": "its watch ended", "ended": "ended"}
_EXITS = {"rolled back": Exit.ROLLED_BACK, "aborted": Exit.FAILED, "undecided": Exit.WAITING}


class Refused(Exception):
    """The recording, or the policy, cannot be replayed."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told."""

    tape: Tape
    recorded: Replayed
    """Under the recorded policy."""
    difference: str
    """Why that is not what was recorded, or cannot be compared to it; empty: it is."""
    policy: Rollout
    """The other one, or the recorded."""
    other: Replayed | None
    claim: Claim
    rates: tuple[Span, ...] = ()
    requests: tuple[Span, ...] = ()
    unswept: str = ""
    """Why the recorded policy cannot be swept: it was changed under way to what does not go with it."""

    @property
    def cut(self) -> bool:
        """Whether the recording ends before the rollout did: what there is of it was reproduced."""
        return self.difference == CUT

    @property
    def is_broken(self) -> bool:
        """Whether nothing that is told holds."""
        return bool(self.difference) and not self.cut

    @property
    def judged(self) -> Replayed:
        """What the exit code speaks of."""
        return self.other or self.recorded


def report(tape: Tape, policy: Rollout | None, *, sweep: bool) -> Report:
    """Raises Refused."""
    wish = policy or tape.header.terms.rollout
    try:
        recorded = replay(tape)
        difference = reproduced(tape, recorded)
        other = replay(tape, policy) if policy is not None else None
        unswept = _not_for_all(tape, wish) if sweep and policy is None else ""
        swept = sweep and not difference and not unswept
        rates = backtest.by_rate(tape, wish) if swept else ()
        requests = backtest.by_requests(tape, wish) if swept else ()
    except (NotRecorded, ValueError) as error:
        raise Refused(str(error)) from None
    return Report(tape, recorded, difference, wish, other, backtest.claim(tape, wish), rates, requests, unswept)


def _not_for_all(tape: Tape, policy: Rollout) -> str:
    """Why the policy cannot be taken for the whole recording; empty: it can."""
    try:
        check(tape, policy)
    except NotRecorded as error:
        return str(error)
    return ""


def exit_of(found: Report) -> Exit:
    """How the program ends."""
    if found.is_broken:
        return Exit.BROKEN
    if found.judged.left_to_person:
        return Exit.WAITING
    return _EXITS.get(found.judged.outcome, Exit.DONE)


def sections(found: Report) -> list[Section]:
    """For people."""
    tape, policy, recorded = found.tape, found.policy, found.tape.header.terms.rollout
    parts = [
        Section(_head(tape), list(_about(tape))),
        Section(f"As it was recorded ({_numbers(recorded)})", [*_recorded(tape), f"replayed: {_whether(found)}"]),
    ]
    if found.other is not None:
        parts.append(Section(f"Under the policy given ({_numbers(policy)})", list(_fared(found, found.other))))
    parts.append(Section("Evidence at the end of the replay", list(_evidence(found.judged))))
    if found.rates:
        parts.append(Section("With another falseRollbackRate", list(_swept(found.rates, policy.false_rollback_rate))))
        parts.append(Section("With another minimumRequests", list(_swept(found.requests, policy.minimum_requests))))
    if found.unswept:
        parts.append(Section("With other values", [f"not tried, for the policy was changed under way: {found.unswept}"]))
    parts.append(Section("False alarms", list(_claimed(found.claim))))
    return [Section(_printable(part.head), [_printable(line) for line in part.lines]) for part in parts]


def document(found: Report) -> dict[str, Any]:
    """For programs."""
    header, policy = found.tape.header, found.policy
    return {
        "model": header.model,
        "namespace": header.namespace,
        "version": header.candidate,
        "stable": header.stable,
        "began": stamp(found.tape.began),
        "passes": len(found.tape.passes),
        "seconds": _seconds(found.tape, found.tape.passes[-1].at) if found.tape.passes else 0.0,
        "complete": header.complete,
        "truncated": found.tape.truncated,
        "recorded": {
            "falseRollbackRate": header.terms.rollout.false_rollback_rate,
            "minimumRequests": header.terms.rollout.minimum_requests,
            "outcomes": [one.model_dump(mode="json", by_alias=True) for _, one in found.tape.outcomes],
        },
        "reproduced": not found.difference,
        "difference": found.difference,
        "policy": {
            "falseRollbackRate": policy.false_rollback_rate,
            "minimumRequests": policy.minimum_requests,
            "given": found.other is not None,
            **_told(found, found.judged),
        },
        "sweeps": {
            "falseRollbackRate": [_span(one) for one in found.rates],
            "minimumRequests": [_span(one) for one in found.requests],
        },
        "falseAlarms": {
            "atMost": found.claim.rate,
            "guarantee": found.claim.guarantee,
            "outside": list(found.claim.outside),
        },
    }


def _told(found: Report, one: Replayed) -> dict[str, Any]:
    tape, departure = found.tape, one.departure
    return {
        "outcome": one.outcome,
        "exact": one.is_exact and not found.is_broken,
        "departure": None
        if departure is None
        else {
            "seconds": _seconds(tape, departure.at),
            "recorded": said(departure.recorded),
            "replayed": said(departure.replayed),
        },
        "stopped": one.stopped,
        "leftToPerson": one.left_to_person,
        "milestones": [
            {
                "what": _DONE[end.what],
                "seconds": _seconds(tape, end.at),
                "requests": end.requests,
                "reason": end.reason,
                "message": end.message,
            }
            for end in one.milestones
        ],
        "evidence": [
            {"name": name, "e": analysis.e_of(e), "largestE": analysis.e_of(most), "threshold": limit}
            for name, e, most, limit in _tests(one)
        ],
    }


def _span(one: Span) -> dict[str, Any]:
    return {"first": one.first, "last": one.last, "outcome": one.outcome, "exact": one.exact}


# ---- words ----


def _printable(line: str) -> str:
    """Without what a terminal would carry out: a recording may come from anywhere."""
    return "".join(sign if sign.isprintable() else " " for sign in line)


def _head(tape: Tape) -> str:
    header = tape.header
    return f"{header.model} v{header.candidate} beside v{header.stable}"


def _about(tape: Tape) -> Iterator[str]:
    counted = [one.counts for one in tape.passes if one.counts is not None]
    took = _seconds(tape, tape.passes[-1].at) if tape.passes else 0.0
    candidate, stable = sum(one.candidate_total for one in counted), sum(one.stable_total for one in counted)
    yield f"{len(tape.passes):,} passes over {took:,.1f} s from {stamp(tape.began)} on"
    yield f"{candidate:,} requests of the candidate and {stable:,} of stable were counted"
    if not tape.header.complete:
        yield "the beginning is not in it (the operator was started again): of what came before only the evidence is known"
    if tape.truncated:
        yield "it was cut when it had become too long: what came later is not in it"
    if any(one.terms != tape.header.terms for one in tape.passes):
        yield "its policy was changed under way: the replay of the recorded one follows that, another one is taken for all of it"


def _recorded(tape: Tape) -> Iterator[str]:
    if not tape.outcomes:
        yield "it had no outcome when the recording ended"
    for _, one in tape.outcomes:
        yield f"{_DONE[one.what]} at {one.at}{_because(one)}"


def _because(one: Outcome | Milestone) -> str:
    words = ": ".join(part for part in (one.reason, one.message) if part)
    return f": {words}" if words else ""


def _whether(found: Report) -> str:
    if found.cut:
        return f"the same as far as it goes: {found.difference}"
    if found.difference:
        return f"NOT the same: {found.difference}"
    if all(one.what == "ended" for _, one in found.tape.outcomes):
        return "in every pass it stood where the recorded one stood; no verdict of the analysis was recorded to compare it with"
    return "the same verdict in the same pass, on the same evidence to the last bit"


def _fared(found: Report, one: Replayed) -> Iterator[str]:
    tape = found.tape
    for end in one.milestones:
        yield f"{_DONE[end.what]} after {_seconds(tape, end.at):,.1f} s and {end.requests:,} requests{_because(end)}"
    if one.left_to_person and one.left_at:
        yield f"after {_seconds(tape, one.left_at):,.1f} s left to a person: {one.left_to_person}"
    last = one.milestones[-1].what if one.milestones else ""
    if one.stopped:
        yield f"undecided: {one.stopped}"
    elif not last:
        yield "undecided at the end of the recording: it would have gone on, and what came later was not recorded"
    elif last == "promote" and one.terms.rollout.watch is not None:
        yield "its watch would have gone on at the end of the recording"
    yield from _exactness(found, one)


def _exactness(found: Report, one: Replayed) -> Iterator[str]:
    if one.departure is not None:
        tape = found.tape
        at, there, here = _seconds(tape, one.departure.at), said(one.departure.recorded), said(one.departure.replayed)
        yield f"exact for {at:,.1f} s; from there on it would have stood at {here}, where {there} was recorded:"
        yield "an estimate, on the requests that were recorded"
    elif found.is_broken:
        yield "not to be relied on: the recorded verdict was not reproduced"
    elif not one.stopped:
        yield "exact: in every pass it stood where the recorded rollout stood"


def _evidence(one: Replayed) -> Iterator[str]:
    for name, e, largest, limit in _tests(one):
        evidence, most = figures(analysis.e_of(e)), figures(analysis.e_of(largest))
        yield f"{name}: E {evidence}, at most {most}, rolled back at {figures(limit)}"
    if not one.state.metrics:
        yield "no metric compares the two"


def _tests(one: Replayed) -> Iterator[tuple[str, float, float, float]]:
    """(metric, log E, the largest log E, threshold)."""
    largest = dict(one.largest_log_e)
    for state in one.state.metrics:
        e = analysis.log_e(measuring.resumed(one.state, state))
        yield state.name, e, max(e, largest.get(state.name, e)), 1.0 / state.alpha


def _swept(spans: tuple[Span, ...], chosen: float) -> Iterator[str]:
    for one in spans:
        estimate = "" if one.exact else ", an estimate"
        here = f"   <- {chosen:g}" if one.first <= chosen <= one.last else ""
        yield f"{_value(one.first)} to {_value(one.last)}: {one.outcome}{estimate}{here}"
    if len(spans) == 1:
        yield "no other value would have changed the verdict"


def _value(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}".rstrip("0")


def _claimed(claim: Claim) -> Iterator[str]:
    most = f"{100.0 * claim.rate:g} %"
    yield f"by this policy at most {most} of candidates as good as stable are taken back by chance ({claim.guarantee})"
    if claim.outside:
        yield f"not part of it: {', '.join(claim.outside)} (an objective, or a Job of yours)"


def _numbers(policy: Rollout) -> str:
    return f"falseRollbackRate {policy.false_rollback_rate:g}, minimumRequests {policy.minimum_requests:,}"


def _seconds(tape: Tape, at: datetime) -> float:
    return round((at - tape.began).total_seconds(), 3)
