"""What a user's HTTPRoute says of a rule that is to be borrowed: its URL, or that no request of it gets to /predict."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fakes.shop_route import HEADERS, REWRITE, backend, rule, shop_route
from perennial.adapters import lent
from perennial.adapters.cache import Cache
from perennial.adapters.kinds import ROUTES
from perennial.adapters.surroundings import GatewayState
from perennial.api.serving import RuleReference
from perennial.core.observed import Borrowed, Meta
from perennial.ports import Manifest

META = Meta("shop", "delays", "u1", 1, "1")
WISH = RuleReference(name="shop", rule="predict")
GATEWAY = GatewayState("198.18.0.9", "")


def look(route: Manifest, **changes: Any) -> Borrowed:
    route = copy.deepcopy(route)
    route["metadata"] |= {"uid": "r", "resourceVersion": "7", "generation": 1}
    route["spec"] |= changes
    return lent.rule_of(route, META, WISH, GATEWAY)


def test_claim_is_stale_by_the_uid_of_who_left_it() -> None:
    route = shop_route(annotations={"perennial.dev/claim.rides": '{"uid": "u2", "rules": {"predict": {}}}'})
    route["metadata"] |= {"uid": "r", "resourceVersion": "7", "generation": 1}
    gone, there = (lent.rule_of(route, META, WISH, GATEWAY, uids) for uids in (["u2"], ["rides", "u0"]))
    assert (gone.refused, gone.stale) == (None, ("u2",))
    assert there.refused is not None
    assert (there.refused[0], there.stale) == ("RouteClaimed", ())


def path(kind: str, value: str, **more: Any) -> list[Manifest]:
    return [{"path": {"type": kind, "value": value}, **more}]


def prefix(replaced: str) -> Manifest:
    return {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": replaced}}}


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "/shop/predict"),
        ({"matches": path("PathPrefix", "/shop/a")}, "/shop/a"),
        ({"matches": path("PathPrefix", "/shop"), "filters": [HEADERS, prefix("/")]}, "/shop/predict"),
        ({"matches": path("PathPrefix", "/shop"), "filters": [prefix("/predict")]}, "/shop"),
        ({"matches": path("PathPrefix", "/"), "filters": None}, "/predict"),
        ({"matches": path("Exact", "/predict"), "filters": None}, "/predict"),
        ({"matches": None, "filters": None}, "/predict"),
        ({"matches": path("Exact", "/other") + path("Exact", "/predict", method="POST"), "filters": None}, "/predict"),
        ({"matches": path("RegularExpression", "/shop/.*")}, ""),
        ({"matches": path("RegularExpression", "/.*"), "filters": None}, ""),
        ({"matches": path("Exact", "/a", headers=[{"name": "x", "value": "1"}])}, ""),
        ({"matches": path("Exact", "/a"), "filters": [{"type": "ExtensionRef", "extensionRef": {"name": "rewrites"}}]}, ""),
        ({"matches": path("Exact", "/a"), "filters": None, "backendRefs": [{**backend(1, 1), "filters": [REWRITE]}]}, ""),
    ],
)
def test_address_is_told_as_far_as_the_rule_tells_it(fields: Manifest, address: str) -> None:
    found = look(shop_route(rule(**fields)))
    assert found.refused is None
    assert found.address == (f"http://shop.example.com{address}" if address else "")


@pytest.mark.parametrize(
    "fields",
    [
        {"filters": None},
        {"filters": [HEADERS]},
        {"matches": path("PathPrefix", "/shop"), "filters": [prefix("/shop")]},
        {"matches": path("Exact", "/predict", method="GET"), "filters": None},
        {"filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}}}]},
        {"matches": path("PathPrefix", "/predictions"), "filters": None},
    ],
)
def test_rule_by_which_nothing_gets_to_predict_is_refused_with_the_filter_it_lacks(fields: Manifest) -> None:
    found = look(shop_route(rule(**fields)))
    assert found.refused is not None
    assert found.refused[0] == "PathNotRouted"
    assert "replaceFullPath: /predict" in found.refused[1]


@pytest.mark.parametrize(
    ("hostnames", "host"),
    [([], "198.18.0.9"), (["*.example.com"], ""), (["*.example.com", "shop.example.com"], "shop.example.com")],
)
def test_host_is_the_routes_or_the_gateways(hostnames: list[str], host: str) -> None:
    assert look(shop_route(), hostnames=hostnames).address == (f"http://{host}/shop/predict" if host else "")


def test_gateways_are_those_of_the_users_route() -> None:
    route = shop_route()
    route["spec"]["parentRefs"] += [
        {"kind": "Service", "name": "mesh"},
        {"name": "out", "namespace": "infra", "sectionName": "tls"},
    ]
    found = [(one.name, one.namespace, one.section_name) for one in lent.parents(route)]
    assert found == [("gw", None, None), ("out", "infra", "tls")]


# ---- the cache ----


def model(name: str, version: int, route: str | None) -> Manifest:
    serving = {"route": {"httpRoute": {"name": route, "rule": "predict"}}} if route else {}
    return {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "shop", "uid": f"u-{name}", "resourceVersion": str(version)},
        "spec": {"serving": serving},
    }


def stored(version: int, **metadata: Any) -> Manifest:
    route = shop_route(**metadata)
    route["metadata"] |= {"uid": "r", "resourceVersion": str(version)}
    return route


def test_users_route_wakes_everybody_who_names_it_or_has_a_claim_on_it() -> None:
    cache = Cache()
    cache.put(model("delays", 1, "shop"))
    cache.put(model("rides", 2, "shop"))
    cache.put(model("other", 3, None))
    assert cache.put(stored(5)) == {("shop", "delays"), ("shop", "rides")}
    claimed = stored(6, annotations={"perennial.dev/claim.other": "{}"})
    assert cache.put(claimed) == {("shop", "delays"), ("shop", "rides"), ("shop", "other")}
    assert cache.claimed(("shop", "other")) == [cache.get(ROUTES, "shop", "shop")]
    assert cache.put(stored(7)) == {("shop", "delays"), ("shop", "rides"), ("shop", "other")}
    assert cache.claimed(("shop", "other")) == []


def test_users_route_is_kept_as_long_as_somebody_names_it_or_holds_it() -> None:
    cache = Cache()
    assert not cache.put(stored(1))
    assert cache.get(ROUTES, "shop", "shop") is None
    cache.put(model("delays", 2, "shop"))
    cache.put(stored(3))
    cache.put(model("delays", 4, "another"))
    assert cache.get(ROUTES, "shop", "shop") is None
    cache.put(stored(5, annotations={"perennial.dev/claim.delays": "{}"}))
    cache.put(model("delays", 6, None))
    assert cache.get(ROUTES, "shop", "shop") is not None
    assert cache.put(stored(7)) == {("shop", "delays")}
    assert cache.get(ROUTES, "shop", "shop") is None


def test_users_route_that_is_gone_wakes_those_who_name_it() -> None:
    cache = Cache()
    cache.put(model("delays", 1, "shop"))
    cache.put(stored(5))
    assert cache.remove(stored(6), 6) == {("shop", "delays")}
