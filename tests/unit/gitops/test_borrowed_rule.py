"""What docs/gitops.md says to ignore of an HTTPRoute with a borrowed rule is all that differs from Git, and no more than it says.

No jq is among our tools: the expressions are taken apart by their form, and what they select is removed here as Argo CD does it.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import yaml

from fakes.shop_route import shop_route
from perennial.core.actions import BorrowRule
from perennial.core.observed import Meta, Mirror
from perennial.manifests.borrowed import borrowed
from perennial.ports import Manifest

PAGE = (Path(__file__).parents[3] / "docs" / "gitops.md").read_text()
EXPRESSION = re.compile(r"'\.spec\.rules\[\]\? \| select\(\.name == \"(?P<rule>[^\"]+)\"\) \| \.(?P<field>\w+)'")
"""jq: of each rule, those of this name, this field."""
META = Meta("shop", "delays", "u1", 1, "1")


def documented() -> list[tuple[str, str]]:
    """(rule, field) of every expression, in order."""
    return [(found["rule"], found["field"]) for found in EXPRESSION.finditer(PAGE)]


def without(route: Manifest, *expressions: tuple[str, str]) -> Manifest:
    """The spec that Argo CD compares."""
    spec: Manifest = copy.deepcopy(route["spec"])
    for rule in spec["rules"]:
        for name, field in expressions:
            if rule.get("name") == name:
                rule.pop(field, None)
    return spec


def live(mirror: Mirror | None = None) -> tuple[Manifest, Manifest]:
    """The route as Git has it, and as it is in a rollout."""
    committed = shop_route()
    return committed, borrowed(committed, META, BorrowRule("shop", "predict", ((1, 90), (2, 10)), mirror), set())


def test_there_is_one_line_and_another_for_a_shadow() -> None:
    assert documented() == [("predict", "backendRefs"), ("predict", "filters")]
    assert len(re.findall("jqPathExpressions", PAGE)) == 1


def test_with_the_first_nothing_differs_in_a_rollout() -> None:
    committed, route = live()
    (ignored, _) = documented()
    assert route["spec"] != committed["spec"]
    assert without(route, ignored) == without(committed, ignored)


def test_with_both_nothing_differs_in_a_shadow() -> None:
    committed, route = live(Mirror(2, 100))
    assert without(route, documented()[0]) != without(committed, documented()[0])
    assert without(route, *documented()) == without(committed, *documented())


def test_a_foreign_change_is_still_seen() -> None:
    committed, route = live()
    route["spec"]["rules"][0]["backendRefs"] = []
    assert without(route, *documented()) != without(committed, *documented())


def test_example_is_whole_its_route_has_the_gateways_namespace_and_every_backend() -> None:
    page = (Path(__file__).parents[3] / "examples" / "borrowed-rule.yaml").read_text()
    objects = {one["kind"]: one for one in yaml.safe_load_all(page)}
    route = objects["HTTPRoute"]["spec"]
    assert route["parentRefs"] == [{"name": "gw", "namespace": "perennial-gateway"}]
    backends = [backend["name"] for rule in route["rules"] for backend in rule.get("backendRefs", [])]
    assert backends == [objects["Service"]["metadata"]["name"]]
