"""A gate on a number of the user's own, on the real cluster: what wrong answers cost, measured by a program in their image.

Everything is applied at once, beside one another; each test looks at its own. The trainer's image of `shop` brings the program
along; `dear` is a recipe, whose program is the same file in an image of its own, and that of the others is a line of Python.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster_support import bad_inputs, synthetic
from cluster_support.place import Place
from cluster_support.verbs import ask
from demo.ground import REPOSITORY
from demo.stage import State

ROWS = 1500
PATIENCE = 300.0
"""Seconds: all of it shares the CPUs of one node."""
DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY train.py /trainer/train.py
COPY cost.py /metric/cost.py
"""
PROGRAM = ["bash", "-c", "set -o pipefail; python3 /metric/cost.py 2>&1 | tee $PERENNIAL_VALUES/metrics.log"]
VALUES = [{"name": "cost", "better": "less"}]
TOLD = "open('/dev/termination-log', 'w').write('no prices for March'); raise SystemExit(3)"
ONE_ROW = (
    "import os, polars as pl; pl.DataFrame({'cost': [1.0]}).write_parquet(os.environ['PERENNIAL_VALUES'] + '/challenger.parquet')"
)
LOOKS = (
    "import os, pathlib, sys; given = [one for one in sorted(os.environ) if one.startswith(('PERENNIAL_', 'AWS_'))];"
    "found = [str(one) for one in pathlib.Path('/perennial').rglob('*')] + given;"
    "open('/dev/termination-log', 'w').write(' '.join(found)); sys.exit(64)"
)
BROKEN: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "fails": ({"command": ["python3", "-c", TOLD]}, ("MetricsFailed", "exit code 3", "it says: no prices for March")),
    "one-row": ({"command": ["python3", "-c", ONE_ROW]}, ("MetricValuesBroken", "challenger.parquet", "it has 1 rows for")),
    "silent": (
        {"command": ["true"]},
        ("MetricValuesMissing", "ended without writing it", "$PERENNIAL_VALUES/challenger.parquet"),
    ),
    "slow": (
        {"command": ["sleep", "3600"], "timeout": "5s"},
        ("MetricsTimedOut", "longer than 5s", "evaluation.metrics.timeout"),
    ),
    "nowhere": (
        {"command": ["/no/such/program"]},
        ("ContainerCannotStart", "container metrics", "correct spec.evaluation.metrics.image"),
    ),
    "looks": ({"command": ["python3", "-c", LOOKS]}, ("MetricsRefused", "exit code 64", "/perennial/rows/challenger.parquet")),
}


@pytest.fixture(scope="module")
def applied(shared_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Every case, applied."""
    place, folder = shared_place, tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for example in ("scikit-learn/train.py", "own-metric/cost.py"):
        shutil.copy(Path(REPOSITORY) / "examples" / example, folder)
    image = place.ground.cluster.push("perennial/cost-example", folder, parent="perennial/training")
    place.upload(synthetic.table(ROWS))

    def wish(name: str, most: float, metrics: dict[str, Any], **training: Any) -> dict[str, Any]:
        manifest = place.manifest(name, **({"training": training} if training else {}))
        own = {"image": image, "values": VALUES, "resources": bad_inputs.SMALL, **metrics}
        gates = [{"metric": "cost", "maximum": most}, {"metric": "cost", "notWorseThanServingBy": 5}]
        manifest["spec"]["evaluation"] = {"gates": gates, "metrics": {key: value for key, value in own.items() if value}}
        return manifest

    theirs = {"recipe": None, "image": image, "command": ["python3", "/trainer/train.py"], "retries": 0}
    place.kubectl.apply(
        wish("shop", 24, {"image": None, "command": PROGRAM, "columns": ["hour"], "resources": None}, **theirs),
        wish("dear", 0.001, {"command": ["python3", "/metric/cost.py"], "columns": ["hour"]}),
        *(wish(name, 24, metrics, **place.light()) for name, (metrics, _) in BROKEN.items()),
    )
    return place


def ended(place: Place, name: str, state: str) -> State:
    """The version ended as it should, and serves nobody."""

    def never(seen: State) -> str:
        other = seen.state(1) in ("Failed", "Rejected", "Accepted", "Deploying", "Serving") and seen.state(1) != state
        return f"v1 is {seen.state(1)}: {seen.version(1).get('message', '')}" if other else ""

    found = place.until(f"{name} to end", lambda seen: seen.state(1) == state, name=name, seconds=PATIENCE, never=never)
    assert not place.kubectl.list("deployments,services,httproutes", f"perennial.dev/model={name}")
    return found


def test_a_model_whose_wrong_answers_cost_little_enough_serves_and_says_what_they_cost(applied: Place) -> None:
    (gate,) = applied.serving(1, name="shop", seconds=PATIENCE).version(1)["gates"]
    assert (gate["metric"], gate["kind"], gate["verdict"]) == ("cost", "maximum", "Passed")
    assert 0 < gate["lower"] < gate["estimate"] < gate["upper"] < 24
    assert "cost" in ask(applied, "describe", "shop").stdout


def test_the_next_version_is_compared_with_it_on_the_same_rows(applied: Place) -> None:
    applied.serving(1, name="shop", seconds=PATIENCE)
    applied.kubectl.annotate("mdep", "shop", "perennial.dev/retrain", "to compare")
    judged = ("Rejected", "Retired", "Accepted", "Deploying", "Canary", "Serving")
    seen = applied.until("v2 to be judged", lambda state: state.state(2) in judged, name="shop", seconds=PATIENCE)
    alone, beside = seen.version(2)["gates"]
    assert (beside["kind"], beside["verdict"]) == ("notWorseThanServingBy", "Passed")
    assert beside["estimate"] == 0.0, "the same data, image and seed make the same model"
    assert alone["verdict"] == "Passed"


def test_what_the_program_wrote_is_read_as_any_steps_log(applied: Place) -> None:
    applied.serving(1, name="shop", seconds=PATIENCE)
    found = ask(applied, "logs", "shop", "v1", "--step", "evaluate", "-c", "metrics")
    assert found.stdout.startswith("challenger.parquet: "), found.stderr


def test_the_programs_container_has_no_secret_and_no_folder_of_ours(applied: Place) -> None:
    applied.serving(1, name="shop", seconds=PATIENCE)
    (pod, *_) = applied.kubectl.list("pods", "perennial.dev/model=shop,perennial.dev/step=evaluate,perennial.dev/version=1")
    program = next(one for one in pod["spec"]["initContainers"] if one["name"] == "metrics")
    assert {one["mountPath"] for one in program["volumeMounts"]} == {"/perennial/rows", "/perennial/values", "/tmp"}


def test_a_model_that_costs_too_much_is_rejected_with_the_amounts(applied: Place) -> None:
    version = ended(applied, "dear", "Rejected").version(1)
    (gate,) = version["gates"]
    assert gate["verdict"] == "Failed"
    assert gate["lower"] > 0.001
    assert f"cost {gate['estimate']:.4f} (from " in version["message"]
    assert "is over the maximum 0.001" in version["message"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_program_that_measures_nothing_fails_the_version_with_what_was_found(applied: Place, name: str) -> None:
    version = ended(applied, name, "Failed").version(1)
    for word in BROKEN[name][1]:
        assert word in version["message"]
    assert not version.get("gates")


def test_the_program_sees_no_key_of_the_store_and_no_input_of_ours(applied: Place) -> None:
    said = ended(applied, "looks", "Failed").version(1)["message"].partition("it says: ")[2].split()
    assert {one for one in said if one.startswith("/perennial/")} <= {
        "/perennial/rows",
        "/perennial/rows/challenger.parquet",
        "/perennial/values",
    }
    assert {one for one in said if not one.startswith("/")} == {"PERENNIAL_ROWS", "PERENNIAL_SEED", "PERENNIAL_VALUES"}
