"""The keyed queue, with a clock that moves when told to."""

from __future__ import annotations

import asyncio
from random import Random

from fakes.time import FakeClock
from perennial.wakequeue import LONGEST_RETRY_SECONDS, WakeQueue

ONE, TWO = ("shop", "one"), ("shop", "two")


def queue(clock: FakeClock) -> WakeQueue[tuple[str, str]]:
    return WakeQueue(clock.monotonic, Random(1))


async def test_a_key_that_is_woken_twice_is_looked_at_once() -> None:
    waiting = queue(FakeClock())
    waiting.wake(ONE)
    waiting.wake(ONE)
    assert await waiting.take() == ONE
    assert waiting.depth() == 0


async def test_keys_are_taken_in_the_order_in_which_they_were_woken() -> None:
    waiting = queue(FakeClock())
    waiting.wake(TWO)
    waiting.wake(ONE)
    assert [await waiting.take(), await waiting.take()] == [TWO, ONE]


async def test_a_key_woken_while_it_runs_runs_again_and_never_beside_itself() -> None:
    waiting = queue(FakeClock())
    waiting.wake(ONE)
    await waiting.take()
    waiting.wake(ONE)
    assert waiting.depth() == 0
    waiting.done(ONE)
    assert await waiting.take() == ONE


async def test_a_key_comes_when_it_is_due_and_not_before() -> None:
    clock = FakeClock()
    waiting = queue(clock)
    waiting.wake_after(ONE, 5)
    clock.advance(4)
    assert waiting.release_due() == 1
    assert waiting.depth() == 0
    clock.advance(1)
    assert waiting.release_due() is None
    assert await waiting.take() == ONE


async def test_the_earliest_wish_counts() -> None:
    clock = FakeClock()
    waiting = queue(clock)
    waiting.wake_after(ONE, 5)
    waiting.wake_after(ONE, 9)
    waiting.wake_after(ONE, 2)
    assert waiting.release_due() == 2


async def test_being_woken_makes_an_earlier_wish_void() -> None:
    clock = FakeClock()
    waiting = queue(clock)
    waiting.wake_after(ONE, 5)
    waiting.wake(ONE)
    await waiting.take()
    waiting.done(ONE)
    clock.advance(10)
    assert waiting.release_due() is None
    assert waiting.depth() == 0


async def test_failures_are_tried_again_later_and_later_up_to_a_minute() -> None:
    waiting = queue(FakeClock())
    delays = [waiting.retry(ONE) for _ in range(20)]
    assert delays[0] <= 0.2
    assert delays[5] > delays[1]
    assert max(delays) <= LONGEST_RETRY_SECONDS
    waiting.succeeded(ONE)
    assert waiting.retry(ONE) <= 0.2


async def test_the_wait_for_a_worker_is_told() -> None:
    clock = FakeClock()
    waits: list[float] = []
    waiting: WakeQueue[tuple[str, str]] = WakeQueue(clock.monotonic, Random(1), waits.append)
    waiting.wake(ONE)
    clock.advance(3)
    await waiting.take()
    assert waits == [3]


async def test_timers_wake_by_themselves() -> None:
    waiting: WakeQueue[tuple[str, str]] = WakeQueue(asyncio.get_running_loop().time, Random(1))
    timers = asyncio.create_task(waiting.run_timers())
    await asyncio.sleep(0)
    waiting.wake_after(ONE, 0.01)
    assert await asyncio.wait_for(waiting.take(), 1) == ONE
    timers.cancel()


async def test_no_key_is_ever_in_two_workers() -> None:
    chance = Random(7)
    waiting: WakeQueue[tuple[str, str]] = WakeQueue(asyncio.get_running_loop().time, chance)
    keys = [("shop", str(number)) for number in range(5)]
    running: set[tuple[str, str]] = set()
    looked: list[tuple[str, str]] = []

    async def worker() -> None:
        while True:
            key = await waiting.take()
            assert key not in running
            running.add(key)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            looked.append(key)
            running.discard(key)
            waiting.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    for _ in range(500):
        waiting.wake(chance.choice(keys))
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert set(looked) == set(keys)
    assert waiting.depth() == 0
    assert not [task for task in workers if task.done()]
    for task in workers:
        task.cancel()
