"""The shell with the real core and no route: the Service and the replicas are what is written, and put back."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fakes.world import World, model
from perennial.adapters.kinds import ROUTES, SERVICES, WORKLOADS
from perennial.ports import Invalid, Manifest

RETRAIN = {"recipe": {}, "seed": 2}
ROUTE = {"parentRefs": [{"name": "gw"}], "path": "/delays"}


async def serving_world() -> World:
    world = World()
    world.cluster.add(model(serving={"replicas": 2}, rollout={"steps": [{"weight": 50, "hold": "2s"}], "minimumRequests": 10}))
    await world.start()
    await world.run(60)
    return world


def service(world: World) -> Manifest | None:
    return next((found for found in world.cluster.of(SERVICES) if found["metadata"]["name"] == "delays"), None)


def replicas(world: World) -> dict[str, int]:
    return {deployment["metadata"]["name"]: deployment["spec"]["replicas"] for deployment in world.cluster.of(WORKLOADS)}


async def test_a_model_without_a_route_is_served_by_its_service() -> None:
    world = await serving_world()
    found = service(world)
    assert found is not None
    assert found["spec"]["selector"] == {"perennial.dev/model": "delays", "perennial.dev/role": "serve"}
    assert found["metadata"]["ownerReferences"][0]["kind"] == "ModelDeployment"
    assert world.cluster.of(ROUTES) == []
    assert world.model()["status"]["weights"] == [{"version": 1, "weight": 100, "achieved": 100.0}]


async def test_a_changed_spec_is_rolled_out_by_replicas() -> None:
    world = await serving_world()
    world.change(training=RETRAIN)
    await world.run(120)
    assert world.model()["status"]["stable"] == 2
    assert replicas(world) == {"delays-v1": 0, "delays-v2": 2}


async def test_a_bad_candidate_loses_its_pods_and_stable_keeps_all() -> None:
    world = await serving_world()
    world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.run(120)
    assert world.model()["status"]["quarantined"][0]["version"] == 2
    assert replicas(world) == {"delays-v1": 2, "delays-v2": 0}


async def test_a_service_or_a_number_of_pods_changed_by_hand_is_put_back() -> None:
    world = await serving_world()
    changed, deployment = copy.deepcopy(service(world)), copy.deepcopy(world.cluster.of(WORKLOADS)[0])
    assert changed is not None
    changed["spec"]["selector"] = {"app": "another"}
    deployment["spec"]["replicas"] = 7
    world.cluster.edit(changed)
    world.cluster.edit(deployment)
    await world.run(3)
    found = service(world)
    assert found is not None
    assert found["spec"]["selector"]["perennial.dev/model"] == "delays"
    assert replicas(world) == {"delays-v1": 2}
    world.cluster.remove(found)
    await world.run(3)
    assert service(world) is not None


async def test_nothing_is_written_when_converged_nor_after_a_restart(tmp_path: Path) -> None:
    world = await serving_world()
    assert await world.rests(tmp_path)


async def test_a_service_of_that_name_that_is_somebody_elses_is_left_alone_and_told() -> None:
    world = World()
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "delays", "namespace": "shop"},
        "spec": {"selector": {"app": "theirs"}},
    }
    world.cluster.add(foreign)
    world.cluster.add(model(serving={}))
    await world.start()
    await world.run(60)
    found = service(world)
    assert found is not None
    assert found["spec"] == foreign["spec"]
    conditions = {condition["type"]: condition for condition in world.model()["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "ServiceMissing"
    assert "exists and is not owned by this ModelDeployment: delete or rename it" in conditions["WritesRefused"]["message"]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_route_given_and_taken_away_takes_the_services_place_and_gives_it_back(refused: bool) -> None:
    world = await serving_world()
    if refused:
        world.cluster.verdict = lambda verb, manifest: (
            Invalid(403, "no routes here") if manifest["kind"] == "HTTPRoute" and verb != "delete" else None
        )
    world.change(serving={"replicas": 2, "route": ROUTE})
    await world.run(20)
    assert (service(world) is None, bool(world.cluster.of(ROUTES))) == ((False, False) if refused else (True, True))
    world.change(serving={"replicas": 2})
    await world.run(20)
    assert service(world) is not None
    assert world.cluster.of(ROUTES) == []
