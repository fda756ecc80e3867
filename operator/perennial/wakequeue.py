"""A queue of keys: what is woken is looked at once, by one worker at a time, again if woken meanwhile, later if it failed.

`perennial.door` and the reconciler wake; `perennial.bootstrap` runs N workers over `take` and `done`. One heap holds all the
times at which keys are due.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=tuple[str, str])

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 60.0


class WakeQueue(Generic[Key]):
    """For one event loop. `time` gives monotonic seconds; `waited` is told how long each key stood in the queue."""

    def __init__(self, time: Callable[[], float], chance: Random, waited: Callable[[float], None] = lambda seconds: None) -> None:
        self._time = time
        self._chance = chance
        self._waited = waited
        self._ready: deque[Key] = deque()
        self._since: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._someone = asyncio.Semaphore(0)

    def wake(self, key: Key) -> None:
        """Look at this key as soon as a worker is free; if one is at it now, again afterwards."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._since:
            self._since[key] = self._time()
            self._ready.append(key)
            self._someone.release()

    def wake_after(self, key: Key, seconds: float) -> None:
        """Look at this key in so many seconds, unless it is woken before; the earliest wish counts."""
        due = self._time() + max(0.0, seconds)
        if self._due.get(key, float("inf")) > due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    async def take(self) -> Key:
        """The next key, which no other worker gets until `done`."""
        await self._someone.acquire()
        key = self._ready.popleft()
        self._waited(self._time() - self._since.pop(key))
        self._due.pop(key, None)
        self._running.add(key)
        return key

    def done(self, key: Key) -> None:
        """The worker has looked at it."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.wake(key)

    def retry(self, key: Key) -> float:
        """Look at it again after a failure: doubling, with jitter, up to a minute. The seconds that it will be."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures, 16)) * self._chance.uniform(0.5, 1.0)
        self.wake_after(key, seconds)
        return seconds

    def succeeded(self, key: Key) -> None:
        """The next failure is a first one again."""
        self._failures.pop(key, None)

    def release_due(self) -> float | None:
        """Wakes every key that is due. Seconds until the next one, None when there is none."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)
                continue
            if due > self._time():
                return due - self._time()
            heapq.heappop(self._heap)
            del self._due[key]
            self.wake(key)
        return None

    async def run_timers(self) -> None:
        """Wakes keys when they are due, for ever."""
        while True:
            self._changed.clear()
            seconds = self.release_due()
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                continue

    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)
