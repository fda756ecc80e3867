"""What a Gateway's controller says of a route gets lost, on the way to us or before it is written, and a pod goes unheard: the
rollout goes on."""

from __future__ import annotations

from fakes.world import SPEC, World, model
from perennial.adapters.kinds import PODS, ROUTES, kind_of
from perennial.ports import Manifest

RETRAIN = {"recipe": {}, "seed": 2}


class DeafWorld(World):
    """Its watch brings no event of any HTTPRoute."""

    def _take_in(self, event: str, manifest: Manifest) -> None:
        if kind_of(manifest) != ROUTES:
            super()._take_in(event, manifest)


class GhostWorld(World):
    """Its watch does not tell when a pod has ended."""

    def _take_in(self, event: str, manifest: Manifest) -> None:
        if kind_of(manifest) != PODS or event != "DELETED":
            super()._take_in(event, manifest)


class ForgetfulWorld(World):
    """Its Gateway's controller carries a second version out and does not say so before it is reminded."""

    def _accept(self, route: Manifest) -> None:
        rule = route["spec"]["rules"][0]
        if len(rule["backendRefs"]) == 1 or "name" in rule:
            super()._accept(route)


async def rolled_out(world: World, seconds: float) -> World:
    """v2 is made and rolled out within so long."""
    world.cluster.add(model())
    await world.start()
    await world.run(60)
    assert world.model()["status"]["stable"] == 1
    world.change(training=RETRAIN)
    await world.run(seconds)
    return world


async def test_status_of_the_route_is_asked_for_where_the_watch_does_not_bring_it() -> None:
    world = await rolled_out(DeafWorld(), 120)
    assert world.model()["status"]["stable"] == 2
    assert world.model()["status"]["summary"] == "Serving"


async def test_controller_that_forgot_a_route_is_reminded_by_a_name_of_its_rule_which_is_not_written_again() -> None:
    world = await rolled_out(ForgetfulWorld(), 300)
    assert world.model()["status"]["stable"] == 2
    assert world.cluster.of(ROUTES)[0]["spec"]["rules"][0]["name"] == "predict-1"
    before = writes(world)
    await world.run(600)
    assert writes(world) == before


def measured(world: World) -> tuple[str, str]:
    found = next(one for one in world.model()["status"]["conditions"] if one["type"] == "Measured")
    return found["status"], found["message"]


async def test_pod_that_does_not_answer_is_looked_for_and_stops_no_measurement_when_it_is_gone() -> None:
    world, serving = GhostWorld(), {**SPEC["serving"], "replicas": 2}
    world.cluster.add(model(serving=serving, rollout={"steps": [{"weight": 10, "hold": "1h"}]}))
    await world.start()
    await world.run(60)
    world.change(training=RETRAIN)
    await world.run(60)
    assert measured(world)[0] == "True"
    world.pods.silent.add("delays-v1-hash-1")
    world.change(serving={**serving, "replicas": 1})
    await world.run(2)
    assert measured(world) == ("False", "pod delays-v1-hash-1 did not answer")
    await world.run(3)
    assert measured(world)[0] == "True"


def writes(world: World) -> int:
    return len([1 for _, kind, _ in world.cluster.writes if kind == ROUTES])
