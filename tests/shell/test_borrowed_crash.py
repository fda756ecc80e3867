"""Killed after any write, a new operator drives a borrowed rule to the same end, and gives it back when its model is deleted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fakes.shop_route import backend, shop_route
from fakes.world import World, model
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, ROUTES
from perennial.ports import Manifest

PARTS = 6
"""Each a share of the kills, so that no test is long."""
TOLD_OF = {DEPLOYMENTS_OF_MODELS, ROUTES}
"""Kills after writes on other objects are test_crash's."""
BORROWED = {"route": {"httpRoute": {"name": "shop", "rule": "predict"}}}
OWN = {"route": {"parentRefs": [{"name": "gw"}], "path": "/delays"}}


async def story(crash_after: int | None) -> tuple[World, list[Manifest]]:
    """v1 serves by a rule, v2 is rolled out in it; the rule is left for a route of its own and taken again; the model is deleted.

    The routes at the end of each part.
    """
    world, seen = World(), []
    world.cluster.add(shop_route())
    world.cluster.add(model(serving=BORROWED))
    world.cluster.crash_after = crash_after
    await world.start()
    await world.outlive(30)
    world.change(training={"recipe": {}, "seed": 2})
    await world.outlive(60)
    for serving in (OWN, BORROWED):
        world.change(serving=serving)
        await world.outlive(10)
        seen.append(shop(world))
    world.cluster.tell_to_go(world.model())
    await world.outlive(10)
    seen.append(shop(world))
    return world, seen


def shop(world: World) -> Manifest:
    """Of the user's route what is his, or ours in it."""
    found = next(one for one in world.cluster.of(ROUTES) if one["metadata"]["name"] == "shop")
    return {"spec": found["spec"], "annotations": sorted(found["metadata"]["annotations"])}


def made(world: World) -> Any:
    jobs = Counter(name for verb, kind, name in world.cluster.log if verb == "created" and kind == JOBS)
    return jobs, world.cluster.of(DEPLOYMENTS_OF_MODELS)


async def test_story_ends_with_the_route_as_it_was() -> None:
    world, (left, taken, given_back) = await story(None)
    original = shop_route()["spec"]
    assert (left["spec"], given_back["spec"]) == (original, original)
    assert taken["spec"]["rules"][1]["backendRefs"][1:] == [backend(2, 100), backend(1, 0)]
    assert given_back["annotations"] == ["team"]
    assert world.cluster.of(DEPLOYMENTS_OF_MODELS) == []


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_kill_after_any_write_leads_to_the_same_end(part: int) -> None:
    reference, expected = await story(None)
    for number in range(1 + part, len(reference.cluster.writes) + 1, PARTS):
        verb, kind, name = reference.cluster.writes[number - 1]
        if kind not in TOLD_OF:
            continue
        world, seen = await story(number)
        what = f"killed after write {number}: {verb} {name}"
        assert seen == expected, what
        assert made(world) == made(reference), what
