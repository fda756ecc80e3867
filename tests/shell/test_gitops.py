"""What a GitOps tool applied stays as it was applied, through commits, requests, a rollback and a return."""

from __future__ import annotations

import copy

from fakes.world import World, model
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS


async def test_spec_of_a_person_is_never_written() -> None:
    world = World()
    world.cluster.add(model())
    await world.start()
    committed = copy.deepcopy(world.model()["spec"])
    await world.run(60)
    for seed in (2, 3):
        training = {"recipe": {}, "seed": seed}
        world.change(training=training)
        committed["training"] = training
        await world.run(120)
        world.pods.bad_versions.add(3)
    for request in ({"pause": ""}, {"resume": ""}, {"rollback_to": "1"}, {"resume": ""}, {"retrain": "again"}):
        world.annotate(**request)
        await world.run(60)
    live = world.model()
    assert [one["version"] for one in live["status"]["quarantined"]] == [3]
    assert {one["verb"] for one in live["status"]["requests"]} == {"pause", "resume", "rollback-to", "retrain"}
    assert (live["spec"], live["metadata"]["generation"]) == (committed, 3)
    assert not live["metadata"].get("annotations")
    assert {verb for verb, kind, _ in world.cluster.writes if kind == DEPLOYMENTS_OF_MODELS} == {"update", "patch"}
