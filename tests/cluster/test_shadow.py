"""The shadow on the real cluster: copies of live requests reach the candidate and judge it before a client does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Manifest, Place
from cluster_support.shop import NAME, NEW_KIND, PUT_BACK_SECONDS, ROWS, V2, V3, traffic
from demo.stage import State

CUT_OFF = 6
"""Copies in flight when somebody takes the mirror away, of a busy pod: the gateway cuts them off, and a client that hangs up
counts as bad. One more would have ended the rollout."""


def manifest(place: Place, *, percent: int = 100, hold: str = "6s", harmful: bool = False, **spec: Any) -> Manifest:
    """A shadow, then two short steps."""
    rollout = {
        "shadow": {"percent": percent, "hold": hold},
        "steps": [{"weight": 20, "hold": "4s"}, {"weight": 50, "hold": "4s"}],
        "minimumRequests": 30,
    }
    training = place.light(fails_on=NEW_KIND) if harmful else {}
    return place.manifest(NAME, **{"rollout": rollout, "training": training, **spec})


def mirrored_to(place: Place) -> list[str]:
    """Services that the live route mirrors to."""
    route = place.kubectl.get("httproute", NAME) or {"spec": {"rules": []}}
    filters = [one for rule in route["spec"]["rules"] for one in rule["filters"]]
    return [one["requestMirror"]["backendRef"]["name"] for one in filters if one["type"] == "RequestMirror"]


def evidence(place: Place, version: str) -> Manifest:
    """What the shadow knows of the errors metric, at most some ten seconds ago, or knew when it ended; nothing at first."""
    status = (place.kubectl.get("mver", version) or {})["status"]
    found: Manifest = next(iter(status.get("shadowEvidence", [])), {})
    return found


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 serves."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(manifest(shared_place))
    shared_place.serving(1, name=NAME)
    return shared_place


def test_healthy_version_goes_through_shadow_and_steps_to_its_promotion(first: Place) -> None:
    first.apply(manifest(first, percent=50, hold="25s"))
    first.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(first) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        first.until("v2 to be mirrored to", lambda state: mirrored_to(first) == [V2], name=NAME, seconds=180)
        first.until("evidence", lambda state: evidence(first, V2).get("candidateTotal", 0) > 0, name=NAME, seconds=20)
        seen = evidence(first, V2)
        assert seen["candidateBad"] == 0, seen["message"]
        without = [{"op": "remove", "path": "/spec/rules/0/filters/1"}]
        first.kubectl.run("patch", "httproute", NAME, "--type=json", f"--patch={json.dumps(without)}")
        first.until("it to be put back", lambda state: mirrored_to(first) == [V2], name=NAME, seconds=PUT_BACK_SECONDS, every=0.2)
        load.more(200)
        assert V2 not in load.counts()
        first.serving(2, name=NAME)
        tally = load.end()
    assert tally.failures_but() == {}
    assert mirrored_to(first) == []
    seen = evidence(first, V2)
    assert seen["candidateBad"] <= CUT_OFF, seen["message"]
    assert 0.4 < seen["candidateTotal"] / seen["stableTotal"] < 0.6, seen["message"]
    assert (first.kubectl.get("mver", V2) or {})["status"]["evidence"][0]["candidateBad"] == 0


def test_version_that_answers_a_tenth_badly_is_caught_and_no_client_meets_it(first: Place) -> None:
    first.apply(manifest(first, hold="5m", harmful=True))
    with traffic(first, new_every=10) as load:
        first.until("v3 to be taken back", lambda state: state.state(3) == "RolledBack", name=NAME, seconds=240)
        load.more(500)
        tally = load.end()
    assert tally.failures_but() == {}
    assert set(tally.versions) == {V2}
    assert mirrored_to(first) == []
    state = first.state(NAME)
    assert [(entry["version"], entry["reason"]) for entry in state.status["quarantined"]] == [(3, "ShadowWorse")]
    assert "no client met it" in state.version(3)["message"]
    seen = evidence(first, V3)
    assert 0.05 < seen["candidateBad"] / seen["candidateTotal"] < 0.2, seen["message"]


@pytest.fixture
def plain_class(place: Place) -> Iterator[str]:
    """A GatewayClass that cannot mirror, of a controller that nobody runs, with a Gateway `plain` in the test's namespace."""
    name, group = f"plain-{place.namespace}", "gateway.networking.k8s.io/v1"
    gateway = {"gatewayClassName": name, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]}
    place.kubectl.apply(
        {"apiVersion": group, "kind": "GatewayClass", "metadata": {"name": name}, "spec": {"controllerName": "example.com/none"}},
        {"apiVersion": group, "kind": "Gateway", "metadata": {"name": "plain"}, "spec": gateway},
    )  # fmt: skip
    try:
        yield name
    finally:
        place.kubectl.run("delete", "gatewayclass", name, "--ignore-not-found")


def test_gateway_that_cannot_mirror_is_told_before_anything_starts(place: Place, plain_class: str) -> None:
    def told(words: str) -> None:
        def reached(state: State) -> bool:
            found = [one for one in state.status.get("conditions", []) if one["type"] == "Accepted"]
            return bool(found) and found[0]["reason"] == "MirrorNotSupported" and words in found[0]["message"]

        place.until(f"to be told: {words}", reached, name=NAME, seconds=60)

    place.upload(synthetic.table(ROWS))
    wish = manifest(place, percent=50)
    wish["spec"]["serving"]["route"] = {"parentRefs": [{"name": "plain"}], "path": "/plain"}
    place.apply(wish)
    told("lists no supportedFeatures")
    for feature, words in (
        ("HTTPRouteQueryParamMatching", "HTTPRouteRequestMirror"),
        ("HTTPRouteRequestMirror", "percent to 100"),
    ):
        patch = json.dumps({"status": {"supportedFeatures": [{"name": feature}]}})
        place.kubectl.run("patch", "gatewayclass", plain_class, "--subresource=status", "--type=merge", f"--patch={patch}")
        told(words)
    assert place.left() == ["Gateway/plain", f"ModelDeployment/{NAME}"]
