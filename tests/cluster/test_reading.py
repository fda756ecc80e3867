"""What the suites read of the API server without a process is what kubectl reads."""

from __future__ import annotations

import pytest

from cluster_support.place import Place
from cluster_support.reading import Reader
from demo.kubectl import Kubectl, KubectlError

LABELS = {"perennial.dev/model": "shop"}


def configmap(name: str, **labels: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": name}}


def test_objects_are_read_as_kubectl_reads_them(place: Place) -> None:
    port = {"spec": {"ports": [{"port": 80}]}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "labels": LABELS}, **port}
    place.kubectl.apply(configmap("one", **LABELS), configmap("other"), service)
    mine = place.kubectl
    kubectl = Kubectl(mine.program, mine.kubeconfig, mine.namespace)
    assert isinstance(mine, Reader)
    for kinds, selector in (("configmaps,services", ""), ("services,configmaps", "perennial.dev/model=shop"), ("mdep,mver", "")):
        assert mine.list(kinds, selector) == kubectl.list(kinds, selector)
    assert mine.get("configmap", "one") == kubectl.get("configmap", "one")
    assert mine.get("service", "nobody") is kubectl.get("service", "nobody") is None
    system = mine.within("perennial-system")
    assert [one["metadata"]["name"] for one in system.list("deployments")] == ["perennial"]
    assert mine.list("crd", "app.kubernetes.io/part-of=nothing") == [], "what it does not know is kubectl's"


def test_an_object_is_applied_by_a_manager_of_fields_whoever_else_holds_them(place: Place) -> None:
    place.kubectl.apply(configmap("one"))
    api = Reader.of(place.kubectl)
    api.apply_as("somebody", {**configmap("one"), "data": {"a": "theirs"}})
    assert (api.get("configmap", "one") or {})["data"] == {"a": "theirs"}
    assert "somebody" in api.run("get", "configmap", "one", "--output=json", "--show-managed-fields")


def test_what_cannot_be_read_is_told(place: Place) -> None:
    nowhere = Reader(place.kubectl.program, place.kubectl.kubeconfig, "no/such")
    with pytest.raises(KubectlError, match="pods: 40"):
        nowhere.list("pods")
