"""The Gateway's controller carries a route out and does not say so, on the real gateway: a rollout is judged all the same.

What it told is lost (here a person puts an older answer into the route's status), or it is away altogether; the proxy goes on
with the weights that it has. The tests build on each other: v1 serves, v2 is in its canary and fails on a kind of shop.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.scaling import scale
from cluster_support.shop import NAME, NEW_KIND, ROWS, V1, V2, routed, traffic
from demo import view
from demo.stage import State

pytestmark = pytest.mark.alone

FIRST_STEP = {V1: 80, V2: 20}
CONTROLLER = "envoy-gateway"

Manifest = dict[str, Any]


def manifest(place: Place, *, harmful: bool = False) -> Manifest:
    """Its first step lasts longer than the test."""
    rollout = {"steps": [{"weight": 20, "hold": "20m"}], "minimumRequests": 30}
    return place.manifest(NAME, rollout=rollout, training=place.light(fails_on=NEW_KIND if harmful else ""))


def route(place: Place) -> Manifest:
    return place.kubectl.get("httproute", NAME) or {}


def confirmed(place: Place) -> int:
    """The generation that the controller has last told of."""
    return min(one["observedGeneration"] for parent in route(place)["status"]["parents"] for one in parent["conditions"])


def measured(state: State) -> tuple[str, str]:
    found = view.condition(state.deployment, "Measured")
    return str(found.get("status")), str(found.get("reason"))


@pytest.fixture(scope="module")
def canary(shared_place: Place) -> Place:
    """v2 in the first step of its canary, and measured."""
    place = shared_place
    place.upload(synthetic.table(ROWS), "january.parquet")
    place.apply(manifest(place))
    place.serving(1, name=NAME)
    place.apply(manifest(place, harmful=True))
    with traffic(place):
        place.until(
            "v2 to be measured in its canary",
            lambda state: state.state(2) == "Canary" and routed(place) == FIRST_STEP and measured(state)[0] == "True",
            name=NAME,
        )
    return place


def test_controller_whose_word_was_lost_is_reminded_and_confirms(canary: Place) -> None:
    before = route(canary)["metadata"]["generation"]
    lost = [
        {"op": "replace", "path": f"/status/parents/0/conditions/{index}/observedGeneration", "value": before - 1}
        for index in range(len(route(canary)["status"]["parents"][0]["conditions"]))
    ]
    canary.kubectl.run("patch", "httproute", NAME, "--subresource=status", "--type=json", f"--patch={json.dumps(lost)}")
    with traffic(canary) as load:
        canary.until("it to be missed", lambda state: measured(state)[1] == "RouteNotAccepted", name=NAME, seconds=10, every=0.2)
        canary.until(
            "to be measured all the same", lambda state: measured(state)[1] == "RouteNotConfirmed", name=NAME, seconds=20
        )
        state = canary.until("to be confirmed", lambda state: confirmed(canary) > before, name=NAME, seconds=30)
        assert load.end().failures_but() == {}
    assert route(canary)["spec"]["rules"][0]["name"] == "predict-1"
    assert (routed(canary), state.state(2)) == (FIRST_STEP, "Canary")
    canary.until("all to be as before", lambda state: measured(state) == ("True", "EveryPodRead"), name=NAME, seconds=15)


def test_harm_is_found_while_the_controller_is_away_and_ends_when_it_is_back(canary: Place) -> None:
    system = canary.kubectl.within("envoy-gateway-system")
    scale(system, CONTROLLER, 0)
    try:
        named = [{"op": "add", "path": "/spec/rules/0/name", "value": "by-hand"}]
        canary.kubectl.run("patch", "httproute", NAME, "--type=json", f"--patch={json.dumps(named)}")
        canary.until("to go unconfirmed", lambda state: measured(state)[1] == "RouteNotConfirmed", name=NAME, seconds=30)
        with traffic(canary, rate=50, new_every=5) as harmed:
            canary.until("v2 to be taken back", lambda state: state.state(2) == "RolledBack", name=NAME, seconds=30)
            canary.until("the route to be written", lambda state: routed(canary) == {V1: 100}, name=NAME, seconds=15)
            scale(system, CONTROLLER, 1)
            canary.until(
                "the controller to have taken it up",
                lambda state: confirmed(canary) == route(canary)["metadata"]["generation"],
                name=NAME,
                seconds=60,
            )
            harmed.all_from(1)
            met = harmed.end()
    finally:
        scale(system, CONTROLLER, 1)
    assert met.versions[V2].failures > 0
    assert met.failures_but(V2) == {}
