"""`kubectl perennial smoke` on the real cluster: it ends by its verdict, leaves nothing, and touches nothing of the model."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.verbs import ask, program

ROWS = 1500
NAME = "shop"
FAST = {
    "recipe": {"algorithm": "gradient-boosting", "hyperparameters": {"max_iter": 200}},
    "smoke": {"hyperparameters": {"max_iter": 5}},
}
GONE_SECONDS = 60.0


@pytest.fixture(scope="module")
def stocked(shared_place: Place) -> Place:
    """A place with data."""
    shared_place.upload(synthetic.table(ROWS))
    return shared_place


def file(place: Place, folder: Path, **changes: Any) -> str:
    """The manifest in a file."""
    path = folder / "mdep.yaml"
    path.write_text(yaml.safe_dump(place.manifest(NAME, training=FAST, **changes)))
    return str(path)


def waited(what: str, reached: Callable[[], bool], seconds: float = GONE_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, f"{what} did not come about within {seconds:.0f} s"
        time.sleep(0.5)


def gone(place: Place) -> None:
    """Nothing is left in the namespace, once the garbage collector has been there."""
    waited("an empty namespace", lambda: place.left() == [])


def test_run_that_passes_ends_with_0_and_leaves_nothing(stocked: Place, tmp_path: Path) -> None:
    found = ask(stocked, "smoke", "-f", file(stocked, tmp_path), "--timeout", "150s")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "v1: Passed" in found.stdout
    assert "Passed: roc_auc 0." in found.stdout
    assert "Evaluating; v1: evaluate 1" in found.stderr
    gone(stocked)


def test_run_that_a_gate_rejects_ends_with_1_and_leaves_nothing(stocked: Place, tmp_path: Path) -> None:
    strict = {"gates": [{"metric": "roc_auc", "minimum": 0.999}]}
    found = ask(stocked, "smoke", "-f", file(stocked, tmp_path, evaluation=strict), "--timeout", "150s")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "is under the minimum 0.999" in found.stderr
    gone(stocked)


def test_run_that_is_ended_by_a_person_leaves_nothing(stocked: Place, tmp_path: Path) -> None:
    command, environment = program(stocked, "smoke", "-f", file(stocked, tmp_path))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "prepare 1" in line)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, line
    gone(stocked)


def test_run_that_nobody_removes_goes_by_itself(stocked: Place) -> None:
    manifest = stocked.manifest("orphan", training=FAST, smoke={"expiresAfter": "20s"}, serving={"route": None}, rollout=None)
    stocked.apply(manifest)
    waited("the run", lambda: "ModelVersion/orphan-v1" in stocked.left())
    gone(stocked)


def test_model_that_serves_is_left_alone(place: Place, tmp_path: Path) -> None:
    place.upload(synthetic.table(ROWS))
    place.apply(place.manifest(NAME, training=FAST))
    before = place.serving(1, name=NAME)
    left = place.left()
    found = ask(place, "smoke", "-f", file(place, tmp_path), "--timeout", "120s")
    assert found.returncode == 0, found.stdout + found.stderr
    waited("nothing but the model", lambda: set(place.left()) <= set(left))
    after = place.state(NAME)
    assert after.deployment["metadata"]["generation"] == before.deployment["metadata"]["generation"]
    assert (after.status["stable"], after.status["latest"], after.weight(1)) == (1, 1, 100)
