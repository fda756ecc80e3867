"""A manifest in Git against the same object in the cluster, as Argo CD compares them: synced, with nothing to be ignored."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

import crd_cases
from manifest_corpus import EXAMPLES
from perennial.api.crd import custom_resource_definitions

SCHEMA = custom_resource_definitions()["perennial.dev_modeldeployments.yaml"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def stored(schema: dict[str, Any], given: Any) -> Any:
    """What the API server makes of a value: the schema's defaults filled in."""
    if isinstance(given, list):
        return [stored(schema.get("items", {}), item) for item in given]
    if not isinstance(given, dict):
        return given
    fields = schema.get("properties", {})
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {name: stored(fields.get(name, {}), value) for name, value in {**defaults, **given}.items() if value is not None}


def applied(live: Any, git: Any) -> Any:
    """The live object after a sync, as Argo CD predicts it for a custom resource: RFC 7396, where a list is one value."""
    if not isinstance(git, dict):
        return git
    base = live if isinstance(live, dict) else {}
    merged = {**base, **{name: applied(base.get(name), value) for name, value in git.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def manifests() -> list[Any]:
    """Every ModelDeployment among the examples and the cases that the API server accepts."""
    examples = [(path.name, one) for path in EXAMPLES for one in yaml.safe_load_all(path.read_text())]
    cases = [(case.rule, crd_cases.edited(crd_cases.base(case.kind), case.accepted)) for case in crd_cases.CASES]
    return [pytest.param(one, id=name) for name, one in (*examples, *cases) if one["kind"] == "ModelDeployment"]


@pytest.mark.parametrize("git", manifests())
def test_manifest_and_what_the_cluster_holds_are_in_sync(git: dict[str, Any]) -> None:
    live = stored(SCHEMA, git)
    assert live["spec"] != git["spec"]
    assert applied(live, git) == live


def test_default_in_a_list_item_would_be_seen() -> None:
    schema = {"properties": {"gates": {"items": {"properties": {"onUndecided": {"default": "refuse"}}}}}}
    git = {"gates": [{"metric": "roc_auc"}]}
    live = stored(schema, git)
    assert applied(live, git) != live
