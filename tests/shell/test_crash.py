"""Killed after any write, a new operator comes to the same end, and no Job is made twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from fakes.cluster import Crash
from fakes.world import SPEC, World, model
from perennial.adapters.kinds import CONFIG_MAPS, DEPLOYMENTS_OF_MODELS, EVENTS, JOBS, ROUTES, VERSIONS, WORKLOADS
from perennial.api.ledger import Ledger
from perennial.core import ledger

PARTS = 6
"""Each a share of the kills, so that no test is long."""
RETRAIN = {"recipe": {}, "seed": 2}
TIMES = re.compile(r"(.*At|since|.*Time|.*Timestamp|resourceVersion)$")
OF_ENTRIES = {"at", "facts", "previous", "digest"}
"""Of the ledger's entries: times, counts, and the digests of both."""
MEASURED = re.compile(r"(evidence|shadowEvidence|message)$")
"""What a rollout counted, and the words about it, differ by the seconds that a restart takes."""


async def story(crash_after: int | None, *, bad: bool, shadow: bool) -> World:
    """v1 is made and v2 rolled out (or taken back), with one kill on the way."""
    world = World()
    world.cluster.add(model(rollout={**SPEC["rollout"], "shadow": {"hold": "2s"}}) if shadow else model())
    world.cluster.crash_after = crash_after
    await world.start()
    await world.outlive(60)
    if bad:
        world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.outlive(180)
    return world


def end(world: World, *, written: bool = True) -> tuple[Any, ...]:
    """What has to be the same: objects made and deleted per kind and name, and the state they are left in."""
    # a recording is in memory until the rollout is over, and nothing rests on it
    log = Counter(entry for entry in world.cluster.log if entry[1] not in (EVENTS, CONFIG_MAPS))
    # out of a shadow a new operator may take off the mirror and give the first weight in one write of the route
    counts = () if written else ("generation", "observedGeneration")
    kinds = (DEPLOYMENTS_OF_MODELS, VERSIONS, JOBS, WORKLOADS, ROUTES)
    return log, [mask(manifest, counts if kind == ROUTES else ()) for kind in kinds for manifest in world.cluster.of(kind)]


def version_status(world: World, number: int) -> Any:
    return next(one["status"] for one in world.cluster.of(VERSIONS) if one["spec"]["number"] == number)


def mask(value: Any, names: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        if value.keys() >= OF_ENTRIES - {"facts"}:
            names = (*names, *OF_ENTRIES)
        kept = {name: inner for name, inner in value.items() if name not in names and not TIMES.match(name)}
        return {name: mask(inner, names) for name, inner in kept.items() if not MEASURED.match(name)}
    return [mask(inner, names) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("bad", [False, True], ids=["promoted", "rolled back"])
@pytest.mark.parametrize("shadow", [False, True], ids=["steps", "shadow"])
async def test_a_kill_after_any_write_leads_to_the_same_end(shadow: bool, bad: bool, part: int) -> None:
    reference = await story(None, bad=bad, shadow=shadow)
    assert reference.model()["status"]["stable"] == (1 if bad else 2)
    assert bool(version_status(reference, 2).get("shadowEvidence")) is shadow
    expected = end(reference, written=not shadow)
    for number in range(1 + part, len(reference.cluster.writes) + 1, PARTS):
        world = await story(number, bad=bad, shadow=shadow)
        assert end(world, written=not shadow) == expected, f"killed after write {number}: {reference.cluster.writes[number - 1]}"


async def test_the_ledger_that_a_kill_left_verifies() -> None:
    world = await story(None, bad=True, shadow=True)
    for one in (world, await story(len(world.cluster.writes) // 2, bad=True, shadow=True)):
        kept = Ledger.model_validate(one.model()["status"]["ledger"])
        assert (ledger.problem(kept.entries), ledger.gap(kept)) == ("", "")
        assert [entry["number"] for entry in version_status(one, 2)["ledger"]] == [
            e.number for e in kept.entries if e.version == 2
        ]


async def test_two_kills_in_a_row_make_no_second_job() -> None:
    for number in range(1, 20):
        world = World()
        world.cluster.add(model())
        world.cluster.crash_after = number
        await world.start()
        with pytest.raises(Crash):
            await world.run(60)
        world.cluster.crash_after = number + 1
        await world.start()
        await world.outlive(120)
        created = Counter(name for verb, kind, name in world.cluster.log if verb == "created" and kind == JOBS)
        assert set(created.values()) == {1}
        assert world.model()["status"]["stable"] == 1
