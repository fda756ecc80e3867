"""Triggers over a real loop: one version for one cause, wherever the operator is killed, and one for all that it missed."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.world import World, model
from perennial.adapters.kinds import JOBS, VERSIONS

HOURLY = {"schedule": {"cron": "0 * * * *"}}
POLLED = {"newData": {"interval": "5m"}}
SECONDS = 3700
PARTS = 4


def begun(world: World) -> list[tuple[int, str]]:
    """(number, why) of every version."""
    return sorted((one["spec"]["number"], one["spec"]["trigger"]["reason"]) for one in world.cluster.of(VERSIONS))


async def started(triggers: dict[str, Any], **spec: Any) -> World:
    """v1 serves."""
    world = World()
    world.cluster.add(model(triggers=triggers, **spec))
    await world.start()
    await world.run(60)
    return world


def conditions(world: World) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in world.model()["status"]["conditions"]}


async def changed(triggers: dict[str, Any], crash_after: int | None = None) -> World:
    """New rows arrive, which the triggers find within minutes; with one kill on the way."""
    world = World()
    world.clock.advance(3600 - 120)
    world.cluster.add(model(triggers=triggers))
    await world.start()
    await world.run(60)
    world.listing, world.rows = "l2", "d2"
    world.cluster.crash_after = crash_after
    await world.outlive(420)
    return world


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("triggers", "reason"), [(HOURLY, "Schedule"), (POLLED, "NewData")])
async def test_a_kill_around_its_first_writes_makes_one_version_and_no_second(triggers: Any, reason: str, part: int) -> None:
    reference = await changed(triggers)
    assert begun(reference) == [(1, "Created"), (2, reason)]
    made = next(index for index, write in enumerate(reference.cluster.writes) if write[2] == "delays-v2")
    for point in list(range(made - 1, made + 11))[part::PARTS]:
        world = await changed(triggers, point)
        assert begun(world) == [(1, "Created"), (2, reason)], f"killed after write {point}"
        assert [write for write in world.cluster.writes if write[2] == "delays-v2-train-1" and write[0] == "create"]


async def test_runs_that_were_missed_while_no_operator_was_there_are_made_up_for_once() -> None:
    world = await started(HOURLY)
    world.rows = "d2"
    world.cluster.watchers = []
    world.clock.advance(30 * 3600)
    await world.start()
    await world.run(60)
    assert begun(world) == [(1, "Created"), (2, "Schedule")]
    schedule = world.model()["status"]["triggers"]["schedule"]
    assert schedule["last"] < schedule["next"]
    await world.run(30)
    assert len(begun(world)) == 2


async def test_new_data_has_its_first_job_without_any_wait() -> None:
    world = await started(POLLED)
    world.listing, world.rows = "l2", "d2"
    world.held = {"poll", "prepare"}
    await world.run(310)
    assert [one["metadata"]["name"] for one in world.cluster.of(JOBS) if "-poll-" in one["metadata"]["name"]] == ["delays-poll-2"]
    seen = world.clock.seconds
    world.held = {"prepare"}
    await world.run(0.9)
    assert world.clock.seconds - seen < 1.0
    assert "delays-v2-prepare-1" in {one["metadata"]["name"] for one in world.cluster.of(JOBS)}


async def test_nothing_is_written_between_two_looks_and_no_job_is_left() -> None:
    world = await started(POLLED)
    await world.run(300)
    before = len(world.cluster.writes)
    await world.run(200)
    assert world.cluster.writes[before:] == []
    assert not [one for one in world.cluster.of(JOBS) if "-poll-" in one["metadata"]["name"]]


async def test_rows_that_were_judged_before_get_no_training_pod() -> None:
    world = await started(HOURLY)
    await world.run(2 * SECONDS)
    assert {name for name in (one["metadata"]["name"] for one in world.cluster.of(JOBS)) if "-train-" in name} == {
        "delays-v1-train-1"
    }
    assert conditions(world)["UpToDate"]["reason"] == "SameInputs"
    assert begun(world)[0] == (1, "Created")
    assert len(begun(world)) == 2, "the older one that trained nothing is gone"


async def test_limit_holds_over_a_restart() -> None:
    world = await started(HOURLY, limits={"runsPerDay": 1})
    for number in range(2, 5):
        world.rows = f"d{number}"
        await world.run(3600)
        await world.start()
    assert begun(world) == [(1, "Created"), (2, "Schedule")]
    assert conditions(world)["RetrainDue"]["reason"] == "RunsPerDay"
