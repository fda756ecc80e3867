"""Two models with one path: which HTTPRoute answers, and who is looked at again when that changes."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.adapters import sharing
from perennial.adapters.cache import Cache
from perennial.api.serving import Route
from perennial.core.observed import Meta
from perennial.manifests.route import http_route
from perennial.ports import Manifest

META = Meta("shop", "delays", "u1", 1, "1")
GATEWAY = {"name": "public", "namespace": "gateways"}


def wish(**changes: Any) -> Route:
    return Route.model_validate({"parentRefs": [GATEWAY], "path": "/delays", **changes})


def route(name: str, created: str, namespace: str = "shop", version: int = 1, **changes: Any) -> Manifest:
    manifest = http_route(Meta(namespace, name, f"u-{name}", 1, "1"), wish(**changes), ((1, 100),))
    times = {"uid": f"r-{namespace}-{name}", "resourceVersion": str(version), "creationTimestamp": f"2026-01-01T00:00:{created}Z"}
    manifest["metadata"] |= times
    return accepted(manifest)


def accepted(manifest: Manifest, status: str = "True") -> Manifest:
    """As every Gateway that it asks for has answered."""
    conditions = [{"type": "Accepted", "status": status}]
    manifest["status"] = {"parents": [{"parentRef": ref, "conditions": conditions} for ref in manifest["spec"]["parentRefs"]]}
    return manifest


OWN = route("delays", "05")


def test_older_route_answers_and_the_message_names_it_the_path_and_the_fix() -> None:
    words = sharing.rival(META, wish(), OWN, [route("rides", "04", "taxis"), route("fares", "03", "taxis")])
    assert words == (
        "requests for /delays/predict at Gateway gateways/public are answered by ModelDeployment taxis/fares, whose HTTPRoute is "
        "older: give this one a spec.serving.route.path of its own, or hostnames"
    )


def test_without_a_route_of_its_own_yet_every_other_one_is_older() -> None:
    assert "ModelDeployment shop/rides" in sharing.rival(META, wish(), None, [route("rides", "59")])


@pytest.mark.parametrize(
    ("name", "created", "taken"),
    [("rides", "06", False), ("rides", "05", False), ("arrivals", "05", True), ("delays", "04", True)],
)
def test_of_two_of_one_second_the_first_by_name_answers(name: str, created: str, taken: bool) -> None:
    other = route(name, created, "a" if name == "delays" else "shop")
    assert bool(sharing.rival(META, wish(), OWN, [other])) is taken


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        ({"hostnames": ["a.example"]}, {"hostnames": ["a.example", "b.example"]}, True),
        ({"hostnames": ["a.example", "b.example"]}, {"hostnames": ["a.example"]}, False),
        ({"hostnames": ["a.example"]}, {"hostnames": ["b.example"]}, False),
        ({"hostnames": ["a.example"]}, {}, False),
        ({}, {"hostnames": ["a.example"]}, False),
        ({}, {"parentRefs": [{"name": "public"}]}, False),
        ({}, {"parentRefs": [{**GATEWAY, "sectionName": "http"}]}, False),
        ({"parentRefs": [{**GATEWAY, "sectionName": "http"}]}, {}, True),
        ({"parentRefs": [GATEWAY, {"name": "other"}]}, {}, False),
        (
            {"parentRefs": [{**GATEWAY, "sectionName": "https"}]},
            {"parentRefs": [{"name": "other"}, {**GATEWAY, "sectionName": "http"}]},
            False,
        ),
    ],
)
def test_only_a_route_for_every_host_and_gateway_is_a_rival(ours: dict[str, Any], theirs: dict[str, Any], taken: bool) -> None:
    words = sharing.rival(META, wish(**ours), OWN, [route("rides", "01", **theirs)])
    assert bool(words) is taken
    assert ("on a.example" in words) is (taken and "hostnames" in ours)


def test_route_that_its_gateway_has_not_accepted_answers_nothing() -> None:
    refused = accepted(route("rides", "01"), "False")
    assert sharing.rival(META, wish(), OWN, [refused]) == ""
    assert "shop/fares" in sharing.rival(META, wish(), OWN, [refused, route("fares", "02")])


def test_two_that_share_what_is_asked_for_are_both_named() -> None:
    others = [route("rides", "01", hostnames=["a.example"]), route("fares", "02", hostnames=["b.example"])]
    words = sharing.rival(META, wish(hostnames=["a.example", "b.example"]), OWN, others)
    assert "on a.example and b.example at Gateway gateways/public are answered by ModelDeployment shop/rides, shop/fares" in words


def test_routes_are_found_by_path_and_host_and_forgotten_when_they_move_or_go() -> None:
    cache = Cache()

    def found(*hosts: str) -> list[str]:
        return [one["metadata"]["name"] for one in cache.answering("/delays/predict", hosts)]

    cache.put(route("delays", "05"))
    rival = route("rides", "04", "taxis", hostnames=["a.example", "b.example"])
    cache.put(rival)
    assert (found(""), found("a.example"), found("", "a.example", "b.example")) == (["delays"], ["rides"], ["delays", "rides"])
    cache.put(route("rides", "04", "taxis", version=2, path="/rides"))
    assert found("", "a.example") == ["delays"]
    cache.put(route("rides", "04", "taxis", version=3))
    assert found("", "a.example") == ["delays", "rides"]
    cache.remove(rival, 4.0)
    assert found("", "a.example") == ["delays"]
