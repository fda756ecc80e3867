"""Clocks that jump: the operator's own does not, and a status from before a clock was set back is moved with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.clock import SteadyClock
from perennial.core.arms import READY_SECONDS, ready_pods
from perennial.core.observed import ServingPod, Workload
from unit.core.test_watch import canary, watched, weights

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600.0


class Machine:
    """A machine whose time can be set."""

    def __init__(self) -> None:
        self.seconds, self.set_by = 100.0, 0.0

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.seconds + self.set_by)

    def monotonic(self) -> float:
        return self.seconds


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_clock_that_jumps_an_hour_is_followed_slowly_and_told_once(jump: float, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = SteadyClock(machine.wall, machine.monotonic)
    before = clock.now()
    machine.set_by = jump
    for _ in range(60):
        machine.seconds += 1.0
        now = clock.now()
    assert 54.0 <= (now - before).total_seconds() <= 66.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for _ in range(11 * 60):
        machine.seconds += 60.0
        clock.now()
    assert clock.now() == machine.wall()


def test_clock_of_a_machine_whose_time_is_right_is_its_time() -> None:
    machine = Machine()
    clock = SteadyClock(machine.wall, machine.monotonic)
    for _ in range(5):
        machine.seconds += 0.7
        assert clock.now() == machine.wall()


def test_watch_keeps_its_length_when_the_clock_was_set_back_by_an_hour() -> None:
    world = watched()
    world.live(20, rate=100)
    world.now -= timedelta(hours=1)
    world.live(5, rate=100)
    assert weights(world) == {2: 90, 1: 10}
    assert [event.reason for event in world.events].count("ClockSetBack") == 1
    world.until(lambda w: w.status.rollout is None, rate=100, limit=50)
    assert world.status.stable == 2


def test_harm_is_found_and_evidence_is_written_after_the_clock_was_set_back() -> None:
    world = canary(steps=[{"weight": 10, "hold": "90s"}])
    world.now -= timedelta(hours=1)
    writes = world.status_writes
    world.live(25, rate=100)
    assert world.status_writes > writes + 1
    world.until(lambda w: w.status.quarantined != [], rate=100, bad={2: 0.3}, limit=20)
    assert weights(world) == {1: 100}


def test_pod_whose_kubelet_is_an_hour_ahead_takes_requests() -> None:
    pod = ServingPod("p", "u", "10.0.0.1", START, True, START + timedelta(hours=1), False)
    assert ready_pods(Workload(1, 1, True, (pod,)), START, READY_SECONDS) == (pod,)
    just_ready = replace(pod, ready_since=START - timedelta(seconds=1))
    assert ready_pods(Workload(1, 1, True, (just_ready,)), START, READY_SECONDS) == ()
