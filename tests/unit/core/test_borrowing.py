"""A rule of a user's route as a router: when it is claimed, driven on, and given back; and the way from one router to another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.core import actions
from perennial.core.plan import plan
from unit.core.rule_world import RuleWorld, borrowing
from unit.core.service_world import ROUTE, unrouted
from unit.core.test_plan_properties import ACTS, act

WISHES = {
    "pods": unrouted(),
    "route": unrouted(serving={"replicas": 3, "route": ROUTE}),
    "rule": borrowing(),
    "another rule": borrowing("pages"),
}
CLAIMED = ("RouteClaimed", "rule predict of HTTPRoute ns/shop is held by ModelDeployment rides")


def first(world: RuleWorld | None = None) -> RuleWorld:
    """v1 serves by the rule."""
    world = world or RuleWorld()
    world.until(lambda w: w.status.stable == 1 and world.rules["predict"].state is not None and carried(world) == {1: 100})
    world.live(3)
    return world


def carried(world: RuleWorld, rule: str = "predict") -> dict[int, int]:
    state = world.rules[rule].state
    return {version: weight for version, weight in (state.weights if state else ()) if weight}


def asked(world: RuleWorld) -> list[actions.Action]:
    decided = plan(world.observed())
    return [*decided.before, *decided.after]


def condition(world: RuleWorld, name: str) -> tuple[str, str] | None:
    found = next((one for one in plan(world.observed()).status.conditions if one.type == name), None)
    return (found.status, found.reason) if found else None


def test_finalizer_is_there_before_the_claim_and_the_claim_before_any_version() -> None:
    world = RuleWorld()
    world.live(2)
    assert world.writes == [actions.AddFinalizer(), actions.BorrowRule("shop", "predict", ())]
    assert world.status.stable is None


def test_rollout_is_carried_out_in_the_rule_and_no_other_router_is_made() -> None:
    world = first()
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: carried(world) == {1: 75, 2: 25}, rate=100)
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.live(3, rate=100)
    assert (carried(world), world.route, world.service) == ({2: 100}, None, False)


def test_rule_that_another_holds_is_not_touched_and_needs_no_finalizer() -> None:
    world = RuleWorld()
    world.rules["predict"] = replace(world.rules["predict"], refused=CLAIMED)
    world.until(lambda w: w.status.stable == 1)
    world.live(3)
    assert world.writes == []
    assert condition(world, "Accepted") == ("False", "RouteClaimed")
    assert condition(world, "Stalled") == ("True", "RouteClaimed")
    assert condition(world, "Ready") == ("False", "RouteClaimed")


def test_return_is_written_although_the_rule_has_become_wrong() -> None:
    world = first()
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: carried(world).get(2) == 25, rate=100)
    world.rules["predict"] = replace(world.rules["predict"], refused=("PathNotRouted", "no POST reaches /predict"))
    world.annotations["perennial.dev/abort"] = "2"
    world.live(3, rate=100)
    assert carried(world) == {1: 100}


def test_rule_that_is_held_still_is_told_while_the_one_that_is_named_is_missing() -> None:
    world = first()
    world.rules["predict"] = replace(world.rules["predict"], address="http://shop/api/late")
    world.rules["pages"] = replace(world.rules["pages"], state=None, refused=("RuleMissing", "no rule named pages"))
    world.wish = borrowing("pages")
    world.live(30)
    assert condition(world, "Ready") == ("False", "RuleMissing")
    words = next(one.message for one in world.status.conditions if one.type == "Ready")
    assert "until then rule predict of HTTPRoute shop leads to this model as before at http://shop/api/late" in words
    assert world.status.address == "http://shop/api/late"
    assert carried(world) == {1: 100}


def test_rule_that_is_gone_gets_no_write_and_keeps_its_versions() -> None:
    world = first()
    world.rules["predict"] = replace(world.rules["predict"], state=None, refused=("RuleMissing", "no rule named predict"))
    world.live(30)
    assert not [one for one in asked(world) if isinstance(one, actions.BorrowRule | actions.ReturnRule | actions.RemoveFinalizer)]
    assert condition(world, "Accepted") == ("False", "RuleMissing")


def test_versions_in_a_rule_that_is_still_held_keep_their_pods() -> None:
    world = first()
    world.frozen_rules = True
    world.wish = unrouted(serving={"replicas": 3, "route": ROUTE})
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.live(120, rate=100)
    assert carried(world) == {1: 100}
    assert world.replicas().get(1) == 3
    world.frozen_rules = False
    world.live(60, rate=100)
    assert carried(world) == {}
    assert world.replicas() == {2: 3}


@pytest.mark.parametrize("rolling_out", [False, True])
@pytest.mark.parametrize("there", sorted(set(WISHES) - {"rule"}))
def test_from_a_rule_to_another_router_and_back_no_request_is_lost(there: str, rolling_out: bool) -> None:
    world = first()
    if rolling_out:
        world.annotations["perennial.dev/retrain"] = "now"
        world.until(lambda w: carried(world).get(2) == 25, rate=100)
    for wish in (there, "rule"):
        world.wish = WISHES[wish]
        world.live(20, rate=100)
        assert (world.rules["predict"].held, world.rules["pages"].held) == (wish == "rule", wish == "another rule")
        assert (world.service, world.route is not None) == (wish == "pods", wish == "route")
        assert world.finalizer is (wish in ("rule", "another rule"))
    assert world.lost == 0
    world.until(lambda w: w.status.stable == (2 if rolling_out else 1), rate=100, limit=120)


def leaving(world: RuleWorld, errors: tuple[tuple[str, str], ...] = ()) -> actions.Plan:
    observed = world.observed()
    decided = plan(replace(observed, meta=replace(observed.meta, deleting=True), errors=errors))
    world.status = decided.status
    return decided


def test_deletion_gives_back_and_then_lets_go() -> None:
    world = first()
    assert leaving(world).after == (actions.ReturnRule("shop", "predict"),)
    world.apply(actions.ReturnRule("shop", "predict"))
    assert leaving(world).after == (actions.RemoveFinalizer(),)
    world.finalizer = False
    assert leaving(world) == actions.Plan(world.status)


def test_deletion_that_is_refused_is_told_tried_again_and_ends_after_a_minute_of_refusals() -> None:
    world = first()
    refused = (("ReturnRule", "httproutes is forbidden"), ("ReturnRule", "the same again"))
    world.now += timedelta(minutes=5)  # no operator ran
    early = leaving(world, refused)
    assert early.after == (actions.ReturnRule("shop", "predict"),)
    found = {one.type: (one.status, one.reason) for one in early.status.conditions}
    assert found == {"Ready": ("False", "NotGivenBack"), "Borrowed": ("False", "NotGivenBack")}
    assert all("httproutes is forbidden" in one.message for one in early.status.conditions)
    world.now += timedelta(seconds=59)
    assert leaving(world, refused).after == (actions.ReturnRule("shop", "predict"),)
    world.now += timedelta(seconds=2)
    late = leaving(world, refused)
    assert late.after == (actions.ReturnRule("shop", "predict"), actions.RemoveFinalizer())
    assert [one.reason for one in late.events] == ["RuleLeft"]


def test_deletion_tells_that_its_finalizer_cannot_be_removed() -> None:
    world = first()
    world.apply(actions.ReturnRule("shop", "predict"))
    told = leaving(world, (("RemoveFinalizer", "denied by a policy"),))
    assert told.after == (actions.RemoveFinalizer(),)
    (ready,) = told.status.conditions
    assert (ready.reason, ready.message) == ("FinalizerRefused", "its finalizer cannot be removed: denied by a policy")


def test_what_is_borrowed_is_told_once() -> None:
    world = first()
    world.live(60)
    assert [one.reason for one in world.events].count("RuleBorrowed") == 1
    world.wish = unrouted()
    world.live(20)
    assert [one.reason for one in world.events].count("RuleGivenBack") == 1
    assert [entry.what for entry in world.status.ledger.entries if entry.what.startswith("Rule")] == [
        "RuleBorrowed",
        "RuleGivenBack",
    ]


MORE = st.one_of(
    ACTS, st.tuples(st.just("wish"), st.sampled_from(sorted(WISHES))), st.tuples(st.just("freeze"), st.booleans()),
    st.tuples(st.just("claimed"), st.booleans()),
)  # fmt: skip


def do(world: RuleWorld, name: str, *arguments: Any) -> None:
    match name:
        case "wish":
            changes = {part: getattr(WISHES[arguments[0]], part) for part in ("serving", "rollout")}
            world.wish = world.wish.model_copy(update=changes)
        case "freeze":
            world.frozen_rules = arguments[0]
        case "claimed":
            rule = world.rules["predict"]
            world.rules["predict"] = replace(rule, refused=CLAIMED if arguments[0] and not rule.held else None)
        case _:
            act(world, name, *arguments)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MORE, min_size=1, max_size=8))
def test_whatever_happens_the_plan_comes_to_rest_with_one_router(sequence: list[tuple[Any, ...]]) -> None:
    world = RuleWorld()
    for name, *arguments in sequence:
        do(world, name, *arguments)
        world.live(2, rate=50)
    do(world, "freeze", False)
    do(world, "claimed", False)
    world.live(330)  # longer than the five minutes that a version has to become ready
    status, writes = world.status, len(world.writes)
    world.live(3)
    assert (world.status, len(world.writes)) == (status, writes)
    route = world.wish.serving.route
    rule = route.http_route.rule if route is not None and route.http_route is not None else ""
    assert world.finalizer is bool(rule)
    if world.ready().get(world.status.stable or 0):
        assert (world.service, world.route is not None) == (route is None, route is not None and not rule)
        assert [one.rule for one in world.rules.values() if one.held] == ([rule] if rule else [])
