"""Sends a plan's requests on their schedule and notes what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from loadgen.plan import Plan, Target, check
from loadgen.results import NONE, Record, Results

VERSION_HEADER = "x-perennial-version"


async def run(plan: Plan, note: Callable[[Record], None] | None = None, stop: asyncio.Event | None = None) -> Results:
    """Carry out `plan`; ends by itself, or soon after `stop` is set (what is under way is still awaited).

    With `note` each record is handed to it instead of being kept: then the Results are empty. Raises PlanError.
    """
    target = check(plan)
    results = Results()
    sender = _Sender(plan, target, note or results.records.append)
    connector = aiohttp.TCPConnector(limit=plan.connections, keepalive_timeout=75)
    timeout = aiohttp.ClientTimeout(total=plan.timeout)
    headers = {"Content-Type": "application/json", "Host": target.host, **plan.headers}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers, auto_decompress=False) as session:
        await sender.send_all(session, stop or asyncio.Event())
    return results


class _Sender:
    """The schedule of one run."""

    def __init__(self, plan: Plan, target: Target, note: Callable[[Record], None]) -> None:
        self._plan, self._target, self._note = plan, target, note
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch = time.time() - time.monotonic()

    async def send_all(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        start = time.monotonic()
        for number in range(self._plan.requests):
            due = start + number / self._plan.rate
            if stop.is_set() or await _stopped_before(due, stop):
                break
            self._begin(session, due, self._plan.bodies[number % len(self._plan.bodies)])
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, session: aiohttp.ClientSession, due: float, body: bytes) -> None:
        if len(self._tasks) >= self._plan.under_way:
            error = f"not sent: {self._plan.under_way} requests are under way without an answer"
            self._note(self._record(due, time.monotonic(), _Answer(error=error)))
            return
        task = asyncio.ensure_future(self._send(session, due, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, session: aiohttp.ClientSession, due: float, body: bytes) -> None:
        sent = time.monotonic()
        try:
            async with session.post(self._target.url, data=body) as response:
                await response.read()
                answer = _Answer(response.status, response.headers.get(VERSION_HEADER))
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            answer = _Answer(error=f"{type(problem).__name__}: {problem}"[:200])
        self._note(self._record(due, sent, answer))

    def _record(self, due: float, sent: float, answer: _Answer) -> Record:
        return Record(
            scheduled=round(self._epoch + due, 6),
            sent=round(self._epoch + sent, 6),
            done=round(self._epoch + time.monotonic(), 6),
            status=answer.status,
            version=answer.version,
            ok=200 <= answer.status < 300,
            error=answer.error,
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int = NONE
    version: str | None = None
    error: str = ""


async def _stopped_before(due: float, stop: asyncio.Event) -> bool:
    wait = due - time.monotonic()
    if wait <= 0:
        # behind the schedule: send at once, but let answers in
        await asyncio.sleep(0)
        return False
    if wait < 0.05:
        await asyncio.sleep(wait)
        return False
    try:
        await asyncio.wait_for(stop.wait(), wait)
    except TimeoutError:
        return False
    return True
