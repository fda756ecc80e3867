"""Providers are asked beside the passes: seldom, once at a time, and never waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from fakes.time import FakeClock
from fakes.world import CountingSource
from perennial.asking import AGO_SECONDS, ASK_SECONDS, Asking
from perennial.core.observed import MetricProblem, MetricQuery, MetricReading

KEY = ("shop", "delays")
QUERY = MetricQuery("orders", "shop", "v2 good", "v2", "v1 good", "v1")


class Stand:
    """An asking over a source that the test holds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.source = CountingSource()
        self.ahead = timedelta()
        self.asking = Asking(self.source, self.clock, lambda: self.clock.now() + self.ahead)

    async def passed(self, *queries: MetricQuery) -> MetricReading | MetricProblem | None:
        """One pass that wants these; what is known right afterwards of the first."""
        self.asking.ask(KEY, queries or (QUERY,))
        for _ in range(5):
            await asyncio.sleep(0)
        return self.asking.answers(KEY).get("orders")


async def test_the_counters_of_a_moment_ago_are_asked_for() -> None:
    stand = Stand()
    answer = await stand.passed()
    assert isinstance(answer, MetricReading)
    assert (stand.clock.now() - answer.at).total_seconds() == AGO_SECONDS


async def test_a_source_is_asked_by_the_machines_time_and_the_answer_is_of_the_operators() -> None:
    stand = Stand()
    stand.ahead = timedelta(hours=1)
    answer = await stand.passed()
    ago = timedelta(seconds=AGO_SECONDS)
    assert [at for _, at in stand.source.asked] == [stand.clock.now() + stand.ahead - ago]
    assert isinstance(answer, MetricReading)
    assert answer.at == stand.clock.now() - ago


async def test_passes_every_second_ask_every_five() -> None:
    stand = Stand()
    for _ in range(21):
        await stand.passed()
        stand.clock.advance(1.0)
    assert len(stand.source.asked) == 1 + 20 / ASK_SECONDS


async def test_a_slow_source_is_asked_once_and_the_last_answer_stands() -> None:
    stand = Stand()
    before = await stand.passed()
    stand.source.slow = asyncio.Event()
    for _ in range(30):
        stand.clock.advance(1.0)
        assert await stand.passed() == before
    assert len(stand.source.asked) == 2
    stand.source.slow.set()
    assert await stand.passed() != before


async def test_a_clock_that_is_set_back_an_hour_asks_at_once() -> None:
    stand = Stand()
    await stand.passed()
    stand.clock.advance(-3600.0)
    await stand.passed()
    assert len(stand.source.asked) == 2


async def test_another_query_of_the_same_name_has_no_answer_yet() -> None:
    stand = Stand()
    await stand.passed()
    stand.source.slow = asyncio.Event()
    assert await stand.passed(replace(QUERY, candidate_total="all of v2")) is None


async def test_what_is_not_wanted_any_more_is_forgotten_and_broken_off() -> None:
    stand = Stand()
    stand.source.slow = asyncio.Event()
    await stand.passed()
    stand.asking.ask(KEY, ())
    assert stand.asking.answers(KEY) == {}
    await asyncio.sleep(0)
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert tasks == []


async def test_a_provider_that_raises_is_a_problem_and_no_measurement() -> None:
    class Broken:
        async def read(self, query: MetricQuery, at: object) -> MetricReading | MetricProblem:
            raise RuntimeError("a fault of ours")

    stand = Stand()
    stand.asking = Asking(Broken(), stand.clock)
    answer = await stand.passed()
    assert isinstance(answer, MetricProblem)
    assert answer.reason == "ProviderFailed"
