"""Rollouts that really happened, on the benchmark's cluster, happen again: each to its own verdict, to the last bit.

`recordings/` holds what `RECORDINGS=FOLDER make bench ONLY=detection` (bad candidates) and `ONLY=healthy` kept, as the operator
wrote it; `ends.json` beside it, where each would have ended otherwise. A change of the analysis that moves a border shows here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from perennial.core.backtest import Span, by_rate, by_requests
from perennial.core.replay import replay, reproduced
from perennial.core.tape import Tape, read

FOLDER = Path(__file__).parent / "recordings"
ENDS: dict[str, Any] = json.loads((FOLDER / "ends.json").read_text())
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in FOLDER.glob("*.jsonl.gz"))
BAD = [name for name in NAMES if name.startswith("bad-")]
HEALTHY = [name for name in NAMES if name.startswith("healthy-")]
RUNS = 20
"""Of each kind."""
SWEPT = [BAD[0], BAD[-1], HEALTHY[0], HEALTHY[-1]]
"""A whole sweep takes a second and more."""


@cache
def tape(name: str) -> Tape:
    return read((FOLDER / f"{name}.jsonl.gz").read_bytes())


def said(spans: tuple[Span, ...]) -> list[list[Any]]:
    return [[one.first, one.last, one.outcome] for one in spans]


def outcome(name: str, **change: Any) -> str:
    """How it ends when the policy is another one in this."""
    return replay(tape(name), tape(name).header.terms.rollout.model_copy(update=change)).outcome


def test_every_run_of_the_benchmarks_is_here() -> None:
    assert sorted(ENDS) == NAMES
    assert (len(BAD), len(HEALTHY)) == (RUNS, RUNS)


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_reproduced_to_the_last_bit(name: str) -> None:
    replayed = replay(tape(name))
    assert reproduced(tape(name), replayed) == ""
    assert replayed.is_exact
    assert replayed.outcome == ("rolled back" if name in BAD else "promoted")


@pytest.mark.parametrize("name", NAMES)
def test_at_the_borders_that_were_found_another_false_rollback_rate_changes_the_end(name: str) -> None:
    for first, last, ends in ENDS[name]["falseRollbackRate"]:
        assert [outcome(name, false_rollback_rate=rate) for rate in (first, last)] == [ends, ends]


@pytest.mark.parametrize("name", NAMES)
def test_at_the_borders_that_were_found_another_minimum_of_requests_changes_the_end(name: str) -> None:
    for first, last, ends in ENDS[name]["minimumRequests"]:
        assert [outcome(name, minimum_requests=count) for count in (first, last)] == [ends, ends]


def test_no_minimum_of_requests_would_have_delayed_a_rollback_and_none_that_is_not_reached_lets_a_step_pass() -> None:
    assert {one[2] for name in BAD for one in ENDS[name]["minimumRequests"]} == {"rolled back"}
    assert {ENDS[name]["minimumRequests"][-1][2] for name in HEALTHY} == {"undecided"}


@pytest.mark.parametrize("name", SWEPT)
def test_the_sweeps_find_these_borders(name: str) -> None:
    policy = tape(name).header.terms.rollout
    assert said(by_rate(tape(name), policy)) == ENDS[name]["falseRollbackRate"]
    assert said(by_requests(tape(name), policy)) == ENDS[name]["minimumRequests"]
