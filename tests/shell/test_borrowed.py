"""The shell with the real core and a rule that is borrowed: what is written on a user's HTTPRoute, and how it gets it back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.shop_route import LEGACY, REWRITE, backend, rule, shop_route
from fakes.world import NAMESPACE, SPEC, World, model
from perennial.adapters import observe
from perennial.adapters.cache import Cache
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, EVENTS, ROUTES, SERVICES
from perennial.lending import Lending
from perennial.ports import ClusterError, Conflict, Invalid, Manifest, Unavailable

RETRAIN = {"recipe": {}, "seed": 2}
BORROWED = {"route": {"httpRoute": {"name": "shop", "rule": "predict"}}}
OWN = {"route": {"parentRefs": [{"name": "gw"}], "path": "/delays"}}
CLAIM = "perennial.dev/claim.delays"
FINALIZER = "perennial.dev/borrowed-rule"


def route_of(world: World, name: str = "shop") -> Manifest:
    return next(copy.deepcopy(one) for one in world.cluster.of(ROUTES) if one["metadata"]["name"] == name)


def predict(world: World) -> Manifest:
    return next(one for one in route_of(world)["spec"]["rules"] if one.get("name") == "predict")


def ours(world: World) -> dict[str, int]:
    """Weights of our backends in the rule, without zeros."""
    return {
        ref["name"]: ref["weight"] for ref in predict(world).get("backendRefs") or () if ref["name"] != "legacy" and ref["weight"]
    }


def edit(world: World, change: Callable[[Manifest], None]) -> None:
    """A person changes the route."""
    route = route_of(world)
    change(route)
    world.cluster.edit(route)


def condition(world: World, kind: str, name: str = "delays") -> Manifest:
    found = next(one for one in world.cluster.of(DEPLOYMENTS_OF_MODELS) if one["metadata"]["name"] == name)
    return next((one for one in found["status"]["conditions"] if one["type"] == kind), {})


def events(world: World, reason: str) -> list[str]:
    return [one["message"] for one in world.cluster.of(EVENTS) if one["reason"] == reason]


def second(**spec: Any) -> Manifest:
    """Another ModelDeployment, for the same rule unless told otherwise."""
    manifest = model(serving=BORROWED, **spec)
    manifest["metadata"]["name"] = "rides"
    return manifest


def without_ours(route: Manifest) -> Manifest:
    """The route's spec but for what is ours in `predict`."""
    spec = copy.deepcopy(route["spec"])
    for one in spec["rules"]:
        if one.get("name") == "predict":
            one["backendRefs"] = [ref for ref in one["backendRefs"] if not ref["name"].startswith("delays-v")]
            one["filters"] = [each for each in one["filters"] if each["type"] != "RequestMirror"]
    return dict(spec)


async def borrowing(route: Manifest | None = None, **spec: Any) -> World:
    """v1 serves by the rule."""
    world = World()
    world.cluster.add(route or shop_route())
    world.cluster.add(model(serving=BORROWED, **spec))
    await world.start()
    await world.run(60)
    return world


def delete(world: World) -> None:
    world.cluster.tell_to_go(world.model())


def is_gone(world: World) -> bool:
    return not world.cluster.of(DEPLOYMENTS_OF_MODELS)


async def test_first_version_serves_by_the_rule_and_says_where() -> None:
    world = await borrowing()
    assert predict(world)["backendRefs"] == [LEGACY, backend(1, 100)]
    status = world.model()["status"]
    assert (status["address"], status["summary"]) == ("http://shop.example.com/shop/predict", "Serving")
    assert condition(world, "Borrowed")["message"] == "rule predict of HTTPRoute shop"
    assert condition(world, "Ready")["status"] == "True"
    assert world.model()["metadata"]["finalizers"] == [FINALIZER]
    assert len(events(world, "RuleBorrowed")) == 1
    assert [one["metadata"]["name"] for one in world.cluster.of(ROUTES)] == ["shop"]


@pytest.mark.parametrize("bad", [False, True], ids=["promoted", "rolled back"])
async def test_everything_but_our_weights_stays_during_and_after_a_rollout_and_deletion_leaves_the_original(bad: bool) -> None:
    original = shop_route()
    world = await borrowing(original, rollout={**SPEC["rollout"], "shadow": {"hold": "2s"}})
    seen: list[Manifest] = []
    world.cluster.watchers.append(lambda event, one: seen.append(one) if one["kind"] == "HTTPRoute" else None)
    if bad:
        world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.run(180)
    assert ours(world) == {"delays-v1" if bad else "delays-v2": 100}
    delete(world)
    await world.run(5)
    assert is_gone(world)
    assert route_of(world)["spec"] == original["spec"]
    assert route_of(world)["metadata"]["annotations"] == {"team": "shop"}
    assert all(without_ours(one) == original["spec"] for one in seen)
    mirrored = [one for one in seen if any(each["type"] == "RequestMirror" for each in one["spec"]["rules"][1]["filters"])]
    weights = {tuple(ref["weight"] for ref in one["spec"]["rules"][1]["backendRefs"][1:]) for one in seen}
    assert mirrored
    assert ((50, 50) in weights) is not bad


async def test_spec_of_the_model_is_never_written() -> None:
    world = await borrowing()
    world.change(training=RETRAIN)
    await world.run(120)
    assert world.model()["spec"] == {**SPEC, "training": RETRAIN, "serving": BORROWED}
    assert world.model()["metadata"]["generation"] == 2


async def test_nothing_is_written_when_converged_nor_after_a_restart(tmp_path: Path) -> None:
    world = await borrowing()
    assert await world.rests(tmp_path)


async def test_what_is_changed_by_hand_in_our_part_is_put_back_and_foreign_parts_are_kept() -> None:
    world = await borrowing()

    def spoil(route: Manifest) -> None:
        here = route["spec"]["rules"][1]
        here["backendRefs"] = [{**backend(1, 1)}, {**LEGACY, "weight": 9}]
        here["timeouts"] = {"request": "1s"}
        route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 4

    edit(world, spoil)
    await world.run(5)
    assert predict(world)["backendRefs"] == [backend(1, 100), {**LEGACY, "weight": 9}]
    edit(world, lambda route: route["spec"]["rules"][1].pop("backendRefs"))
    await world.run(5)
    assert predict(world)["backendRefs"] == [backend(1, 100)]
    delete(world)
    await world.run(5)
    assert "backendRefs" not in predict(world) or predict(world)["backendRefs"] == []
    assert predict(world)["timeouts"] == {"request": "1s"}
    assert route_of(world)["spec"]["rules"][0]["backendRefs"][0]["weight"] == 4


async def test_claim_that_is_removed_by_hand_is_made_again_and_the_original_is_not_lost() -> None:
    original = shop_route()
    world = await borrowing(original)
    edit(world, lambda route: route["metadata"]["annotations"].pop(CLAIM))
    await world.run(5)
    assert CLAIM in route_of(world)["metadata"]["annotations"]
    delete(world)
    await world.run(5)
    assert route_of(world)["spec"] == original["spec"]


async def test_edit_between_reading_and_writing_is_never_overwritten() -> None:
    world = await borrowing()
    edits = iter(({"request": "2s"}, {"request": "3s"}))

    def meanwhile(verb: str, manifest: Manifest) -> None:
        timeouts = next(edits, None) if verb == "patch" and manifest["kind"] == "HTTPRoute" else None
        if timeouts:
            edit(
                world,
                lambda route: route["spec"]["rules"][1].update(
                    timeouts=timeouts,
                    backendRefs=[
                        {**LEGACY, "weight": int(timeouts["request"][0])},
                        *route["spec"]["rules"][1]["backendRefs"][1:],
                    ],
                ),
            )

    world.cluster.verdict = meanwhile
    world.change(training=RETRAIN)
    await world.run(120)
    assert ours(world) == {"delays-v2": 100}
    assert predict(world)["timeouts"] == {"request": "3s"}
    assert predict(world)["backendRefs"][0] == {**LEGACY, "weight": 3}
    assert not condition(world, "WritesRefused")


@pytest.mark.parametrize(
    ("route", "reason", "words"),
    [
        (None, "HTTPRouteMissing", "create it, or correct spec.serving.route.httpRoute.name"),
        (shop_route(rule("pages")), "RuleMissing", "has no rule named predict, but pages"),
        (shop_route(rule(name=None)), "RuleMissing", "upgrade its CRDs"),  # type: ignore[arg-type]
        (shop_route(rule(), rule()), "RuleAmbiguous", "has 2 rules named predict"),
        (shop_route(rule(filters=None)), "PathNotRouted", "add to its filters {type: URLRewrite"),
        (
            shop_route(ownerReferences=[{"kind": "ModelDeployment", "name": "rides", "uid": "x", "controller": True}]),
            "HTTPRouteNotYours",
            "was made for ModelDeployment rides",
        ),
    ],
)
async def test_rule_that_cannot_be_borrowed_is_told_and_taken_as_soon_as_it_can(
    route: Manifest | None, reason: str, words: str
) -> None:
    world = World()
    if route is not None:
        world.cluster.add(route)
    world.cluster.add(model(serving=BORROWED))
    await world.start()
    await world.run(60)
    told = condition(world, "Accepted")
    assert (told["status"], told["reason"]) == ("False", reason)
    assert words in told["message"]
    assert condition(world, "Stalled")["reason"] == reason
    assert condition(world, "Ready")["status"] == "False"
    assert "finalizers" not in world.model()["metadata"]
    if route is not None:
        assert route_of(world)["spec"] == route["spec"]
        world.cluster.remove(route_of(world))
    world.cluster.add(shop_route())
    await world.run(5)
    assert ours(world) == {"delays-v1": 100}
    assert condition(world, "Accepted") == {}


async def test_second_claimant_is_refused_with_the_firsts_name_and_takes_over_when_that_goes() -> None:
    original = shop_route()
    world = await borrowing(original)
    world.cluster.add(second())
    await world.run(60)
    told = condition(world, "Accepted", "rides")
    assert (told["status"], told["reason"]) == ("False", "RouteClaimed")
    assert "held by ModelDeployment delays" in told["message"]
    assert ours(world) == {"delays-v1": 100}
    before = len(world.cluster.writes)
    await world.run(600)
    assert len(world.cluster.writes) == before
    delete(world)
    await world.run(10)
    assert ours(world) == {"rides-v1": 100}
    assert predict(world)["backendRefs"][0] == LEGACY
    assert condition(world, "Accepted", "rides") == {}
    world.cluster.tell_to_go(next(iter(world.cluster.of(DEPLOYMENTS_OF_MODELS))))
    await world.run(5)
    assert route_of(world)["spec"] == original["spec"]


async def test_claim_of_one_that_went_by_force_is_taken_over() -> None:
    world = await borrowing()
    world.cluster.add(second())
    await world.run(60)
    world.cluster.remove(world.model())  # somebody took its finalizer off
    await world.run(30)
    assert ours(world) == {"rides-v1": 100}
    assert list(route_of(world)["metadata"]["annotations"]) == ["team", "perennial.dev/claim.rides"]


async def test_model_that_is_made_again_under_its_name_for_another_rule_loses_nothing_of_the_first() -> None:
    original = shop_route(rule("pages"), rule())
    world = await borrowing(original)
    world.cluster.remove(world.model())  # somebody took its finalizer off
    world.cluster.add(model(serving={"route": {"httpRoute": {"name": "shop", "rule": "pages"}}}))
    await world.run(90)
    assert predict(world)["backendRefs"] == [LEGACY]
    assert route_of(world)["spec"]["rules"][0]["backendRefs"] == [LEGACY, backend(1, 100)]
    delete(world)
    await world.run(5)
    assert route_of(world)["spec"] == original["spec"]


async def test_two_models_borrow_two_rules_of_one_route() -> None:
    world = await borrowing()
    other = second()
    other["spec"]["serving"] = {"route": {"httpRoute": {"name": "shop", "rule": "pages"}}}
    world.cluster.add(other)
    edit(world, lambda route: route["spec"]["rules"][0].update(filters=[REWRITE]))
    await world.run(60)
    assert ours(world) == {"delays-v1": 100}
    assert route_of(world)["spec"]["rules"][0]["backendRefs"] == [LEGACY, backend(1, 100, "rides")]
    assert condition(world, "Ready", "rides")["status"] == "True"


@pytest.mark.parametrize(
    "after", [OWN, {}, {"route": {"httpRoute": {"name": "shop", "rule": "pages"}}}], ids=["own", "none", "rule"]
)
async def test_rule_is_given_back_when_another_router_serves_and_taken_again(after: dict[str, Any]) -> None:
    original = shop_route(rule("pages"), rule())
    world = await borrowing(original, rollout={"steps": [{"weight": 50, "hold": "2s"}], "minimumRequests": 10})
    world.change(serving=after)
    await world.run(20)
    assert predict(world) == original["spec"]["rules"][1]
    assert ("finalizers" in world.model()["metadata"]) is (after.get("route", {}).get("httpRoute") is not None)
    assert condition(world, "Ready")["status"] == "True"
    assert {one["metadata"]["name"] for one in world.cluster.of(SERVICES)} == {"delays-v1", *(() if after else ("delays",))}
    world.change(serving=BORROWED)
    await world.run(20)
    assert ours(world) == {"delays-v1": 100}
    assert route_of(world)["spec"]["rules"][0] == original["spec"]["rules"][0]
    assert [one["metadata"]["name"] for one in world.cluster.of(ROUTES)] == ["shop"]
    assert {one["metadata"]["name"] for one in world.cluster.of(SERVICES)} == {"delays-v1"}


async def test_rule_stays_until_the_other_router_serves() -> None:
    world = await borrowing()
    world.cluster.verdict = lambda verb, manifest: (
        Invalid(403, "no routes here") if manifest["kind"] == "HTTPRoute" and verb == "apply" else None
    )
    world.change(serving=OWN)
    await world.run(20)
    assert ours(world) == {"delays-v1": 100}


@pytest.mark.parametrize("gone", ["route", "rule"])
async def test_deletion_does_not_wait_for_what_is_gone(gone: str) -> None:
    world = await borrowing()
    if gone == "route":
        world.cluster.remove(route_of(world))
    else:
        edit(world, lambda route: route["spec"]["rules"].pop(1))
    await world.run(5)
    assert condition(world, "Accepted")["status"] == "False"
    delete(world)
    await world.run(5)
    assert is_gone(world)
    assert all(CLAIM not in one["metadata"]["annotations"] for one in world.cluster.of(ROUTES))


async def test_deletion_that_is_refused_is_told_and_does_not_hang() -> None:
    world = await borrowing()
    world.cluster.verdict = lambda verb, manifest: (
        Invalid(403, "httproutes is forbidden") if manifest["kind"] == "HTTPRoute" and verb == "patch" else None
    )
    delete(world)
    await world.run(20)
    told = condition(world, "Ready")
    assert (told["status"], told["reason"]) == ("False", "NotGivenBack")
    assert "rule predict of HTTPRoute shop cannot be given back: httproutes is forbidden" in told["message"]
    await world.run(90)
    assert is_gone(world)
    assert "remove the backends delays-v<N> and the annotation perennial.dev/claim.delays" in events(world, "RuleLeft")[0]


@pytest.mark.parametrize("error", [Unavailable(503, "the webhook is down"), Conflict(409, "written all the time")])
async def test_return_that_cannot_be_written_for_a_minute_is_told_and_does_not_hang(error: ClusterError) -> None:
    world = await borrowing()
    world.cluster.verdict = lambda verb, manifest: error if manifest["kind"] == "HTTPRoute" and verb == "patch" else None
    delete(world)
    await world.run(20)
    assert condition(world, "Ready")["reason"] == "NotGivenBack"
    assert str(error) in condition(world, "Ready")["message"]
    await world.run(120)
    assert is_gone(world)
    assert len(events(world, "RuleLeft")) == 1


async def test_minute_of_refusals_begins_with_the_first_one_not_with_the_deletion() -> None:
    original = shop_route()
    world = await borrowing(original)
    delete(world)
    world.clock.seconds += 120  # no operator ran
    refusals = iter([Invalid(403, "no")])
    world.cluster.verdict = lambda verb, manifest: next(refusals, None) if manifest["kind"] == "HTTPRoute" else None
    await world.start()
    await world.run(30)
    assert next(refusals, None) is None
    assert is_gone(world)
    assert route_of(world)["spec"] == original["spec"]
    assert events(world, "RuleLeft") == []


async def test_finalizer_stays_while_the_route_has_a_claim_whose_answer_was_lost() -> None:
    world = await borrowing()
    delete(world)
    cache, before = Cache(), shop_route()
    before["metadata"] |= {"uid": route_of(world)["metadata"]["uid"], "resourceVersion": "1"}
    cache.put(world.model())
    cache.put(before)  # as before the claim: no event of it has come
    lending, meta = Lending(world.cluster, cache), observe.meta_of(world.model())
    assert await lending.put_finalizer(meta, wanted=False)
    assert world.model()["metadata"]["finalizers"] == [FINALIZER]
    assert cache.claimed((NAMESPACE, "delays")), "the next pass gives it back"
    assert await lending.give_back("shop", "predict", meta)
    await lending.put_finalizer(meta, wanted=False)
    assert is_gone(world)


async def test_deletion_goes_on_when_the_refusal_ends() -> None:
    original = shop_route()
    world = await borrowing(original)
    world.cluster.verdict = lambda verb, manifest: Invalid(403, "no") if manifest["kind"] == "HTTPRoute" else None
    delete(world)
    await world.run(20)
    world.cluster.verdict = lambda verb, manifest: None
    await world.run(30)
    assert is_gone(world)
    assert route_of(world)["spec"] == original["spec"]


async def test_routes_that_nobody_borrows_from_are_not_kept() -> None:
    world = World()
    for number in range(20):
        world.cluster.add(shop_route(name=f"other-{number}"))
    world.cluster.add(shop_route())
    world.cluster.add(model(serving=BORROWED))
    await world.start()
    await world.run(60)
    assert world.cache.get(ROUTES, NAMESPACE, "shop")
    assert world.cache.get(ROUTES, NAMESPACE, "other-3") is None
    delete(world)
    await world.run(5)
    assert world.cache.get(ROUTES, NAMESPACE, "shop") is None
