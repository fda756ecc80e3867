"""What the loop counts: every decision once, when the cluster has it, and series that go when their cause goes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest

from fakes.cluster import FakeCluster
from fakes.world import SPEC, World, model
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, VERSIONS, kind_of
from perennial.ports import ClusterError, Manifest, Unavailable

RETRAIN = {"recipe": {}, "seed": 2}
LONG = {"steps": [{"weight": 50, "hold": "1h"}], "minimumRequests": 10}


def numbers(world: World, prefix: str) -> dict[str, float]:
    """Samples by what stands behind the prefix."""
    lines = generate_latest(world.telemetry.registry).decode().splitlines()
    return {
        line.rpartition(" ")[0].removeprefix(prefix): float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix)
    }


def ends(world: World) -> dict[str, float]:
    """Rollouts by outcome, those that there were."""
    found = numbers(world, "perennial_rollouts_total")
    return {name.removeprefix('{outcome="').removesuffix('"}'): number for name, number in found.items() if number}


def stays(world: World) -> dict[str, float]:
    """How many stays in each state were told."""
    found = numbers(world, "perennial_version_state_seconds_count")
    return {name.removeprefix('{state="').removesuffix('"}'): number for name, number in found.items() if number}


async def serving_world(cluster: FakeCluster | None = None, **spec: Any) -> World:
    world = World()
    if cluster is not None:
        world.cluster = cluster
    world.cluster.add(model(**spec))
    await world.start()
    await world.run(60)
    return world


async def test_a_first_version_is_no_rollout() -> None:
    assert ends(await serving_world()) == {}


async def test_a_promotion_is_counted_once() -> None:
    world = await serving_world()
    world.change(training=RETRAIN)
    await world.run(600)
    assert ends(world) == {"promoted": 1}


async def test_a_promotion_with_a_watch_is_counted_when_the_watch_is_over() -> None:
    world = await serving_world(rollout={**SPEC["rollout"], "watch": {"for": "1m", "holdBack": 10}})
    world.change(training=RETRAIN)
    while world.model()["status"]["stable"] != 2:
        await world.run(5)
    assert ends(world) == {}
    await world.run(90)
    assert ends(world) == {"promoted": 1}


async def test_a_rollback_is_counted_once() -> None:
    world = await serving_world()
    world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.run(600)
    assert ends(world) == {"rolled_back": 1}


async def test_what_a_person_aborts_is_counted_as_that() -> None:
    world = await serving_world(rollout=LONG)
    world.change(training=RETRAIN)
    await world.run(60)
    world.annotate(abort="2")
    await world.run(60)
    assert ends(world) == {"aborted": 1}


async def test_a_rollout_that_a_newer_version_ends_is_superseded() -> None:
    world = await serving_world(rollout=LONG)
    world.change(training=RETRAIN)
    await world.run(60)
    world.change(training={"recipe": {}, "seed": 3})
    await world.run(60)
    assert ends(world) == {"superseded": 1}


class Stumbling:
    """Refuses the write that ends a rollout a few times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, verb: str, manifest: Manifest) -> ClusterError | None:
        status = manifest.get("status", {})
        ends_one = kind_of(manifest) == DEPLOYMENTS_OF_MODELS and verb == "update" and "quarantined" in status
        if not (ends_one and status["quarantined"] and self.left):
            return None
        self.left -= 1
        return Unavailable(503, "the API server is not there")


async def test_a_rollback_whose_write_failed_is_counted_once_all_the_same() -> None:
    world = await serving_world()
    stumbling = Stumbling(3)
    world.cluster.verdict = stumbling
    world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.run(600)
    assert stumbling.left == 0
    assert ends(world) == {"rolled_back": 1}


class Deaf(FakeCluster):
    """Carries out every third write of a status, and its answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses = 0

    async def replace_status(self, manifest: Manifest) -> Manifest:
        answer = await super().replace_status(manifest)
        self.statuses += 1
        if self.statuses % 3 == 0:
            raise Unavailable(0, "no answer")
        return answer


@pytest.mark.parametrize(("bad", "outcome"), [(False, "promoted"), (True, "rolled_back")])
async def test_an_end_whose_answer_was_lost_is_counted_once(bad: bool, outcome: str) -> None:
    for offset in range(3):
        cluster = Deaf()
        cluster.statuses = offset
        world = await serving_world(cluster)
        world.pods.bad_versions.update({2} if bad else set())
        world.change(training=RETRAIN)
        await world.run(900)
        assert ends(world) == {outcome: 1}, offset


async def test_every_state_of_a_version_is_told_with_its_seconds() -> None:
    world = await serving_world(rollout=LONG)
    world.change(training=RETRAIN)
    await world.run(60)
    world.annotate(promote="2")
    await world.run(60)
    told = stays(world)
    assert told["Canary"] == told["Serving"] == 1
    assert told["Training"] == told["Preparing"] == told["Evaluating"] == 2
    seconds = numbers(world, "perennial_version_state_seconds_sum")
    assert 50 <= seconds['{state="Canary"}'] <= 62
    assert 100 <= seconds['{state="Serving"}'] <= 125


async def test_a_state_that_began_before_the_operator_did_is_not_told() -> None:
    world = await serving_world(rollout=LONG)
    world.change(training=RETRAIN)
    await world.run(60)
    await world.start()
    world.annotate(promote="2")
    await world.run(60)
    assert [one["status"]["state"] for one in world.cluster.of(VERSIONS)] == ["Retired", "Serving"]
    assert stays(world) == {}


async def test_evidence_is_shown_while_a_rollout_lasts_as_its_version_has_it() -> None:
    world = await serving_world(rollout=LONG)
    assert numbers(world, "perennial_rollout_evidence") == {}
    world.change(training=RETRAIN)
    await world.run(60)
    version = next(one for one in world.cluster.of(VERSIONS) if one["spec"]["number"] == 2)
    written = {one["name"]: one for one in version["status"]["evidence"]}
    assert {"errors"} <= written.keys()
    for name, one in written.items():
        labels = f'{{metric="{name}",model="delays",model_namespace="shop"}}'
        assert numbers(world, "perennial_rollout_evidence{")[labels[1:]] == one["e"]
        assert numbers(world, "perennial_rollout_evidence_threshold")[labels] == one["threshold"]
        assert numbers(world, "perennial_rollout_alpha_used_ratio")[labels] == one["alphaUsed"]
    world.annotate(promote="2")
    await world.run(60)
    assert numbers(world, "perennial_rollout_") == {}


async def test_trouble_is_told_while_it_lasts_and_everything_goes_with_the_model() -> None:
    world = await serving_world()
    world.pods.silent.add("delays-v2-hash-0")
    world.change(training=RETRAIN)
    await world.run(60)
    labels = '{condition="Measured",model="delays",model_namespace="shop",reason="PodsUnreachable"}'
    assert numbers(world, "perennial_model_trouble")[labels] == 1
    world.pods.silent.clear()
    await world.run(60)
    assert numbers(world, "perennial_model_trouble") == {}
    assert numbers(world, "perennial_models") == {'{state="Serving"}': 1}
    world.cluster.remove(world.model())
    await world.run(60)
    assert numbers(world, "perennial_models") == {}
