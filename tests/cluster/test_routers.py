"""One contract for every router, on the real gateway: a route of our own, a Service by replicas, a rule of a user's route.

Each carries weights out, tells what is live, moves all requests to another version under load, puts back what a person changes,
and leaves nothing, or the original, when another takes its place. The tests build on each other: one model, two versions.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, PUT_BACK_SECONDS, ROWS, traffic
from cluster_support.watching import Watch
from demo import view
from demo.stage import State

Manifest = dict[str, Any]
USERS = "storefront"
"""The user's HTTPRoute."""
RULE = "predict"
CLAIM = f"perennial.dev/claim.{NAME}"
APART = ("Connection:close",)
"""A connection for each request, or a Service would keep a client on one pod."""


def users_route(place: Place) -> tuple[Manifest, Manifest]:
    """A route with another rule, a filter, a time-out and a foreign backend (without requests), and the Service that it names."""
    legacy = {"kind": "Service", "name": "legacy", "port": 80}
    rewrite = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/predict"}}}
    header = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-shop", "value": "1"}]}}
    path = f"/{place.namespace}/storefront"
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": USERS, "annotations": {"team": "shop"}},
        "spec": {
            "parentRefs": [place.ground.cluster.gateway_reference],
            "rules": [
                {
                    "name": "pages",
                    "matches": [{"path": {"type": "PathPrefix", "value": f"{path}/pages"}}],
                    "backendRefs": [legacy],
                },
                {
                    "name": RULE,
                    "matches": [{"path": {"type": "Exact", "value": path}}],
                    "filters": [rewrite, header],
                    "backendRefs": [{**legacy, "weight": 0}],
                    "timeouts": {"request": "10s"},
                },
            ],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "legacy"},
        "spec": {"selector": {"app": "legacy"}, "ports": [{"port": 80}]},
    }
    return route, service


def route_of(place: Place, name: str) -> Manifest:
    return place.kubectl.get("httproute", name) or {"spec": {"rules": []}, "metadata": {}}


def is_ours(ref: Manifest) -> bool:
    return str(ref["name"]).startswith(f"{NAME}-v")


def weights(route: Manifest, index: int) -> dict[int, int]:
    """Live weights of our versions in a rule, without zeros."""
    refs = route["spec"]["rules"][index].get("backendRefs", ()) if len(route["spec"]["rules"]) > index else ()
    return {int(ref["name"].rpartition("-v")[2]): ref["weight"] for ref in refs if is_ours(ref) and ref["weight"]}


def theirs(route: Manifest) -> Manifest:
    """A spec without our backends in the borrowed rule."""
    spec: Manifest = copy.deepcopy(route["spec"])
    for rule in spec["rules"]:
        if rule["name"] == RULE:
            rule["backendRefs"] = [ref for ref in rule["backendRefs"] if not is_ours(ref)]
    return spec


def shares(place: Place) -> dict[int, int]:
    """Live shares of the Service's pods."""
    if place.kubectl.get("service", NAME) is None:
        return {}
    return {entry["version"]: round(entry.get("achieved", 0)) for entry in place.state(NAME).status.get("weights", [])}


def patch(place: Place, name: str, *operations: Manifest) -> None:
    place.kubectl.run("patch", "httproute", name, "--type=json", f"--patch={json.dumps(operations)}")


def spoil_own(place: Place) -> None:
    patch(place, NAME, {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 3})


def spoil_rule(place: Place) -> None:
    (index,) = [n for n, ref in enumerate(route_of(place, USERS)["spec"]["rules"][1]["backendRefs"]) if ref["weight"] == 100]
    patch(place, USERS, {"op": "replace", "path": f"/spec/rules/1/backendRefs/{index}/weight", "value": 3})


def spoil_service(place: Place) -> None:
    place.kubectl.run("delete", "service", NAME, "--wait=true")


@dataclass(frozen=True, slots=True)
class Router:
    """What the contract needs to know of one."""

    name: str
    route: Callable[[Place], Manifest | None]
    """spec.serving.route."""
    live: Callable[[Place], dict[int, int]]
    """What is carried out now: per cent by version, read from the router's own object."""
    spoil: Callable[[Place], None]
    """A person changes it."""
    gone: Callable[[Place], bool]
    """Nothing is left of it."""


def own_form(place: Place) -> Manifest:
    """`route` is merged over the usual one: None removes."""
    usual: Manifest = place.manifest(NAME)["spec"]["serving"]["route"]
    return {**usual, "httpRoute": None}


def borrowed_form(place: Place) -> Manifest:
    return {"parentRefs": None, "path": None, "httpRoute": {"name": USERS, "rule": RULE}}


OWN = Router(
    "own route",
    own_form,
    lambda place: weights(route_of(place, NAME), 0),
    spoil_own,
    lambda place: place.kubectl.get("httproute", NAME) is None,
)
SERVICE = Router("Service", lambda place: None, shares, spoil_service, lambda place: place.kubectl.get("service", NAME) is None)
BORROWED = Router(
    "borrowed rule",
    borrowed_form,
    lambda place: weights(route_of(place, USERS), 1),
    spoil_rule,
    lambda place: not weights(route_of(place, USERS), 1) and CLAIM not in route_of(place, USERS)["metadata"]["annotations"],
)
ROUTERS = (OWN, SERVICE, BORROWED)


def manifest(place: Place, router: Router, **spec: Any) -> Manifest:
    """Steps that two replicas can make, too."""
    steps = [{"weight": 33, "hold": "3s"}, {"weight": 50, "hold": "3s"}]
    serving = {"replicas": 2, "route": router.route(place)}
    rollout = {"steps": steps, "minimumRequests": 30}
    return place.manifest(NAME, serving=serving, training=place.light(), rollout=rollout, **spec)


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 serves by a rule of the user's route."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.kubectl.apply(*users_route(shared_place), manifest(shared_place, BORROWED))
    shared_place.serving(1, name=NAME)
    shared_place.until("v1 in the rule", lambda state: BORROWED.live(shared_place) == {1: 100}, name=NAME, seconds=15)
    return shared_place


@pytest.fixture(scope="module")
def routes(first: Place) -> Iterator[Watch]:
    """Every state of every route, from v1 on."""
    with Watch(first.ground.cluster.kubeconfig, first.namespace, ("HTTPRoute",)) as watch:
        yield watch


def stable(place: Place) -> int:
    return int(place.state(NAME).status["stable"])


def condition(state: State, kind: str) -> Manifest:
    return dict(view.condition(state.deployment, kind))


def test_rollout_in_a_borrowed_rule_moves_our_weights_and_nothing_else(first: Place, routes: Watch) -> None:
    found = route_of(first, USERS)
    assert "/storefront" in first.state(NAME).status["address"]
    first.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(first) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        first.until("v2 to have a third", lambda state: BORROWED.live(first) == {1: 67, 2: 33}, name=NAME, seconds=120, every=0.2)
        patch(first, USERS, {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7})
        first.serving(2, name=NAME)
        load.all_from(2)
        tally = load.end()
    assert tally.failures_but() == {}
    edited = theirs(found)
    edited["rules"][0]["backendRefs"][0]["weight"] = 7
    seen = [theirs(one.manifest) for one in routes.recorded() if one.name == USERS]
    assert len(seen) > 3
    assert all(spec in (theirs(found), edited) for spec in seen)
    assert theirs(route_of(first, USERS)) == edited


def test_path_that_another_model_answers_is_refused_with_its_name_until_it_is_another(first: Place) -> None:
    first.apply(manifest(first, OWN))
    first.until("its own route", lambda state: OWN.live(first) == {stable(first): 100}, name=NAME, seconds=40)
    second = {**manifest(first, OWN), "metadata": {"name": "second"}}
    first.apply(second)
    state = first.until(
        "v1 of the second to wait behind the first",
        lambda state: condition(state, "Ready").get("reason") == "PathTaken" and bool(route_of(first, "second")["spec"]["rules"]),
        name="second",
    )
    words = f"answered by ModelDeployment {first.namespace}/{NAME}, whose HTTPRoute is older: give this one a spec.serving.route"
    assert words in condition(state, "Ready")["message"]
    assert (condition(state, "Accepted")["status"], condition(state, "Accepted")["reason"]) == ("False", "PathTaken")
    assert condition(first.state(NAME), "Ready")["status"] == "True"
    rows = synthetic.table(1, first=3 * ROWS).select(synthetic.FEATURES)
    assert first.answer(rows, name="second")["version"].startswith(f"{NAME}-v")
    first.kubectl.patch("mdep", "second", {"spec": {"serving": {"route": {"path": f"/{first.namespace}/second"}}}})
    first.until(
        "the second to be ready at a path of its own",
        lambda state: condition(state, "Ready").get("status") == "True" and not condition(state, "Accepted"),
        name="second",
        seconds=20,
    )
    assert first.answer(rows, name="second")["version"].startswith("second-v")
    first.kubectl.run("delete", "mdep", "second", "--wait=true", "--timeout=20s")


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: str(router.name))
def test_router_keeps_the_contract(first: Place, router: Router) -> None:
    now = stable(first)
    first.apply(manifest(first, router))
    others = [other for other in ROUTERS if other is not router]
    first.until(
        f"only the {router.name}",
        lambda state: router.live(first) == {now: 100} and all(other.gone(first) for other in others),
        name=NAME,
        seconds=40,
    )
    router.spoil(first)
    first.until(
        "it to be put back", lambda state: router.live(first) == {now: 100}, name=NAME, seconds=PUT_BACK_SECONDS, every=0.2
    )
    first.answering(synthetic.bodies(synthetic.table(200, first=2 * ROWS)), name=NAME, headers=APART)
    target = 3 - now
    with traffic(first, headers=APART) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/rollback-to", str(target))
        first.until(f"v{target} to have it all", lambda state: router.live(first) == {target: 100}, name=NAME, seconds=60)
        load.all_from(target)
        tally = load.end()
    assert tally.failures_but() == {}
    told = {entry["version"]: entry["weight"] for entry in first.state(NAME).status["weights"] if entry["weight"]}
    assert told == router.live(first)


def test_second_claimant_is_refused_with_the_firsts_name_and_deletion_leaves_the_original(first: Place, routes: Watch) -> None:
    wish = manifest(first, BORROWED, paused=True)
    second = {**wish, "metadata": {"name": "second"}}
    first.apply(second)
    state = first.until(
        "the second to be refused", lambda state: condition(state, "Accepted").get("status") == "False", name="second", seconds=15
    )
    assert condition(state, "Accepted")["reason"] == "RouteClaimed"
    assert f"held by ModelDeployment {NAME}" in condition(state, "Accepted")["message"]
    left = theirs(route_of(first, USERS))
    first.kubectl.run("delete", "mdep", NAME, "--wait=true", "--timeout=20s")
    first.until("the second to hold it", lambda state: bool(condition(state, "Borrowed")), name="second", seconds=15)
    assert route_of(first, USERS)["spec"] == left
    first.kubectl.run("delete", "mdep", "second", "--wait=true", "--timeout=20s")
    found, (wanted, _) = route_of(first, USERS), users_route(first)
    wanted["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
    first.kubectl.run("delete", "httproute", USERS)
    first.kubectl.apply(wanted)
    assert found["spec"] == route_of(first, USERS)["spec"]
    assert [key for key in found["metadata"]["annotations"] if not key.startswith("kubectl.")] == ["team"]
