"""Properties without a route, and with one that comes and goes: the plan never raises, comes to rest, and leaves one router."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.core.service_world import ROUTE, ServiceWorld, unrouted
from unit.core.test_plan_properties import ACTS, act

WISHES = {
    "pods": unrouted(),
    "watch": unrouted(
        rollout={"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 20, "watch": {"for": "30s", "holdBack": 25}}
    ),
    "route": unrouted(serving={"replicas": 3, "route": ROUTE}),
}
MORE = st.one_of(ACTS, st.tuples(st.just("wish"), st.sampled_from(sorted(WISHES))), st.tuples(st.just("lose_service"), st.none()))


def do(world: ServiceWorld, name: str, *arguments: Any) -> None:
    match name:
        case "wish":
            changes = {part: getattr(WISHES[arguments[0]], part) for part in ("serving", "rollout")}
            world.wish = world.wish.model_copy(update=changes)
        case "lose_service":
            world.service = False
        case _:
            act(world, name, *arguments)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MORE, min_size=1, max_size=10))
def test_no_sequence_of_events_makes_the_plan_raise_and_it_comes_to_rest_with_one_router(sequence: list[tuple[Any, ...]]) -> None:
    world = ServiceWorld()
    for name, *arguments in sequence:
        do(world, name, *arguments)
        world.live(2, rate=50)
    world.sleep(400)
    status, scaled = world.status, len(world.scaled)
    world.live(3)
    assert world.status == status
    assert len(world.scaled) == scaled
    if world.ready().get(world.status.stable or 0):
        assert world.service is (world.wish.serving.route is None)
        assert (world.route is None) is world.service


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.just("annotate"), st.sampled_from(["rollback-to", "retrain", "promote", "abort"]), st.just("")), max_size=6
    )
)
def test_whatever_a_person_asks_for_no_request_is_without_a_pod(sequence: list[tuple[Any, ...]]) -> None:
    world = ServiceWorld()
    world.until(lambda w: w.status.stable == 1)
    world.live(2)
    for name, *arguments in sequence:
        do(world, name, *arguments)
        world.live(7, rate=50)
    world.live(60, rate=50)
    assert (world.lost, world.fewest) == (0, 3)
