"""Reporters are asked beside the passes: seldom, once at a time, few together, and never waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fakes.time import FakeClock
from perennial.core.observed import JobPod, TrainReading
from perennial.core.progress import ASK_SECONDS
from perennial.following import AT_ONCE, Following

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def pod(number: int = 1) -> JobPod:
    return JobPod(f"pod-{number}", f"u{number}", "Running", EPOCH, ip="198.51.100.7")


class Slow:
    """A reporter that answers when it is told to, or breaks."""

    def __init__(self) -> None:
        self.says: TrainReading | None = TrainReading(10.0)
        self.free = asyncio.Event()
        self.free.set()
        self.asked = 0
        self.broken = False

    async def read(self, pod: JobPod) -> TrainReading | None:
        self.asked += 1
        await self.free.wait()
        if self.broken:
            raise ZeroDivisionError
        return self.says


class Stand:
    def __init__(self) -> None:
        self.clock, self.reporter = FakeClock(), Slow()
        self.following = Following(self.reporter, self.clock.monotonic)

    async def passed(self, *pods: JobPod) -> dict[str, TrainReading]:
        """One pass, and what is known right after it."""
        self.following.newest(pods or (pod(),))
        for _ in range(4):
            await asyncio.sleep(0)
        return self.following.newest(pods or (pod(),))


async def test_passes_every_second_ask_every_ten() -> None:
    stand = Stand()
    for _ in range(41):
        assert await stand.passed() == {"u1": TrainReading(10.0)}
        stand.clock.advance(1.0)
    assert stand.reporter.asked == 1 + 40 / ASK_SECONDS


async def test_reporter_that_does_not_answer_is_asked_once_and_its_last_answer_stands() -> None:
    stand = Stand()
    await stand.passed()
    stand.reporter.free.clear()
    for _ in range(5):
        stand.clock.advance(ASK_SECONDS)
        assert await stand.passed() == {"u1": TrainReading(10.0)}
    assert stand.reporter.asked == 2
    stand.reporter.free.set()
    stand.reporter.says = None
    assert await stand.passed() == {"u1": TrainReading(10.0)}


async def test_few_are_asked_together_and_the_others_in_a_later_pass() -> None:
    stand = Stand()
    many = [pod(number) for number in range(3 * AT_ONCE)]
    stand.reporter.free.clear()
    await stand.passed(*many)
    assert stand.reporter.asked == AT_ONCE
    stand.reporter.free.set()
    for _ in range(3):
        found = await stand.passed(*many)
    assert len(found) == stand.reporter.asked == len(many)


async def test_fault_of_ours_is_logged_and_asked_again() -> None:
    stand = Stand()
    stand.reporter.broken = True
    assert await stand.passed() == {}
    stand.reporter.broken = False
    stand.clock.advance(ASK_SECONDS)
    assert await stand.passed() == {"u1": TrainReading(10.0)}
