"""What the story stands on, as far as it can be tested without a cluster: manifests of the demo, small data sets, and what a
cluster of the user's has to hold."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.progress import Quiet
from cluster_support import synthetic
from cluster_support.place import merged
from demo import flights, foreign
from demo.ground import Ground, GroundError
from demo.kubectl import Kubectl, KubectlError
from perennial.api.v1alpha1 import ModelDeploymentSpec

EXAMPLES = Path(__file__).parents[3] / "examples"
HELM = "sh"
"""A program that is there."""


def test_the_demo_manifest_is_valid_and_uses_the_columns_of_the_data() -> None:
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load((EXAMPLES / "flights/modeldeployment.yaml").read_text())["spec"])
    roles = {column.name: column.role for column in spec.data.columns}
    assert {name for name, role in roles.items() if role == "feature"} == set(flights.FEATURES)
    assert (roles[flights.LABEL], roles[flights.TIME], roles[flights.ROW]) == ("label", "time", "id")


def test_the_smallest_manifest_is_valid_and_under_thirty_lines() -> None:
    text = (EXAMPLES / "smallest.yaml").read_text()
    assert len(text.splitlines()) < 30
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load(text)["spec"])
    assert {column.name for column in spec.data.columns} <= {*flights.FEATURES, flights.LABEL, flights.TIME}


def test_the_manifest_of_several_classes_is_valid_and_uses_columns_of_the_data() -> None:
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load((EXAMPLES / "several-classes.yaml").read_text())["spec"])
    assert spec.training.recipe is not None
    assert spec.training.recipe.task == "multiclass"
    assert {column.name for column in spec.data.columns} <= {*flights.FEATURES, flights.TIME}


def test_the_same_seed_gives_the_same_table_and_growth_keeps_old_rows() -> None:
    assert synthetic.table(50, seed=3).equals(synthetic.table(50, seed=3))
    later = synthetic.table(50, seed=3, first=50)
    assert later[synthetic.TIME].min() > synthetic.table(50, seed=3)[synthetic.TIME].max()  # type: ignore[operator]


def test_a_wish_is_merged_as_a_merge_patch_does() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]}) == {"a": {"c": 2, "e": 3}, "d": [2]}


Objects = dict[tuple[str, str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Theirs(Kubectl):
    """kubectl of a cluster that holds these objects, by namespace, kind and name."""

    objects: Objects = field(default_factory=dict)
    gateway_api: bool = True

    def within(self, namespace: str) -> Theirs:
        return replace(self, namespace=namespace)

    def run(self, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
        verb, kind, name, *_ = arguments
        assert verb == "get", "nothing is changed"
        if kind == foreign.GATEWAYS and not self.gateway_api:
            raise KubectlError(f'kubectl get: error: the server doesn\'t have a resource type "{kind}"')
        found = self.objects.get((self.namespace, kind, name))
        return json.dumps(found) if found else ""


def secret(**changed: str | None) -> dict[str, Any]:
    keys = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_ENDPOINT_URL": "http://store.example:8333",
        "AWS_REGION": "us-east-1",
        **changed,
    }
    return {"data": {name: base64.b64encode(value.encode()).decode() for name, value in keys.items() if value is not None}}


def whole(**changed: dict[str, Any] | None) -> Theirs:
    """A cluster that holds every piece, but for what is changed (None: is not there)."""
    pieces = {
        "deployment": ("perennial-store", "deployment", "store"),
        "writer": ("perennial-store", "secret", "perennial-store"),
        "reader": ("perennial-store", "secret", "perennial-store-read"),
        "gateway": ("perennial-gateway", foreign.GATEWAYS, "gw"),
    }
    objects = {"deployment": {"spec": {}}, "writer": secret(), "reader": secret(), "gateway": gateway("127.0.0.1"), **changed}
    return Theirs("kubectl", Path("config"), objects={pieces[name]: found for name, found in objects.items() if found})


def gateway(*addresses: str) -> dict[str, Any]:
    return {"status": {"addresses": [{"type": "IPAddress", "value": address} for address in addresses]}}


def lacking(kubectl: Kubectl, *, deaf: str = "") -> list[str]:
    """What is lacking where everything answers but the host `deaf`."""
    return foreign.lacking(kubectl, HELM, lambda host, port: host != deaf)


def test_a_cluster_that_holds_every_piece_lacks_nothing() -> None:
    assert lacking(whole()) == []


def test_an_empty_cluster_is_told_every_piece_at_once_and_by_name() -> None:
    found = foreign.lacking(Theirs("kubectl", Path("config"), gateway_api=False), "no-such-helm", lambda host, port: True)
    assert [line.split(":")[0] for line in found] == [
        "the program no-such-helm on PATH",
        "Deployment perennial-store/store",
        "Secret perennial-store/perennial-store with AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_REGION, AWS_SECRET_ACCESS_KEY",
        "Secret perennial-store/perennial-store-read with AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_REGION, AWS_SECRET_ACCESS_KEY",
        "the Gateway API, and Gateway perennial-gateway/gw",
    ]


@pytest.mark.parametrize(
    ("kubectl", "deaf", "words"),
    [
        (whole(deployment=None), "", "Deployment perennial-store/store: a SeaweedFS"),
        (whole(reader=secret(AWS_REGION=None)), "", "Secret perennial-store/perennial-store-read with AWS_REGION: a key"),
        (whole(), "store.example", "a way from this machine to the store at http://store.example:8333"),
        (whole(writer=secret(AWS_ENDPOINT_URL="http://store:of")), "", "a way from this machine to the store at http://store:of"),
        (whole(gateway=None), "", "Gateway perennial-gateway/gw: HTTP on port 80"),
        (whole(gateway=gateway()), "", "an address of Gateway perennial-gateway/gw: see its conditions"),
        (whole(gateway=gateway("203.0.113.7")), "", "203.0.113.7, which is neither this machine nor the embedded cluster"),
        (whole(gateway=gateway("10.96.0.9")), "10.96.0.9", "to Gateway perennial-gateway/gw at 10.96.0.9:80"),
    ],
)
def test_each_piece_that_is_missing_is_named_alone(kubectl: Kubectl, deaf: str, words: str) -> None:
    found = lacking(kubectl, deaf=deaf)
    assert len(found) == 1
    assert words in found[0]


def test_an_error_of_the_cluster_is_told_in_its_own_words() -> None:
    class Forbidding(Theirs):
        def run(self, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
            raise KubectlError("secrets is forbidden")

    with pytest.raises(KubectlError, match="forbidden"):
        lacking(Forbidding("kubectl", Path("config")))


def test_the_ground_of_a_bare_cluster_of_the_users_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("kubectl", "#!/bin/sh\nexit 0\n"), ("config", "")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PERENNIAL_KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PERENNIAL_REGISTRY", "registry.example/team")
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(GroundError) as refused:
        Ground.up(Quiet())
    words = str(refused.value)
    assert "- Deployment perennial-store/store" in words
    assert "- Gateway perennial-gateway/gw" in words
    assert words.endswith("unset PERENNIAL_KUBECONFIG PERENNIAL_REGISTRY")
    assert not (tmp_path / "cache").exists()
