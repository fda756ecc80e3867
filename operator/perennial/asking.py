"""Asks providers of metrics now and then, beside the passes: a slow source delays no pass, least of all a rollback.

`perennial.gathering` tells in every pass what is wanted, and takes the last answers. Asked is at most every ASK_SECONDS, for a
source that reads its targets every 15 s or more has nothing new each second, and never twice at once for one metric.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from perennial.core.observed import MetricProblem, MetricQuery, MetricReading
from perennial.ports import Clock, MetricProvider

ASK_SECONDS = 5.0
AGO_SECONDS = 5.0
"""The counters are asked for as they stood so long ago: what was read at that time has arrived at the source by now, so that
all questions of a reading see the same."""

Key = tuple[str, str]
"""(namespace, name) of a ModelDeployment."""

log = logging.getLogger("perennial.asking")


@dataclass(slots=True)
class _Asked:
    """One metric of one model."""

    query: MetricQuery
    at: datetime
    """When it was last asked."""
    task: asyncio.Task[MetricReading | MetricProblem]
    answer: MetricReading | MetricProblem | None = None


class Asking:
    """The last answers, and the questions under way. Lives in one event loop."""

    def __init__(self, provider: MetricProvider, clock: Clock, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`wall` gives the machine's time, which sources keep too; the operator's own follows a jump of it slowly."""
        self._provider = provider
        self._clock = clock
        self._wall = wall
        self._asked: dict[Key, dict[str, _Asked]] = {}

    def ask(self, key: Key, queries: Sequence[MetricQuery]) -> None:
        """These are wanted from now on, and no others: asks those that are due. Waits for nothing."""
        asked, wanted = self._asked.pop(key, {}), {query.metric: query for query in queries}
        for name in [name for name, one in asked.items() if wanted.get(name) != one.query]:
            asked.pop(name).task.cancel()
        now = self._clock.now()
        for name, query in wanted.items():
            one = asked.get(name)
            # a clock that was set back makes the last time one to come
            if one is None or (one.task.done() and not 0.0 <= (now - one.at).total_seconds() < ASK_SECONDS):
                asked[name] = self._asking(query, now, one.answer if one else None)
        if asked:
            self._asked[key] = asked

    def answers(self, key: Key) -> dict[str, MetricReading | MetricProblem]:
        """By metric, what was last answered; none for those that were not answered yet."""
        return {name: one.answer for name, one in self._asked.get(key, {}).items() if one.answer is not None}

    def _asking(self, query: MetricQuery, now: datetime, before: MetricReading | MetricProblem | None) -> _Asked:
        task = asyncio.get_running_loop().create_task(self._answer(query, now), name=f"metric {query.metric}")
        one = _Asked(query, now, task, before)

        def keep(done: asyncio.Task[MetricReading | MetricProblem]) -> None:
            if not done.cancelled():
                one.answer = _failed(query, error) if (error := done.exception()) else done.result()

        task.add_done_callback(keep)
        return one

    async def _answer(self, query: MetricQuery, now: datetime) -> MetricReading | MetricProblem:
        ago = timedelta(seconds=AGO_SECONDS)
        answer = await self._provider.read(query, self._wall() - ago)
        return answer if isinstance(answer, MetricProblem) else replace(answer, at=now - ago)


def _failed(query: MetricQuery, error: BaseException) -> MetricProblem:
    """A provider that raises is a fault of ours, and no measurement."""
    log.error("the metric %s could not be read by a fault of ours", query.metric, exc_info=error)
    words = f"metric {query.metric}, source {query.source}: a fault of the operator, told in its log; asking again"
    return MetricProblem("ProviderFailed", words)
