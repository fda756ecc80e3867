"""The charts on a real cluster: install, upgrade, uninstall, install again, named namespaces. Models serve through all of it.

The release under test is one of its own, of another name (`operatorName`), so the operator of the other files stays as it is.
A client asks all the time; each test leaves the release installed as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import chart_support
from chart_support import CHARTS, helm
from cluster_support import synthetic
from cluster_support.place import Place
from demo.kubectl import Kubectl
from demo.stage import State
from demo.traffic import Tally

KEPT_CRDS = {"modeldeployments.perennial.dev", "modelversions.perennial.dev"}
RATE = 50
RELEASE = SYSTEM = NAME = "t-helm"
"""Of the release, its namespace, and the operator's name."""


@pytest.fixture(scope="module")
def served(shared_place: Place) -> Iterator[Place]:
    """A place where v1 of the model `shop` serves, under an operator of another name."""
    release(shared_place)
    shared_place.upload(synthetic.table(1200))
    manifest = shared_place.manifest("shop", training=shared_place.light(), evaluation=None)
    manifest["metadata"]["labels"] = {"perennial.dev/operator": NAME}
    shared_place.apply(manifest)
    shared_place.serving(1)
    yield shared_place
    uninstall(shared_place)
    shared_place.ground.delete_namespaces(SYSTEM)


def system(place: Place) -> Kubectl:
    return place.kubectl.within(SYSTEM)


def kubeconfig(place: Place) -> Path:
    return place.ground.cluster.kubeconfig


def release(place: Place, **changes: Any) -> None:
    """`helm upgrade --install` of the operator with some values changed."""
    values = {
        "image": place.images.operator,
        "images": {"serving": place.images.runtime, "training": place.images.training},
        "store": {"uri": "s3://perennial/models"},
        "operatorName": NAME,
    }
    chart = ("upgrade", RELEASE, str(CHARTS / "perennial"), "--install", "--create-namespace", "--wait", "--timeout=3m")
    helm(*chart, f"--namespace={SYSTEM}", f"--kubeconfig={kubeconfig(place)}", values={**values, **changes})


def uninstall(place: Place) -> None:
    helm("uninstall", RELEASE, "--wait", f"--namespace={SYSTEM}", f"--kubeconfig={kubeconfig(place)}")


def served_pods(place: Place) -> dict[str, int]:
    """Restarts by UID of the model's serving pods that are not on their way out."""
    pods = place.kubectl.list("pods", "perennial.dev/role=serve")
    return {
        pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def operator_pods(place: Place) -> set[str]:
    pods = system(place).list("pods", "app.kubernetes.io/name=perennial")
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def operator_log(place: Place) -> str:
    return system(place).run("logs", f"deployment/{RELEASE}", "--tail=-1")


def under_load(place: Place, change: Callable[[], None]) -> Tally:
    """What a client saw while `change` was made and for a moment before and after it."""
    address = str(place.state().status["address"])
    with place.client(address, synthetic.bodies(synthetic.table(500, first=5000)), rate=RATE) as client:
        place.until("the client's first answers", lambda _: client.look().requests >= RATE or bool(client.problem))
        change()
        before = client.look().requests
        place.until("answers after the change", lambda _: client.look().requests >= before + 3 * RATE or bool(client.problem))
        assert not client.problem
        return client.stop()


def carries_out_a_change(place: Place) -> State:
    """Proof that the operator works: another number of replicas is there soon."""
    found = place.kubectl.get("mdep", "shop")
    assert found is not None
    wanted = 2 if found["spec"]["serving"]["replicas"] == 1 else 1
    place.kubectl.patch("mdep", "shop", {"spec": {"serving": {"replicas": wanted}}})
    return place.until(f"{wanted} serving pods", lambda _: len(served_pods(place)) == wanted)


def test_an_upgrade_with_other_images_and_settings_restarts_no_served_pod(served: Place) -> None:
    pods, operators = served_pods(served), operator_pods(served)
    versions = {version["metadata"]["name"] for version in served.state().versions}
    other = {"serving": served.images.training, "training": served.images.training}
    tally = under_load(served, lambda: release(served, workers=3, logFormat="text", images=other))
    assert tally.failures_but() == {}
    assert not operators & operator_pods(served)
    assert served_pods(served) == pods
    assert {version["metadata"]["name"] for version in served.state().versions} == versions


def test_uninstalling_the_operator_keeps_models_serving_and_crds_in_place(served: Place) -> None:
    pods = served_pods(served)

    def away() -> None:
        uninstall(served)
        helm("uninstall", "perennial-crds", "--wait", f"--namespace={chart_support.SYSTEM}", f"--kubeconfig={kubeconfig(served)}")

    tally = under_load(served, away)
    crds = {crd["metadata"]["name"] for crd in served.kubectl.list("crd")}
    gone = operator_pods(served)
    chart_support.install_crds(kubeconfig(served))
    release(served)
    assert tally.failures_but() == {}
    assert tally.requests > RATE
    assert gone == set()
    assert crds >= KEPT_CRDS
    assert served_pods(served) == pods, "installed again, the operator takes its models up where they were"
    assert carries_out_a_change(served).state(1) == "Serving"


def test_an_operator_for_named_namespaces_has_the_rights_it_needs_and_no_more(served: Place) -> None:
    release(served, watchNamespaces=[served.namespace])
    assert carries_out_a_change(served).state(1) == "Serving"
    log = operator_log(served)
    account = f"--as=system:serviceaccount:{SYSTEM}:{RELEASE}"
    rights = served.kubectl.run("auth", "can-i", "--list", account)
    elsewhere = served.kubectl.within("default").run("auth", "can-i", "--list", account)
    release(served)
    assert "orbidden" not in log
    assert "jobs.batch" in rights
    assert "secrets" not in rights
    assert "jobs.batch" not in elsewhere


def test_the_operator_is_never_refused_by_the_api_server(served: Place) -> None:
    carries_out_a_change(served)
    assert "orbidden" not in operator_log(served)


def test_the_notes_tell_the_next_step(served: Place) -> None:
    notes = helm("get", "notes", RELEASE, f"--namespace={SYSTEM}", f"--kubeconfig={kubeconfig(served)}")
    assert "kubectl get mdep,mver" in notes
    assert "WARNING" not in notes
