"""What a real API server accepts and refuses, and in which words: every rule of the CRDs, R1 and R20."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_support
import crd_cases
from crd_cases import BOUNDS, CASES, Case, Manifest, base, deployment, edited
from demo.ground import Ground
from demo.kubectl import Kubectl, KubectlError

NAMESPACE = "t-crd-rules"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


@pytest.fixture(scope="module")
def kubectl(ground: Ground) -> Iterator[Kubectl]:
    """A namespace that no operator gets to see objects in: everything is a server-side dry run, but for one update."""
    chart_support.install_crds(ground.cluster.kubeconfig)
    ground.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield ground.kubectl.within(NAMESPACE)
    ground.delete_namespaces(NAMESPACE)


def create(kubectl: Kubectl, manifest: Manifest) -> Manifest:
    """The object as the API server would store it."""
    words = ("create", "--dry-run=server", "--output=json", "--filename=-")
    return dict(json.loads(kubectl.run(*words, given=json.dumps(manifest))))


def refusal(kubectl: Kubectl, manifest: Manifest) -> str:
    """The API server's words."""
    with pytest.raises(KubectlError) as caught:
        create(kubectl, manifest)
    return str(caught.value)


def name_of(case: Case) -> str:
    return case.reason


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_api_server_accepts_what_keeps_the_rule(kubectl: Kubectl, case: Case) -> None:
    create(kubectl, edited(base(case.kind), case.accepted))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_accepts_every_example(kubectl: Kubectl, path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] == "ModelDeployment":
            created = {name: text for name, text in manifest["metadata"].items() if name != "namespace"}
            create(kubectl, {**manifest, "metadata": created})


@pytest.mark.refusal(1)
@pytest.mark.parametrize("case", [case for case in CASES if not case.update], ids=name_of)
def test_the_api_server_refuses_what_breaks_the_rule_and_says_what_to_do(kubectl: Kubectl, case: Case) -> None:
    words = refusal(kubectl, edited(base(case.kind), case.refused))
    for word in case.words:
        assert word in words


@pytest.mark.parametrize("case", [case for case in CASES if case.update], ids=name_of)
def test_the_api_server_refuses_a_change_that_breaks_the_rule(kubectl: Kubectl, case: Case) -> None:
    before = edited(base(case.kind), case.accepted)
    kubectl.apply(before)
    try:
        with pytest.raises(KubectlError) as caught:
            kubectl.apply(edited(before, case.refused))
    finally:  # the other tests create objects of its name
        kubectl.run("delete", case.kind, before["metadata"]["name"], "--wait=true")
    for word in case.words:
        assert word in str(caught.value)


@pytest.mark.refusal(1)
@pytest.mark.parametrize(("edits", "word"), [bound[1:] for bound in BOUNDS], ids=[bound[0] for bound in BOUNDS])
def test_the_schema_refuses_values_out_of_bounds(kubectl: Kubectl, edits: dict[str, Any], word: str) -> None:
    assert word in refusal(kubectl, edited(deployment(), edits))


@pytest.mark.refusal(20)
@pytest.mark.parametrize(
    ("name", "fix"),
    [("a" * 37, "at most 36"), ("delays-v2", "choose another name"), ("2fast", "first a letter")],
)
def test_a_name_that_leaves_no_room_for_its_versions_is_refused(kubectl: Kubectl, name: str, fix: str) -> None:
    words = refusal(kubectl, edited(deployment(), {"metadata.name": name}))
    assert name in words
    assert fix in words or "RFC 1123" in words


@pytest.mark.refusal(1)
def test_kubectl_refuses_an_unknown_field_by_its_name(kubectl: Kubectl) -> None:
    assert 'unknown field "spec.trainng"' in refusal(kubectl, edited(deployment(), {"spec.trainng": {}}))


@pytest.mark.refusal(1)
def test_a_field_of_a_later_version_is_unknown_and_so_is_one_deep_inside(kubectl: Kubectl) -> None:
    words = refusal(kubectl, edited(deployment(), {"spec.rollout": {"sticky": {}}, "spec.data.holdout": {"groups": 1}}))
    assert 'unknown field "spec.rollout.sticky"' in words
    assert 'unknown field "spec.data.holdout.groups"' in words


def test_a_client_that_does_not_ask_for_strictness_gets_the_field_dropped_not_stored(kubectl: Kubectl) -> None:
    manifest = edited(deployment(), {"spec.trainng": {}})
    words = ("create", "--dry-run=server", "--validate=ignore", "--output=json", "--filename=-")
    stored = json.loads(kubectl.run(*words, given=json.dumps(manifest)))
    assert "trainng" not in stored["spec"]


def test_defaults_are_written_into_the_stored_object(kubectl: Kubectl) -> None:
    spec = create(kubectl, deployment())["spec"]
    assert spec["data"]["holdout"] == {"fraction": 0.2, "by": "time"}
    assert [step["weight"] for step in spec["rollout"]["steps"]] == [5, 25, 50]
    assert spec["rollout"]["metrics"] == [{"name": "errors", "errors": {}, "weight": 1}]
    assert spec["training"]["recipe"]["algorithm"] == "gradient-boosting"
    assert "podLabels" not in spec["serving"]


def test_several_mistakes_are_all_told_at_once(kubectl: Kubectl) -> None:
    mistakes = {"metadata.name": "delays-v2", "spec.training.image": "r/t", "spec.data.columns.2.role": "id"}
    words = refusal(kubectl, edited(deployment(), mistakes))
    assert "-v<number>" in words
    assert "keep one of them" in words
    assert "0 columns with role: label" in words


def test_kubectl_explain_teaches_the_fields(kubectl: Kubectl) -> None:
    text = kubectl.run("explain", "mdep.spec.training.timeout")
    assert "Longest run of one attempt" in text


def test_kubectl_get_answers_what_serves_what_is_happening_and_is_it_well(kubectl: Kubectl) -> None:
    kubectl.apply(crd_cases.version(), edited(deployment(), {"spec.paused": True}))
    assert kubectl.run("get", "mver").split()[:6] == ["NAME", "STATE", "SCORE", "ROWS", "WHY", "AGE"]
    assert kubectl.run("get", "mdep").split()[:6] == ["NAME", "SERVING", "STATE", "CANDIDATE", "READY", "AGE"]
    assert kubectl.run("get", "mdep", "--output=wide").split()[5:7] == ["ADDRESS", "MESSAGE"]
    both = kubectl.run("get", "perennial")
    assert "/delays " in both
    assert "/delays-v3 " in both
