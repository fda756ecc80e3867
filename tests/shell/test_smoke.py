"""The shell with the real core and a smoke run: trained and judged, nothing is made to serve it, and it goes with all it has."""

from __future__ import annotations

from datetime import timedelta

from fakes.cluster import FakeCluster
from fakes.world import KEY, World, model
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, ROUTES, SERVICES, VERSIONS, WORKLOADS

SERVES = (ROUTES, SERVICES, WORKLOADS)


def left(cluster: FakeCluster) -> list[str]:
    return [one["metadata"]["name"] for kind in (DEPLOYMENTS_OF_MODELS, VERSIONS, JOBS, *SERVES) for one in cluster.of(kind)]


async def judged() -> World:
    world = World()
    world.cluster.add(model(serving={}, rollout={}, smoke={"expiresAfter": "10m"}))
    await world.start()
    await world.run(60)
    return world


async def test_smoke_run_is_judged_and_nothing_is_made_to_serve_it() -> None:
    world = await judged()
    (version,) = world.cluster.of(VERSIONS)
    assert (version["spec"]["smoke"], version["status"]["state"]) == (True, "Passed")
    assert [one for kind in SERVES for one in world.cluster.of(kind)] == []
    writes = len(world.cluster.writes)
    await world.run(60)
    assert len(world.cluster.writes) == writes


async def test_smoke_run_goes_with_all_that_it_has_when_its_time_is_over() -> None:
    world = await judged()
    assert left(world.cluster)
    await world.run(timedelta(minutes=10).total_seconds())
    assert left(world.cluster) == []
    assert ("delete", DEPLOYMENTS_OF_MODELS, KEY[1]) in world.cluster.writes


async def test_operator_that_was_down_at_that_time_removes_it_when_it_is_back() -> None:
    world = await judged()
    world.clock.advance(timedelta(hours=2).total_seconds())
    await world.start()
    await world.run(5)
    assert left(world.cluster) == []
