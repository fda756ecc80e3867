"""What a Gateway's controller says of a route gets lost, on the way to us or before it is written, and a pod goes unheard: the
rollout goes on."""

from __future__ import annotations

from fakes.world import KEY, SPEC, World, model
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
    """Its Gateway's controller carries the shares of two versions out and does not say so before it hears of them again."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, int] = {}
        """By the shares of a route, the generation with which they came."""

    def _accept(self, route: Manifest) -> None:
        refs = route["spec"]["rules"][0]["backendRefs"]
        shares = str(sorted((ref["name"], ref["weight"]) for ref in refs))
        generation = route["metadata"]["generation"]
        if len(refs) == 1 or self.heard.setdefault(shares, generation) < generation:
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


async def test_controller_that_forgot_a_route_is_reminded_by_its_backends_the_other_way_round() -> None:
    world = ForgetfulWorld()
    await rolled_out(world, 8)
    assert list(weights(world).items()) == [("delays-v1", 50), ("delays-v2", 50)]
    before = writes(world)
    await world.run(16)
    assert list(weights(world).items()) == [("delays-v2", 50), ("delays-v1", 50)]
    assert writes(world) == before + 1
    await world.run(8)
    assert list(weights(world).items()) == [("delays-v2", 100), ("delays-v1", 0)]
    await world.run(20)
    assert list(weights(world).items()) == [("delays-v1", 0), ("delays-v2", 100)]
    await world.run(600)
    assert writes(world) == before + 3
    assert world.model()["status"]["summary"] == "Serving"


async def test_reminder_is_written_once_for_each_number_and_again_in_a_later_silence() -> None:
    world = ForgetfulWorld()
    await rolled_out(world, 300)
    before, live = writes(world), world.cluster.of(ROUTES)[0]
    generation = live["metadata"]["generation"]
    lost = [{"type": kind, "status": "True", "observedGeneration": generation - 1} for kind in ("Accepted", "ResolvedRefs")]
    world.heard = dict.fromkeys(world.heard, generation)
    world.cluster.set_status(live, {"parents": [{"parentRef": live["spec"]["parentRefs"][0], "conditions": lost}]})
    await world.run(60)
    assert writes(world) == before + 1
    assert world.cluster.of(ROUTES)[0]["metadata"]["generation"] == generation + 1


async def test_route_that_is_gone_without_a_word_is_made_again() -> None:
    world = DeafWorld()
    await rolled_out(world, 120)
    route = world.cluster.of(ROUTES)[0]
    generation = route["metadata"]["generation"]
    conditions = [{"type": kind, "status": "True", "observedGeneration": generation - 1} for kind in ("Accepted", "ResolvedRefs")]
    world.cluster.set_status(route, {"parents": [{"parentRef": route["spec"]["parentRefs"][0], "conditions": conditions}]})
    world.cache.put(world.cluster.of(ROUTES)[0])
    world.queue.wake(KEY)
    world.cluster.remove(world.cluster.of(ROUTES)[0])
    await world.run(30)
    assert weights(world) == {"delays-v2": 100, "delays-v1": 0}


def measured(world: World) -> tuple[str, str]:
    found = next(one for one in world.model()["status"]["conditions"] if one["type"] == "Measured")
    return found["status"], found["message"]


async def test_pod_that_does_not_answer_is_looked_for_and_no_more_asked_when_it_is_gone() -> None:
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


def weights(world: World) -> dict[str, int]:
    """In the order in which they stand."""
    return {ref["name"]: ref["weight"] for ref in world.cluster.of(ROUTES)[0]["spec"]["rules"][0]["backendRefs"]}


def writes(world: World) -> int:
    return len([1 for _, kind, _ in world.cluster.writes if kind == ROUTES])
