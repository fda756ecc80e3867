"""The charts on a real cluster: install, upgrade, uninstall, named namespaces. Models serve through all of it.

A client asks all the time; each test puts the operator back as the other files expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import chart_support
from chart_support import CHARTS, SYSTEM, helm
from cluster_support import synthetic
from cluster_support.place import Place
from demo.kubectl import Kubectl
from demo.stage import State
from demo.traffic import Tally

KEPT_CRDS = {"modeldeployments.perennial.dev", "modelversions.perennial.dev"}
RATE = 50


@pytest.fixture(scope="module")
def served(shared_place: Place) -> Place:
    """A place where v1 of the model `shop` serves."""
    shared_place.upload(synthetic.table(1200))
    shared_place.apply(shared_place.manifest("shop", evaluation=None))
    shared_place.serving(1)
    return shared_place


@pytest.fixture(autouse=True)
def as_before(served: Place) -> Iterator[None]:
    """Whatever a test does to the operator, it is installed as usual afterwards."""
    yield
    served.ground.install(served.images)
    system(served).run("rollout", "status", "deployment/perennial", "--timeout=120s", timeout=130)


def system(place: Place) -> Kubectl:
    return place.kubectl.within(SYSTEM)


def release(place: Place, **changes: Any) -> None:
    """`helm upgrade --install` of the operator with some values changed."""
    values = {
        "image": place.images.operator,
        "images": {"serving": place.images.runtime, "training": place.images.training},
        "store": {"uri": "s3://perennial/models"},
    }
    kubeconfig = f"--kubeconfig={place.ground.cluster.kubeconfig}"
    words = ("upgrade", "perennial", str(CHARTS / "perennial"), "--install", "--wait", "--timeout=3m", f"--namespace={SYSTEM}")
    helm(*words, kubeconfig, values={**values, **changes})


def uninstall(place: Place, name: str) -> None:
    helm("uninstall", name, "--wait", f"--namespace={SYSTEM}", f"--kubeconfig={place.ground.cluster.kubeconfig}")


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
    return system(place).run("logs", "deployment/perennial", "--tail=-1")


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


def ready_again(place: Place) -> State:
    """The operator works: it writes a condition for a change of the spec."""
    replicas = place.kubectl.get("mdep", "shop")
    assert replicas is not None
    wanted = 2 if replicas["spec"]["serving"]["replicas"] == 1 else 1
    place.kubectl.patch("mdep", "shop", {"spec": {"serving": {"replicas": wanted}}})
    return place.until(f"{wanted} serving pods", lambda _: len(served_pods(place)) == wanted)


def test_an_upgrade_with_other_images_and_settings_restarts_no_served_pod(served: Place) -> None:
    pods, operators = served_pods(served), operator_pods(served)
    versions = {version["metadata"]["name"] for version in served.state().versions}

    def upgrade() -> None:
        release(
            served, workers=3, logFormat="text", images={"serving": served.images.training, "training": served.images.training}
        )

    tally = under_load(served, upgrade)
    assert tally.failures_but() == {}
    assert not operators & operator_pods(served)
    assert served_pods(served) == pods
    assert {version["metadata"]["name"] for version in served.state().versions} == versions


def test_uninstalling_the_operator_keeps_models_serving_and_crds_in_place(served: Place) -> None:
    pods = served_pods(served)

    def away() -> None:
        uninstall(served, "perennial")
        uninstall(served, "perennial-crds")

    tally = under_load(served, away)
    crds = {crd["metadata"]["name"] for crd in served.kubectl.list("crd")}
    assert tally.failures_but() == {}
    assert tally.requests > RATE
    assert operator_pods(served) == set()
    assert served_pods(served) == pods
    assert crds >= KEPT_CRDS
    assert served.state().deployment is not None


def test_installing_again_takes_the_models_up_where_they_were(served: Place) -> None:
    pods = served_pods(served)
    uninstall(served, "perennial")
    uninstall(served, "perennial-crds")
    chart_support.install_crds(served.ground.cluster.kubeconfig)
    release(served)
    assert served_pods(served) == pods
    assert ready_again(served).state(1) == "Serving"


def test_an_operator_for_named_namespaces_has_the_rights_it_needs_and_no_more(served: Place) -> None:
    uninstall(served, "perennial")
    release(served, watchNamespaces=[served.namespace])
    account = f"--as=system:serviceaccount:{SYSTEM}:perennial"

    assert ready_again(served).state(1) == "Serving"
    assert "orbidden" not in operator_log(served)
    rights = served.kubectl.run("auth", "can-i", "--list", account)
    elsewhere = served.kubectl.within("default").run("auth", "can-i", "--list", account)
    assert "jobs.batch" in rights
    assert "secrets" not in rights
    assert "jobs.batch" not in elsewhere


def test_the_operator_is_never_refused_by_the_api_server(served: Place) -> None:
    ready_again(served)
    assert "orbidden" not in operator_log(served)


def test_the_notes_tell_the_next_step(served: Place) -> None:
    notes = helm("get", "notes", "perennial", f"--namespace={SYSTEM}", f"--kubeconfig={served.ground.cluster.kubeconfig}")
    assert "kubectl get mdep,mver" in notes
    assert "WARNING" not in notes
