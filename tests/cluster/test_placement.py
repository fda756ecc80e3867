"""Placement on the real cluster: accelerator Jobs where the accelerator is, all else elsewhere; one that nobody has is told.

node1 is for everything; node2 advertises nvidia.com/gpu and its taint keeps other pods away.
"""

from __future__ import annotations

import pytest

from cluster.nodes import ACCELERATOR
from cluster_support import synthetic
from cluster_support.place import Place
from demo import view

pytestmark = pytest.mark.alone

ROWS = 1500
PLAIN, FAST = "plain", "fast"
NOBODYS = "example.com/tensor-unit"


@pytest.fixture(scope="module")
def both(shared_place: Place) -> Place:
    """The same model twice: trained on a CPU, and trained with an accelerator."""
    shared_place.upload(synthetic.table(ROWS))
    accelerated = shared_place.manifest(FAST, training={"accelerator": {"resource": ACCELERATOR, "count": 1}})
    shared_place.kubectl.apply(shared_place.manifest(PLAIN), accelerated)
    for name in (PLAIN, FAST):
        shared_place.serving(1, name=name, seconds=300)
    return shared_place


def nodes(place: Place, model: str, step: str = "") -> set[str]:
    """Where the pods of a model ran: those of a step, or those that serve."""
    selector = f"perennial.dev/model={model},perennial.dev/" + (f"step={step}" if step else "role=serve")
    return {pod["spec"]["nodeName"] for pod in place.kubectl.list("pods", selector)}


@pytest.mark.parametrize("step", ["prepare", "train", "evaluate", ""], ids=lambda step: step or "serving")
def test_a_model_without_an_accelerator_never_runs_on_the_accelerators_node(both: Place, step: str) -> None:
    assert nodes(both, PLAIN, step) == {"node1"}


def test_the_train_job_runs_where_the_accelerator_is(both: Place) -> None:
    assert nodes(both, FAST, "train") == {"node2"}


@pytest.mark.parametrize("step", ["prepare", "evaluate", ""], ids=lambda step: step or "serving")
def test_all_else_of_an_accelerated_model_leaves_the_accelerators_node_alone(both: Place, step: str) -> None:
    assert nodes(both, FAST, step) == {"node1"}


def test_only_the_train_container_asks_for_the_accelerator(both: Place) -> None:
    (pod,) = both.kubectl.list("pods", f"perennial.dev/model={FAST},perennial.dev/step=train")
    parts = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    asking = {part["name"] for part in parts if ACCELERATOR in part.get("resources", {}).get("limits", {})}
    assert asking == {"train"}


def test_an_accelerator_that_no_node_has_is_told_in_the_schedulers_words_while_the_old_version_serves(both: Place) -> None:
    address = str(both.state(FAST).status["address"])
    bodies = synthetic.bodies(synthetic.table(1000, first=ROWS))
    with both.client(address, bodies, rate=20) as client:
        both.kubectl.patch("mdep", FAST, {"spec": {"training": {"accelerator": {"resource": NOBODYS, "count": 1}}}})
        state = both.until(
            "the scheduler's words",
            lambda seen: f"Insufficient {NOBODYS}" in view.condition(seen.deployment, "Progressing").get("message", ""),
            name=FAST,
            seconds=300,
        )
        client_seen = client.look().requests
        both.until("v1 to go on", lambda seen: client.look().requests > client_seen + 40, name=FAST)
        tally = client.stop()
    said = view.condition(state.deployment, "Progressing")["message"]
    for word in ("v2", "Unschedulable", f"Insufficient {NOBODYS}", "0/2 nodes are available"):
        assert word in said
    assert view.condition(state.deployment, "Ready")["status"] == "True"
    assert (state.status["stable"], state.weight(1)) == (1, 100)
    assert tally.failures_but() == {}
    assert set(tally.versions) == {f"{FAST}-v1"}
