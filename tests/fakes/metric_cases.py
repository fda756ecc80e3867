"""What the operator leans on in a Prometheus server, as cases for the fake and a real one alike, so that the fake cannot lie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from perennial.adapters.prometheus import PrometheusSources
from perennial.core.observed import MetricProblem, MetricQuery, MetricReading


class Counting(Protocol):
    """A server that counts orders as told."""

    async def count(self, orders: Mapping[tuple[str, str], float]) -> datetime:
        """So many orders by (version, outcome), and nothing else, as of the time that is returned."""
        ...

    def sources(self) -> PrometheusSources:
        """The operator's adapter, told of this server by the name shop."""
        ...


Case = Callable[[Counting], Awaitable[None]]
GOOD = 'sum(orders_total{{v="{}",outcome="good"}})'
TOTAL = 'sum(orders_total{{v="{}"}})'
ORDERS = {("v3", "good"): 90.0, ("v3", "failed"): 10.0, ("v2", "good"): 1000.0, ("v2", "failed"): 1.0}


async def read(
    server: Counting, at: datetime, good: str = GOOD.format("v3"), total: str = TOTAL.format("v3")
) -> MetricReading | MetricProblem:
    """Candidate's counters by these expressions, stable's by good ones."""
    async with server.sources() as sources:
        return await sources.read(MetricQuery("orders", "shop", good, total, GOOD.format("v2"), TOTAL.format("v2")), at)


async def is_refused(server: Counting, total: str, reason: str, words: str) -> None:
    """This expression for the candidate's total is a problem, which names metric, source and query."""
    answer = await read(server, await server.count(ORDERS), total=total)
    assert isinstance(answer, MetricProblem), answer
    assert answer.reason == reason
    assert answer.message.startswith(f"metric orders, source shop, query {total}: ")
    assert words in answer.message


async def the_counters_of_both_arms_are_read_as_of_one_time(server: Counting) -> None:
    first = await server.count(ORDERS)
    second = await server.count({**ORDERS, ("v3", "good"): 190.0})
    assert await read(server, first) == MetricReading(first, 90, 100, 1000, 1001)
    assert await read(server, second) == MetricReading(second, 190, 200, 1000, 1001)


async def a_scalar_is_one_number_too(server: Counting) -> None:
    answer = await read(server, await server.count(ORDERS), good="scalar(vector(7))")
    assert isinstance(answer, MetricReading)
    assert (answer.candidate_good, answer.candidate_total) == (7, 100)


async def labels_that_nothing_has_are_no_data(server: Counting) -> None:
    await is_refused(server, TOTAL.format("v9"), "NoData", "nothing has these labels")


async def a_time_long_before_is_no_data(server: Counting) -> None:
    answer = await read(server, await server.count(ORDERS) - timedelta(hours=1))
    assert isinstance(answer, MetricProblem)
    assert answer.reason == "NoData"


async def several_series_are_refused(server: Counting) -> None:
    await is_refused(server, 'orders_total{v="v3"}', "SeveralSeries", "write sum(...)")


async def a_range_is_refused(server: Counting) -> None:
    await is_refused(server, 'orders_total{v="v3"}[1m]', "NotOneNumber", "leave out the [...]")


async def a_text_is_refused(server: Counting) -> None:
    await is_refused(server, '"a text"', "NotOneNumber", "a text")


async def nan_is_no_count(server: Counting) -> None:
    await is_refused(server, "vector(0) / 0", "NotACount", "NaN or infinite")


async def infinity_is_no_count(server: Counting) -> None:
    await is_refused(server, "vector(1) / 0", "NotACount", "NaN or infinite")


async def a_part_of_a_request_is_no_count(server: Counting) -> None:
    await is_refused(server, "vector(1.5)", "NotACount", "without rate()")


async def less_than_nothing_is_no_count(server: Counting) -> None:
    await is_refused(server, "vector(-1)", "NotACount", "no count of requests")


async def a_query_that_is_no_promql_is_refused_in_the_servers_words(server: Counting) -> None:
    await is_refused(server, "sum(orders_total", "QueryRefused", "parse error")


CASES: tuple[Case, ...] = (
    the_counters_of_both_arms_are_read_as_of_one_time,
    a_scalar_is_one_number_too,
    labels_that_nothing_has_are_no_data,
    a_time_long_before_is_no_data,
    several_series_are_refused,
    a_range_is_refused,
    a_text_is_refused,
    nan_is_no_count,
    infinity_is_no_count,
    a_part_of_a_request_is_no_count,
    less_than_nothing_is_no_count,
    a_query_that_is_no_promql_is_refused_in_the_servers_words,
)
