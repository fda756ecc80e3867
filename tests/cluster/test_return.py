"""Return by a person and the promises of the platform, on one ModelDeployment under traffic; the tests build on each other.

v1 and v2 are two months of data; v3 is the harmful image. Clients send 100 requests a second through the gateway, open loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from demo import view
from demo.kubectl import Kubectl
from demo.stage import State
from demo.traffic import Client

ROWS = 2400
NAME = "shop"
STEPS = {"rollout": {"steps": [{"weight": 20, "hold": "4s"}, {"weight": 50, "hold": "4s"}], "minimumRequests": 30}}
HARMFUL = {"recipe": None, "image": ""}


def manifest(place: Place, *, harmful: bool = False) -> dict[str, object]:
    training = {"recipe": None, "image": place.images.trainer} if harmful else {}
    return place.manifest(NAME, **STEPS, training=training)


@contextmanager
def traffic(place: Place, *, new_every: int = 0) -> Iterator[Client]:
    """100 requests a second for as long as the block lasts, from before its first line on."""
    bodies = synthetic.bodies(synthetic.table(3000, first=2 * ROWS), new_kind="market" if new_every else "", new_every=new_every)
    with place.client(str(place.state(NAME).status["address"]), bodies) as client:
        place.until("the first answers", lambda state: client.look().requests > 50, name=NAME)
        yield client


def pods(place: Place, version: int) -> dict[str, int]:
    """Restarts by UID of every serving pod of a version that is not ending."""
    found = place.kubectl.list("pods", f"perennial.dev/role=serve,perennial.dev/version={version}")
    return {
        pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
    }


def scale(kubectl: Kubectl, name: str, replicas: int) -> None:
    kubectl.run("scale", f"deployment/{name}", f"--replicas={replicas}")
    wanted = "jsonpath={.status.readyReplicas}=1" if replicas else "delete"
    target = f"deployment/{name}" if replicas else "pod"
    selector = [] if replicas else [f"--selector={_selector(kubectl, name)}"]
    kubectl.run("wait", target, *selector, f"--for={wanted}", "--timeout=90s", timeout=100)


def _selector(kubectl: Kubectl, name: str) -> str:
    found = kubectl.get("deployment", name) or {}
    return ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())


def settled_on(place: Place, number: int, *, seconds: float = 60) -> State:
    return place.until(
        f"v{number} to have all traffic",
        lambda state: state.weight(number) == 100 and state.status.get("stable") == number,
        name=NAME,
        seconds=seconds,
    )


@pytest.fixture(scope="module")
def pair(shared_place: Place) -> Place:
    """v1 was served, v2 serves."""
    place = shared_place
    place.upload(synthetic.table(ROWS), "january.parquet")
    place.apply(manifest(place))
    place.serving(1, name=NAME)
    place.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(place) as client:
        place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        place.serving(2, name=NAME)
        assert client.stop().failures_but() == {}
    return place


def test_rollback_to_brings_v1_back_under_load_without_a_failed_request(pair: Place) -> None:
    with traffic(pair) as client:
        pair.kubectl.annotate("mdep", NAME, "perennial.dev/rollback-to", "1;id=first")
        settled_on(pair, 1)
        sent = client.look().requests
        pair.until("v1 to answer everything for two seconds", lambda state: client.look().requests > sent + 200, name=NAME)
        tally = client.stop()
    assert tally.failures_but() == {}
    assert {f"{NAME}-v1", f"{NAME}-v2"} <= set(tally.versions)
    found = pair.kubectl.get("mdep", NAME) or {}
    assert "perennial.dev/rollback-to" not in found["metadata"].get("annotations", {})


def test_the_same_request_id_again_is_a_no_op_that_says_so(pair: Place) -> None:
    before = pair.state(NAME).status["requests"]
    pair.kubectl.annotate("mdep", NAME, "perennial.dev/rollback-to", "1;id=first")
    pair.until(
        "the annotation to be removed",
        lambda state: "perennial.dev/rollback-to" not in (state.deployment or {})["metadata"].get("annotations", {}),
        name=NAME,
    )
    assert [entry["handledAt"] for entry in pair.state(NAME).status["requests"]] == [entry["handledAt"] for entry in before]


def test_pin_brings_either_version_to_all_traffic_under_load_without_a_failed_request(pair: Place) -> None:
    with traffic(pair) as client:
        for number in (2, 1):
            pair.kubectl.patch("mdep", NAME, {"spec": {"pin": number}})
            settled_on(pair, number)
        pair.kubectl.patch("mdep", NAME, {"spec": {"pin": 2}})
        settled_on(pair, 2)
        tally = client.stop()
    assert tally.failures_but() == {}
    pair.kubectl.patch("mdep", NAME, {"spec": {"pin": None}})


def test_nothing_stops_while_the_operator_is_away_or_upgraded(pair: Place) -> None:
    system = pair.kubectl.within("perennial-system")
    before = pods(pair, 2)
    with traffic(pair) as client:
        scale(system, "perennial", 0)
        away = client.look().requests
        pair.until("traffic without an operator", lambda state: client.look().requests > away + 300, name=NAME)
        pair.ground.install(pair.images, logLevel="debug")
        pair.ground.install(pair.images)
        tally = client.stop()
    assert tally.failures_but() == {}
    assert before
    assert pods(pair, 2) == before


def test_breach_is_taken_back_with_the_store_down(pair: Place) -> None:
    store = pair.kubectl.within("perennial-store")
    pair.apply(manifest(pair, harmful=True))
    with traffic(pair, new_every=10) as client:
        pair.until("v3 in its canary", lambda state: state.state(3) == "Canary", name=NAME, seconds=120)
        try:
            scale(store, "store", 0)
            pair.until("v3 to be taken back", lambda state: state.state(3) == "RolledBack", name=NAME, seconds=90)
            settled_on(pair, 2)
            tally = client.stop()
        finally:
            scale(store, "store", 1)
    assert tally.failures_but(f"{NAME}-v3") == {}


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


def test_deleting_the_object_leaves_no_object_behind(pair: Place) -> None:
    assert pair.left()
    pair.kubectl.run("delete", "mdep", NAME, "--wait=true", timeout=60)
    pair.until("everything to be gone", lambda state: not pair.left(), name=NAME, seconds=90)
