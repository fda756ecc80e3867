"""Two workers on two nodes train one LightGBM model by examples/lightgbm-distributed, within noise of what one worker makes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cluster.nodes import ACCELERATOR
from cluster_support import synthetic
from cluster_support.place import Place
from demo.ground import REPOSITORY
from demo.stage import State

ALONE, TOGETHER = "alone", "together"
ROWS = 4000
NOISE = 0.02
"""Of the area under the curve, on some 800 rows: its 95 % interval is wider."""
SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.fixture(scope="module")
def both(shared_place: Place) -> Place:
    """The same model twice: by one pod, and by two on two nodes (node2 keeps away what does not tolerate its taint)."""
    image = shared_place.ground.cluster.push(
        "perennial/lightgbm-example", REPOSITORY / "examples/lightgbm-distributed", parent="perennial/training"
    )
    shared_place.upload(synthetic.table(ROWS))
    trainer = {"recipe": None, "image": image, "resources": SMALL}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels(TOGETHER)}}
    two: dict[str, Any] = {
        **trainer,
        "workers": 2,
        "tolerations": [{"key": ACCELERATOR, "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
    }
    shared_place.kubectl.apply(shared_place.manifest(ALONE, training=trainer), shared_place.manifest(TOGETHER, training=two))
    for name in (ALONE, TOGETHER):
        shared_place.serving(name=name, seconds=170)
    return shared_place


def labels(model: str) -> dict[str, str]:
    return {"perennial.dev/model": model, "perennial.dev/step": "train"}


def pods(place: Place, model: str) -> list[dict[str, Any]]:
    found = place.kubectl.list("pods", ",".join(f"{name}={value}" for name, value in labels(model).items()))
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def auc(state: State) -> float:
    return next(float(gate["estimate"]) for gate in state.version(1)["gates"] if gate["metric"] == "roc_auc")


def test_both_workers_trained_on_a_node_of_their_own_with_half_of_the_rows_each(both: Place) -> None:
    found = pods(both, TOGETHER)
    assert {pod["spec"]["nodeName"] for pod in found} == {"node1", "node2"}
    said = [both.kubectl.logs(pod["metadata"]["name"], "train") for pod in found]
    shares = [re.search(r"worker (\d) of 2: (\d+) trees from (\d+) rows", words) for words in said]
    assert all(shares), said
    rows = [int(share[3]) for share in shares if share]
    assert abs(rows[0] - rows[1]) <= 1
    assert sum(rows) == both.state(TOGETHER).version(1)["rows"]


def test_their_model_is_within_noise_of_the_one_of_a_single_pod(both: Place) -> None:
    one, two = auc(both.state(ALONE)), auc(both.state(TOGETHER))
    assert min(one, two) > 0.75
    assert abs(one - two) < NOISE


def test_only_the_first_worker_s_reporter_answers(both: Place) -> None:
    said = []
    for pod in pods(both, TOGETHER):
        (reporter,) = [one for one in pod["status"]["initContainerStatuses"] if one["name"] == "reporter"]
        said.append(bool(reporter["state"]["terminated"].get("message")))
    assert said == [True, False]


def test_a_bad_exit_of_one_worker_ends_the_attempt_and_names_it(both: Place) -> None:
    code = 'import os, sys, time; sys.exit(3) if os.environ["RANK"] == "1" else time.sleep(600)'
    bad = {"recipe": None, "image": both.images.training, "command": ["python3", "-c", code], "workers": 2, "retries": 0}
    both.apply(both.manifest("broken", training={**bad, "resources": SMALL}))
    state = both.until("the failure", lambda seen: seen.state(1) == "Failed", name="broken", seconds=120)
    assert "TrainerFailed: container train of worker 1 ended with exit code 3" in state.version(1)["message"]
