"""Whether a Gateway can mirror: as its class says, or as is known of its controller."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.cluster import FakeCluster
from perennial.adapters.mirrors import mirror_problem
from perennial.adapters.surroundings import Surroundings
from perennial.api.serving import ParentReference
from perennial.core.observed import Defaults, StoreSettings
from perennial.ports import Invalid, Manifest

ENVOY = "gateway.envoyproxy.io/gatewayclass-controller"
BOTH = ["HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"]
GROUP = "gateway.networking.k8s.io/v1"


def a_class(*features: Any, controller: str = "example.com/one") -> Manifest:
    listed = {"status": {"supportedFeatures": list(features)}} if features else {}
    metadata = {"name": "plain", "namespace": ""}
    return {"apiVersion": GROUP, "kind": "GatewayClass", "metadata": metadata, "spec": {"controllerName": controller}, **listed}


def named(*names: str) -> list[Manifest]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("reason", "found", "percent"),
    [
        ("all requests need no share", a_class(*named("HTTPRouteRequestMirror")), 100),
        ("a share is listed", a_class(*named(*BOTH)), 10),
        ("as words, as older versions of the Gateway API had it", a_class(*BOTH), 10),
        ("a controller that lists nothing and is known to mirror", a_class(controller=ENVOY), 10),
    ],
)
def test_a_class_that_mirrors_is_no_problem(reason: str, found: Manifest, percent: int) -> None:
    assert mirror_problem(found, percent) == "", reason


@pytest.mark.parametrize(
    ("reason", "found", "percent", "words"),
    [
        ("nothing is listed", a_class(), 100, "lists no supportedFeatures, and its controller example.com/one is not known"),
        ("another is listed", a_class(*named("HTTPRouteMethodMatching")), 100, "does not have HTTPRouteRequestMirror among"),
        ("no share is listed", a_class(*named(BOTH[0])), 10, "percent is 10, and GatewayClass plain does not have"),
        ("a known controller that lists others", a_class(*named("HTTPRouteMethodMatching"), controller=ENVOY), 100, "among"),
    ],
)
def test_a_class_that_does_not_is_told_with_what_to_do(reason: str, found: Manifest, percent: int, words: str) -> None:
    told = mirror_problem(found, percent)
    assert words in told, reason
    assert "remove spec.rollout.shadow" in told


class Forbidding(FakeCluster):
    """Gateways may be read, their classes not."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        if kind.endswith("/GatewayClass"):
            raise Invalid(403, "gatewayclasses is forbidden")
        return await super().get(kind, namespace, name)


def surroundings(cluster: FakeCluster) -> Surroundings:
    cluster.add(
        {
            "apiVersion": GROUP,
            "kind": "Gateway",
            "metadata": {"name": "gw", "namespace": "infra"},
            "spec": {"gatewayClassName": "plain"},
        }
    )
    return Surroundings(cluster, Defaults("serving", "training", 1, StoreSettings("s3://b/p", "w", "r")), lambda: 0.0)


PARENT = ParentReference(name="gw", namespace="infra")


async def test_the_class_of_the_parents_gateway_is_asked() -> None:
    cluster = FakeCluster()
    found = surroundings(cluster)
    cluster.add(a_class(*named(BOTH[0])))
    assert await found.mirror_problem("shop", PARENT, 100) == ""
    assert "HTTPRouteRequestPercentageMirror" in await found.mirror_problem("shop", PARENT, 10)


async def test_a_class_that_is_missing_or_may_not_be_read_is_told() -> None:
    assert "GatewayClass plain does not exist" in await surroundings(FakeCluster()).mirror_problem("shop", PARENT, 100)
    told = await surroundings(Forbidding()).mirror_problem("shop", PARENT, 100)
    assert "gatewayclasses is forbidden" in told
    assert "upgrade the chart" in told


async def test_a_gateway_that_is_not_there_is_no_matter_of_mirrors() -> None:
    assert await surroundings(FakeCluster()).mirror_problem("shop", ParentReference(name="other"), 100) == ""
