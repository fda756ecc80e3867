"""The shell keeps the recording of a rollout when that is over: once, last, and never in the way of anything."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fakes.world import SPEC, World, model
from perennial.adapters.kinds import CONFIG_MAPS, DEPLOYMENTS_OF_MODELS, VERSIONS
from perennial.api.recording import RECORDING_KEY
from perennial.core import storing
from perennial.core.replay import replay, reproduced
from perennial.core.tape import Tape, read
from perennial.ports import Invalid, Manifest
from perennial_runtime.store import Store

RETRAIN = {"recipe": {}, "seed": 2}


async def rolling_out(*, bad: bool = False, refused: str = "", **rollout: object) -> World:
    """v1 serves, v2 is on its way."""
    world = World()
    world.cluster.add(model(rollout={**SPEC["rollout"], **rollout}))
    await world.start()
    await world.run(60)
    if bad:
        world.pods.bad_versions.add(2)
    if refused:
        world.cluster.verdict = lambda verb, one: Invalid(403, refused) if one["kind"] == "ConfigMap" else None
    world.change(training=RETRAIN)
    return world


def recordings(world: World) -> list[Manifest]:
    return world.cluster.of(CONFIG_MAPS)


def tape(world: World) -> Tape:
    (kept,) = recordings(world)
    return read(base64.b64decode(kept["binaryData"][RECORDING_KEY]))


async def test_a_rollback_is_kept_after_it_was_decided_and_replays_to_the_same() -> None:
    world = await rolling_out(bad=True)
    await world.run(120)
    (kept,) = recordings(world)
    assert (kept["metadata"]["name"], kept["immutable"]) == ("delays-v2-recording", True)
    assert [owner["name"] for owner in kept["metadata"]["ownerReferences"]] == ["delays-v2"]
    writes = [(verb, kind) for verb, kind, _ in world.cluster.writes]
    made = writes.index(("create", CONFIG_MAPS))
    assert ("update", DEPLOYMENTS_OF_MODELS) in writes[:made]
    recorded = tape(world)
    replayed = replay(recorded)
    assert (replayed.outcome, reproduced(recorded, replayed)) == ("rolled back", "")
    message = next(one for one in world.cluster.of(VERSIONS) if one["spec"]["number"] == 2)["status"]["message"]
    assert message == f"{replayed.milestones[0].reason}: {replayed.milestones[0].message}"


async def test_a_promotion_out_of_a_shadow_is_kept_when_its_watch_is_over() -> None:
    world = await rolling_out(shadow={"hold": "2s"}, watch={"for": "30s"})
    await world.run(20)
    assert world.model()["status"]["stable"] == 2
    assert recordings(world) == []
    await world.run(120)
    recorded = tape(world)
    assert reproduced(recorded, replay(recorded)) == ""
    assert replay(recorded).outcome == "promoted and watched"


def tries(world: World) -> int:
    """How often the API server was asked for a ConfigMap."""
    return [(verb, kind) for verb, kind, _ in world.cluster.writes].count(("create", CONFIG_MAPS))


async def test_one_that_is_refused_is_told_in_the_log_tried_again_ever_later_and_is_no_fault_of_the_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await rolling_out(bad=True, refused='configmaps is forbidden: exceeded quota "small"')
    await world.run(60)
    assert world.model()["status"]["stable"] == 1
    assert world.model()["status"]["quarantined"]
    assert "WritesRefused" not in [c["type"] for c in world.model()["status"]["conditions"]]
    assert any("KeepRecording" in line and 'exceeded quota "small"' in line for line in caplog.messages)
    before = tries(world)
    await world.run(600)
    assert 10 <= tries(world) - before <= 40
    world.cluster.verdict = lambda verb, one: None
    await world.run(400)
    assert reproduced(tape(world), replay(tape(world))) == ""


async def test_one_that_is_refused_is_not_asked_for_while_another_rollout_is_measured() -> None:
    world = await rolling_out(bad=True, refused="forbidden", steps=[{"weight": 50, "hold": "300s"}])
    await world.run(60)
    assert world.model()["status"]["quarantined"]
    world.change(training={"recipe": {}, "seed": 3})
    await world.run(60)
    assert world.model()["status"]["rollout"]["candidate"] == 3
    before = tries(world)
    await world.run(120)
    assert world.model()["status"]["rollout"]["candidate"] == 3
    assert tries(world) == before


async def test_one_of_that_name_that_is_there_is_left_alone_and_nothing_is_written_again(tmp_path: Path) -> None:
    world = await rolling_out(bad=True)
    world.store = Store(f"file://{tmp_path}")
    name = {"name": "delays-v2-recording", "namespace": "shop"}
    world.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"theirs": "x"}})
    await world.run(storing.OLDEST_SECONDS + 60)
    before = len(world.cluster.writes)
    await world.run(3600)
    assert world.cluster.writes[before:] == []
    assert [one.get("data") for one in recordings(world)] == [{"theirs": "x"}]


async def test_an_operator_that_is_started_again_records_the_rest() -> None:
    world = await rolling_out(steps=[{"weight": 50, "hold": "60s"}])
    await world.run(40)
    await world.start()
    await world.run(120)
    recorded = tape(world)
    assert not recorded.header.complete
    assert reproduced(recorded, replay(recorded)) == ""
    assert replay(recorded).outcome == "promoted"


async def test_recordings_go_with_their_version() -> None:
    world = await rolling_out(bad=True)
    await world.run(120)
    assert len(recordings(world)) == 1
    world.cluster.remove(world.model())
    await world.run(60)
    assert recordings(world) == []
