"""Return by a person and the promises of the platform, on one ModelDeployment under traffic; the tests build on each other.

v1 and v2 are two months of data; v3 is the harmful one. Clients send 100 requests a second through the gateway, open loop.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.scaling import scale
from cluster_support.shop import NAME, NEW_KIND, ROWS, V1, V2, V3, routed, traffic
from demo import view
from demo.stage import State

pytestmark = pytest.mark.alone

ROLLBACK = "perennial.dev/rollback-to"
FIRST_STEP = {V2: 80, V3: 20}
"""Shares of the traffic in the first step of v3's canary."""
CONTROLLER = "envoy-gateway"
EVERY_POD, UNCONFIRMED = ("True", "EveryPodRead"), ("True", "RouteNotConfirmed")

Manifest = dict[str, Any]


def manifest(place: Place, *, harmful: bool = False, hold: str = "4s") -> Manifest:
    """`hold` is that of each step; a step is called inconclusive after four of them."""
    steps = [{"weight": weight, "hold": hold} for weight in (20, 50)]
    training = place.light(fails_on=NEW_KIND if harmful else "")
    return place.manifest(NAME, rollout={"steps": steps, "minimumRequests": 30}, training=training)


def pods(place: Place, version: int) -> dict[str, int]:
    """Restarts by UID of every serving pod of a version that is not ending."""
    found = place.kubectl.list("pods", f"perennial.dev/role=serve,perennial.dev/version={version}")
    return {
        pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
    }


def settled_on(place: Place, number: int, *, seconds: float = 60) -> State:
    """Waits until the status says that a version serves everything, and the HTTPRoute says so too."""
    return place.until(
        f"v{number} to have all traffic",
        lambda state: (
            state.weight(number) == 100 and state.status.get("stable") == number and routed(place) == {f"{NAME}-v{number}": 100}
        ),
        name=NAME,
        seconds=seconds,
    )


def route(place: Place) -> Manifest:
    return place.kubectl.get("httproute", NAME) or {}


def confirmed(place: Place) -> int:
    """The generation of the route that the Gateway's controller has last told of."""
    return min(one["observedGeneration"] for parent in route(place)["status"]["parents"] for one in parent["conditions"])


def measured(state: State) -> tuple[str, str]:
    found = view.condition(state.deployment, "Measured")
    return str(found.get("status")), str(found.get("reason"))


def told(place: Place, reason: str) -> dict[str, Manifest]:
    """Events on the model for this reason, by their names."""
    found = [one for one in place.kubectl.list("events") if one["involvedObject"].get("name") == NAME]
    return {one["metadata"]["name"]: one for one in found if one.get("reason") == reason}


def movable(place: Place) -> dict[str, Any]:
    """What carrying out a request would move: the status, the states of the versions, Jobs, the route.

    Left out are conditions and what is counted of a request that comes again.
    """
    state = place.state(NAME)
    counted = ("pending", "repeats")
    requests = [{key: value for key, value in request.items() if key not in counted} for request in state.status["requests"]]
    return {
        "status": {key: value for key, value in state.status.items() if key not in ("conditions", "requests")},
        "requests": requests,
        "versions": {view.number(version): version["status"]["state"] for version in state.versions},
        "jobs": {job["metadata"]["uid"] for job in place.kubectl.list("jobs")},
        "route": routed(place),
    }


@pytest.fixture(scope="module")
def pair(shared_place: Place) -> Place:
    """v1 was served, v2 serves."""
    place = shared_place
    place.upload(synthetic.table(ROWS), "january.parquet")
    place.apply(manifest(place))
    place.serving(1, name=NAME)
    place.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(place) as load:
        place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        place.serving(2, name=NAME)
        assert load.end().failures_but() == {}
    return place


def test_rollback_to_brings_v1_back_under_load_without_a_failed_request(pair: Place) -> None:
    with traffic(pair) as load:
        pair.kubectl.annotate("mdep", NAME, ROLLBACK, "1;id=first")
        settled_on(pair, 1)
        load.all_from(1)
        tally = load.end()
    assert tally.failures_but() == {}
    assert set(tally.versions) == {V1, V2}
    found = pair.kubectl.get("mdep", NAME) or {}
    assert ROLLBACK not in found["metadata"].get("annotations", {})


def test_the_same_request_id_again_is_a_no_op_that_says_so(pair: Place) -> None:
    pair.until(
        "the first request to be settled",
        lambda state: not any(request["pending"] for request in state.status["requests"]),
        name=NAME,
    )
    before, known = movable(pair), told(pair, "RequestKnown")
    pair.kubectl.annotate("mdep", NAME, ROLLBACK, "1;id=first")
    pair.until("an event about it", lambda state: told(pair, "RequestKnown").keys() > known.keys(), name=NAME)
    pair.until(
        "the annotation to be removed",
        lambda state: ROLLBACK not in (state.deployment or {})["metadata"].get("annotations", {}),
        name=NAME,
    )
    fresh = [event for name, event in told(pair, "RequestKnown").items() if name not in known]
    assert {event["type"] for event in fresh} == {"Normal"}
    assert all("id first was carried out before (" in event["message"] for event in fresh)
    assert movable(pair) == before


def test_pin_brings_either_version_to_all_traffic_under_load_without_a_failed_request(pair: Place) -> None:
    with traffic(pair) as load:
        for number in (2, 1, 2):
            pair.kubectl.patch("mdep", NAME, {"spec": {"pin": number}})
            settled_on(pair, number)
            load.all_from(number)
        tally = load.end()
    assert tally.failures_but() == {}
    assert set(tally.versions) == {V1, V2}
    pair.kubectl.patch("mdep", NAME, {"spec": {"pin": None}})


def test_nothing_stops_while_the_operator_is_away_or_upgraded(pair: Place) -> None:
    system = pair.kubectl.within("perennial-system")
    before = pods(pair, 2)
    with traffic(pair) as load:
        scale(system, "perennial", 0)
        load.more(300)
        pair.ground.install(pair.images, logLevel="debug")
        pair.ground.install(pair.images)
        tally = load.end()
    assert tally.failures_but() == {}
    assert before
    assert pods(pair, 2) == before


def test_gateways_controller_whose_word_is_lost_is_reminded_and_v3s_canary_goes_on(pair: Place) -> None:
    """Lost it is by a person's hand: an older answer in the route's status, which the controller takes for its newest one."""
    with traffic(pair) as load:
        pair.apply(manifest(pair, harmful=True, hold="10m"))
        pair.until(
            "v3 to be measured in its canary",
            lambda state: state.state(3) == "Canary" and routed(pair) == FIRST_STEP and measured(state) == EVERY_POD,
            name=NAME,
            seconds=180,
            never=lambda state: f"v3 is {state.state(3)}" if state.state(3) in ("Failed", "Rejected", "RolledBack") else "",
        )
        before = route(pair)["metadata"]["generation"]
        lost = [
            {"op": "replace", "path": f"/status/parents/0/conditions/{index}/observedGeneration", "value": before - 1}
            for index in range(len(route(pair)["status"]["parents"][0]["conditions"]))
        ]
        pair.kubectl.run("patch", "httproute", NAME, "--subresource=status", "--type=json", f"--patch={json.dumps(lost)}")
        pair.until("it to be missed", lambda state: measured(state)[1] == "RouteNotAccepted", name=NAME, seconds=10, every=0.2)
        pair.until("to be measured all the same", lambda state: measured(state) == UNCONFIRMED, name=NAME, seconds=20)
        pair.until("it to be told again", lambda state: confirmed(pair) > before, name=NAME, seconds=30)
        state = pair.until("all to be as before", lambda state: measured(state) == EVERY_POD, name=NAME, seconds=15)
        tally = load.end()
    assert route(pair)["metadata"]["generation"] == before + 1
    assert (routed(pair), state.state(3)) == (FIRST_STEP, "Canary")
    assert tally.failures_but() == {}


def test_harm_that_begins_when_the_store_and_the_gateways_controller_are_away_is_found(pair: Place) -> None:
    """v3 is taken back at once; requests follow when the controller, which alone can tell the proxy, is there again."""
    store, gateway = pair.kubectl.within("perennial-store"), pair.kubectl.within("envoy-gateway-system")
    with traffic(pair) as harmless:
        try:
            scale(store, "store", 0)
            scale(gateway, CONTROLLER, 0)
            assert (pair.state(NAME).state(3), routed(pair)) == ("Canary", FIRST_STEP)
            named = [{"op": "add", "path": "/spec/rules/0/name", "value": "by-hand"}]
            pair.kubectl.run("patch", "httproute", NAME, "--type=json", f"--patch={json.dumps(named)}")
            pair.until("the route to be unconfirmed", lambda state: measured(state) == UNCONFIRMED, name=NAME, seconds=30)
            with traffic(pair, rate=50, new_every=5) as harmed:
                pair.until("v3 to be taken back", lambda state: state.state(3) == "RolledBack", name=NAME, seconds=90)
                scale(gateway, CONTROLLER, 1)
                pair.until(
                    "the route to be taken up",
                    lambda state: routed(pair) == {V2: 100} and confirmed(pair) == route(pair)["metadata"]["generation"],
                    name=NAME,
                    seconds=60,
                )
                settled_on(pair, 2)
                harmless.all_from(2)
                met = harmed.end()
        finally:
            scale(gateway, CONTROLLER, 1)
            scale(store, "store", 1)
        spared = harmless.end()
    assert met.versions[V3].failures > 0
    assert met.failures_but(V3) == {}
    assert spared.failures_but() == {}
    assert set(spared.versions) == {V2, V3}


def test_a_pin_to_a_quarantined_version_is_refused_in_words_and_what_serves_goes_on(pair: Place) -> None:
    with traffic(pair) as load:
        pair.kubectl.patch("mdep", NAME, {"spec": {"pin": 3}})
        try:
            state = pair.until(
                "the pin to be refused",
                lambda seen: view.condition(seen.deployment, "Pinned").get("status") == "False",
                name=NAME,
            )
            load.all_from(2)
            assert routed(pair) == {V2: 100}
        finally:
            pair.kubectl.patch("mdep", NAME, {"spec": {"pin": None}})
        tally = load.end()
    refusal = view.condition(state.deployment, "Pinned")
    assert refusal["reason"] == "VersionNotServable"
    for word in ("spec.pin=3", f"{V3} is quarantined", "CanaryWorse", "what serves goes on serving"):
        assert word in refusal["message"]
    assert (state.state(3), state.status["stable"]) == ("RolledBack", 2)
    assert tally.failures_but() == {}
    assert set(tally.versions) == {V2}


def test_the_harmful_manifest_applied_again_is_not_shipped_again(pair: Place) -> None:
    pair.apply(manifest(pair))
    pair.until("v4 to be found identical", lambda state: state.state(4) == "Retired", name=NAME, seconds=120)
    assert "nothing to roll out" in pair.state(NAME).version(4)["message"]
    pair.apply(manifest(pair, harmful=True))
    state = pair.until(
        "the quarantine to be told",
        lambda seen: view.condition(seen.deployment, "Quarantined").get("status") == "True",
        name=NAME,
    )
    assert "v3" in view.condition(state.deployment, "Quarantined")["message"]
    assert state.status["latest"] == 4
    assert state.weight(2) == 100


def test_deleting_the_object_leaves_no_object_of_any_kind_behind(pair: Place) -> None:
    assert {f"ModelDeployment/{NAME}", f"ModelVersion/{V3}", f"Deployment/{V2}", f"HTTPRoute/{NAME}"} <= set(pair.left())
    pair.kubectl.run("delete", "mdep", NAME, "--wait=true", timeout=60)
    pair.until("everything to be gone", lambda state: not pair.left(), name=NAME, seconds=90, every=1.0)
