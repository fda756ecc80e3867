"""A version is trained again: killed after any write, a new operator comes to the same one report, and nothing else is left."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fakes.world import World, model
from perennial.adapters.kinds import EVENTS, JOBS, PODS, VERSIONS, WORKLOADS
from perennial.api.ledger import LedgerEntry
from perennial.core import ledger


async def story(kill_at: int | None) -> tuple[World, int]:
    """v1 serves and is trained again; how many writes that took."""
    world = World()
    world.cluster.add(model())
    await world.start()
    await world.run(60)
    before = len(world.cluster.writes)
    if kill_at is not None:
        world.cluster.crash_after = before + kill_at
    world.annotate(reproduce="1;id=once")
    await world.outlive(60)
    return world, len(world.cluster.writes) - before


def version(world: World) -> Any:
    return world.cluster.of(VERSIONS)[0]


async def test_only_the_report_is_left_of_it() -> None:
    world, _ = await story(None)
    assert [(one["attempt"], one["outcome"]) for one in version(world)["status"]["reproduced"]] == [(1, "Equal")]
    assert [job["metadata"]["name"] for job in world.cluster.of(JOBS)] == [
        f"delays-v1-{step}-1" for step in ("prepare", "train", "evaluate")
    ]
    status = world.model()["status"]
    assert (status["stable"], status["latest"], status.get("candidate"), "reproducing" in status) == (1, 1, None, False)
    assert "Reproduced" in [one["reason"] for one in world.cluster.of(EVENTS)]
    assert len(world.cluster.of(WORKLOADS)) == 1


async def test_a_kill_after_any_of_its_writes_leads_to_the_same_report() -> None:
    reference, writes = await story(None)
    expected = [job["metadata"]["name"] for job in reference.cluster.of(JOBS)]
    for number in range(1, writes + 1):
        world, _ = await story(number)
        reports = version(world)["status"]["reproduced"]
        assert [(one["attempt"], one["outcome"]) for one in reports] == [(1, "Equal")], f"killed after write {number}"
        assert [job["metadata"]["name"] for job in world.cluster.of(JOBS)] == expected
        made = Counter(name for verb, kind, name in world.cluster.log if (verb, kind) == ("created", JOBS))
        assert made["delays-v1-reproduce-1"] == 1
        assert "reproducing" not in world.model()["status"]
        whole = [entry["what"] for entry in world.model()["status"]["ledger"]["entries"]]
        assert whole.count("Reproduced") == 1
        assert ledger.problem(version_entries(world)) == ""


def version_entries(world: World) -> list[LedgerEntry]:
    return [LedgerEntry.model_validate(one) for one in version(world)["status"]["ledger"]]


async def test_pod_that_trains_again_is_no_pod_of_the_version_s_service() -> None:
    world = World()
    world.held.add("reproduce")
    world.cluster.add(model())
    await world.start()
    await world.run(60)
    world.annotate(reproduce="1")
    await world.run(10)
    (job,) = (one for one in world.cluster.of(JOBS) if one["metadata"]["name"] == "delays-v1-reproduce-1")
    assert "perennial.dev/version" not in job["spec"]["template"]["metadata"]["labels"]
    assert len([pod for pod in world.cluster.of(PODS) if pod["metadata"]["labels"].get("perennial.dev/role") == "serve"]) == 1
