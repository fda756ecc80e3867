"""A model without a route, on the real cluster: one Service, a canary by numbers of pods, the way back.

The tests build on each other. Clients open a connection for each request: a Service gives connections to pods, so one that
is kept stays with its pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Load, Place
from cluster_support.shop import NAME, NEW_KIND, PUT_BACK_SECONDS, ROWS, V1, V2, assert_taken_back, traffic
from demo import view
from demo.stage import State

APART = ("Connection:close",)
"""A connection for each request."""


@contextmanager
def connections(place: Place, *, new_every: int = 0) -> Iterator[Load]:
    """Traffic on the Service, APART, once it is known in the cluster's network."""
    place.answering(synthetic.bodies(synthetic.table(200, first=2 * ROWS)), name=NAME, headers=APART)
    with traffic(place, new_every=new_every, headers=APART) as load:
        yield load


def manifest(place: Place, *, harmful: bool = False, route: dict[str, Any] | None = None) -> dict[str, Any]:
    """Two replicas: one pod of the candidate is a third, two are a half."""
    steps = [{"weight": 33, "hold": "4s"}, {"weight": 50, "hold": "4s"}]
    training = place.light(fails_on=NEW_KIND) if harmful else {}
    return place.manifest(
        NAME, serving={"replicas": 2, "route": route}, rollout={"steps": steps, "minimumRequests": 30}, training=training
    )


def shares(state: State) -> dict[int, tuple[int, float]]:
    """(requested, achieved) by version."""
    return {entry["version"]: (entry["weight"], entry["achieved"]) for entry in state.status.get("weights", [])}


def ended(number: int, *states: str) -> Any:
    """Why to wait no longer."""
    return lambda state: f"v{number} is {state.state(number)}" if state.state(number) in states else ""


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 serves."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(manifest(shared_place))
    shared_place.serving(1, name=NAME)
    return shared_place


def test_first_version_answers_at_the_service_that_the_status_names(first: Place) -> None:
    state = first.until("the Service to be there", lambda state: shares(state) == {1: (100, 100.0)}, name=NAME)
    assert state.status["address"] == f"http://{NAME}.{first.namespace}.svc/predict"
    assert first.kubectl.get("httproute", NAME) is None
    with connections(first) as load:
        load.all_from(1)
        tally = load.end()
    assert tally.failures_but() == {}


def test_canary_by_replicas_is_promoted_under_load_and_no_request_fails(first: Place) -> None:
    first.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    never = ended(2, "Failed", "Rejected", "RolledBack", "Superseded")
    with connections(first) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        for requested, achieved in ((33, 33.3), (50, 50.0)):
            first.until(
                f"v2 to have {achieved} %",
                lambda state, wanted=(requested, achieved): shares(state).get(2) == wanted,  # type: ignore[misc]
                name=NAME,
                seconds=180,
                never=never,
            )
        first.serving(2, name=NAME)
        first.until("v1 to have no pod", lambda state: shares(state) == {2: (100, 100.0)}, name=NAME, seconds=30)
        load.all_from(2)
        tally = load.end()
    assert tally.failures_but() == {}
    assert set(tally.versions) == {V1, V2}
    evidence = first.state(NAME).version(2)["evidence"]
    assert [one["guarantee"] for one in evidence] == ["approximate"]
    assert all(one["candidateTotal"] > 30 for one in evidence)


def test_service_that_is_deleted_or_changed_by_hand_is_put_back_within_five_seconds(first: Place) -> None:
    before = (first.kubectl.get("service", NAME) or {})["metadata"]["uid"]
    first.kubectl.run("delete", "service", NAME, "--wait=true")

    def selects() -> dict[str, str]:
        return dict((first.kubectl.get("service", NAME) or {"spec": {}})["spec"].get("selector", {}))

    wanted = {"perennial.dev/model": NAME, "perennial.dev/role": "serve"}
    first.until("another Service", lambda state: selects() == wanted, name=NAME, seconds=PUT_BACK_SECONDS, every=0.2)
    assert (first.kubectl.get("service", NAME) or {})["metadata"]["uid"] != before
    first.kubectl.patch("service", NAME, {"spec": {"selector": {"perennial.dev/model": "another"}}})
    first.until("the selector", lambda state: selects() == wanted, name=NAME, seconds=PUT_BACK_SECONDS, every=0.2)


def test_harmful_candidate_assert_taken_back_and_every_failure_was_its_own(first: Place) -> None:
    with connections(first, new_every=5) as load:
        first.apply(manifest(first, harmful=True))
        first.until(
            "v3 to be taken back",
            lambda state: state.state(3) == "RolledBack",
            name=NAME,
            seconds=240,
            never=ended(3, "Failed", "Rejected", "Serving", "Superseded"),
        )
        first.until("v2 to have it all", lambda state: shares(state) == {2: (100, 100.0)}, name=NAME, seconds=30)
        load.all_from(2)
        tally = load.end()
    assert_taken_back(first, tally)


def test_route_that_is_given_and_taken_away_again_takes_the_place_of_the_service(first: Place) -> None:
    route = {"parentRefs": [first.ground.cluster.gateway_reference], "path": f"/{first.namespace}/{NAME}"}

    def there() -> tuple[bool, bool]:
        return first.kubectl.get("service", NAME) is not None, first.kubectl.get("httproute", NAME) is not None

    first.apply(manifest(first, route=route))
    first.until("only the route", lambda state: there() == (False, True), name=NAME, seconds=30)
    state = first.until("the route's address", lambda state: first.namespace in state.status["address"], name=NAME, seconds=10)
    assert state.status["address"].endswith(f"/{first.namespace}/{NAME}/predict")
    assert all("achieved" not in entry for entry in state.status["weights"])
    first.apply(manifest(first))
    first.until("only the Service", lambda state: there() == (True, False), name=NAME, seconds=30)
    with connections(first) as load:
        load.all_from(2)
        tally = load.end()
    assert tally.failures_but() == {}
    assert view.condition(first.state(NAME).deployment, "Ready")["status"] == "True"
