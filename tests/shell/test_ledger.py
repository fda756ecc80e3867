"""The ledger's way into the store, by the real step on a folder, with the operator killed on the way."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fakes.world import World, model
from perennial.adapters.kinds import JOBS
from perennial.api.ledger import Ledger
from perennial.core import ledger, storing
from perennial.ports import Invalid
from perennial_runtime import chain
from perennial_runtime.store import Store

ROLLOUTS = 6
PARTS = 4
"""Each a share of the kills, so that no test is long."""


def world_with(folder: Path) -> World:
    world = World()
    world.store = Store(f"file://{folder}")
    world.cluster.add(model())
    return world


async def story(folder: Path, crash_after: int | None = None) -> World:
    """A model is rolled out again and again, until its ledger is due in the store, with one kill on the way; then it rests."""
    world = world_with(folder)
    world.cluster.crash_after = crash_after
    await world.start()
    await world.outlive(60)
    for number in range(2, ROLLOUTS):
        world.change(training={"recipe": {}, "seed": number})
        await world.outlive(120)
    await world.outlive(storing.OLDEST_SECONDS + 60)
    return world


def kept(world: World) -> Ledger:
    return Ledger.model_validate(world.model()["status"]["ledger"])


def stored(folder: Path) -> dict[str, bytes]:
    return {f"ledger/{path.name}": path.read_bytes() for path in (folder / "ledger").iterdir()}


def told(links: list[chain.Link]) -> list[str]:
    return [f"{one.number} {one.what}" for one in links]


def assert_whole(world: World, folder: Path) -> list[chain.Link]:
    """Every decision is in the store, once, and the status agrees."""
    whole, links = kept(world), chain.chained(stored(folder))
    assert [one.number for one in links] == list(range(1, whole.length + 1))
    assert (ledger.problem(whole.entries), ledger.gap(whole), ledger.stored_problem(whole, links)) == ("", "", "")
    assert whole.stored is not None
    assert whole.stored.number == whole.length
    assert [job for job in world.cluster.of(JOBS) if job["metadata"]["labels"]["perennial.dev/step"] == "ledger"] == []
    return links


async def test_every_decision_comes_into_the_store_once_and_then_nothing_is_written(tmp_path: Path) -> None:
    world = await story(tmp_path)
    assert len(stored(tmp_path)) > 1
    assert len(assert_whole(world, tmp_path)) > storing.AT_LEAST
    before = len(world.cluster.writes)
    await world.run(86_400)
    assert world.cluster.writes[before:] == []


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_kill_after_any_write_of_a_job_loses_and_doubles_nothing(tmp_path: Path, part: int) -> None:
    reference = await story(tmp_path / "reference")
    expected = told(assert_whole(reference, tmp_path / "reference"))
    first = next(index for index, (_, _, name) in enumerate(reference.cluster.writes) if name.startswith("delays-ledger-"))
    points = [
        index
        for index in range(first, len(reference.cluster.writes))
        if any("delays-ledger-" in name for _, _, name in reference.cluster.writes[max(0, index - 3) : index + 1])
    ]
    assert len(points) > PARTS
    for point in points[part::PARTS]:
        folder = tmp_path / str(point)
        world = await story(folder, point + 1)
        assert told(assert_whole(world, folder)) == expected, f"killed after write {point}: {reference.cluster.writes[point]}"


async def test_a_store_that_is_away_is_told_and_caught_up_with(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    world.store = None
    await world.start()
    await world.run(storing.OLDEST_SECONDS + 120)
    conditions = {one["type"]: one for one in world.model()["status"]["conditions"]}
    assert conditions["LedgerStored"]["reason"] == "StoreUnavailable"
    assert "Stalled" not in conditions
    assert world.model()["status"]["stable"] == 1
    assert b'condition="LedgerStored"' in metrics(world)
    assert b"perennial_ledger_unstored_entries{" in metrics(world)
    world.store = Store(f"file://{tmp_path}")
    await world.run(2 * storing.LONGEST_RETRY_SECONDS)
    assert "LedgerStored" not in {one["type"] for one in world.model()["status"]["conditions"]}
    assert_whole(world, tmp_path)
    assert b"perennial_ledger_unstored_entries{" not in metrics(world)


def metrics(world: World) -> bytes:
    from prometheus_client import generate_latest

    return generate_latest(world.telemetry.registry)


async def test_a_job_that_the_cluster_refuses_is_no_refused_write_of_the_spec(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    refusal = Invalid(403, "exceeded quota: jobs")
    world.cluster.verdict = lambda verb, manifest: refusal if "-ledger-" in manifest["metadata"]["name"] else None
    await world.start()
    await world.run(storing.OLDEST_SECONDS + 120)
    conditions = {one["type"]: one for one in world.model()["status"]["conditions"]}
    assert conditions["LedgerStored"]["reason"] == "RefusedByCluster"
    assert not conditions.keys() & {"WritesRefused", "Stalled", "Reconciling"}
    world.cluster.verdict = lambda verb, manifest: None
    await world.run(600)
    assert_whole(world, tmp_path)


async def test_what_somebody_changes_in_the_status_is_not_stored(tmp_path: Path) -> None:
    world = world_with(tmp_path)
    await world.start()
    await world.run(60)
    live_model = copy.deepcopy(world.model())
    live_model["status"]["ledger"]["entries"][2]["message"] = "it was good"
    world.cluster.set_status(live_model, live_model["status"])
    await world.run(storing.OLDEST_SECONDS + 60)
    conditions = {one["type"]: one for one in world.model()["status"]["conditions"]}
    assert conditions["LedgerStored"]["reason"] == "LedgerBroken"
    assert "entry 3 (StepEnded) was changed" in conditions["LedgerStored"]["message"]
    assert not (tmp_path / "ledger").exists()
