"""Tasks on the real cluster: how many minutes late a real flight arrives is predicted, judged in minutes, rolled out, and told
over HTTP as the stored model says."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from cluster.settings import from_environment
from cluster_support import bad_inputs
from cluster_support.place import Place
from demo import flights

NAME = "minutes"
JANUARY, FEBRUARY = 1, 2
WORDS = ("carrier", "origin", "dest")
GATES = [
    {"metric": "rmse", "maximum": 30},
    {"metric": "mae", "maximum": 20},
    {"metric": "r2", "minimum": 0.5},
    {"metric": "rmse", "notWorseThanServingBy": 1.5},
]
ASK = """
import json, sys, httpx
print(httpx.post(sys.argv[1], json={"instances": json.loads(sys.argv[2])}, timeout=20).text)
"""


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return flights.minutes(flights.airline(flights.archive(from_environment().cache)))


@pytest.fixture(scope="module")
def both(shared_place: Place, table: pl.DataFrame) -> Place:
    """v1 of January, and v2 of January and February, which was compared with it, rolled out in steps and promoted."""
    place = shared_place
    months = dict(flights.month_files(table, [JANUARY, FEBRUARY]))
    january, february = months.items()
    place.upload(january[1], january[0])
    columns = [
        {"name": flights.ROW, "role": "id"},
        {"name": flights.TIME, "role": "time"},
        *({"name": name, "role": "feature"} for name in flights.FEATURES),
        {"name": flights.MINUTES, "role": "label"},
    ]
    wish = place.manifest(
        NAME,
        data={"columns": columns},
        training={"recipe": {"task": "regression", "hyperparameters": {"max_iter": 60}}},
        evaluation={"gates": GATES},
    )
    place.apply(wish)
    place.serving(1, name=NAME, seconds=300)
    place.upload(february[1], february[0])
    place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
    asked = flights.requests(table, [JANUARY], count=2000, new_every=0)
    with place.load(asked, name=NAME, rate=30):
        place.serving(2, name=NAME, seconds=600)
    return place


def gates(place: Place, number: int) -> dict[tuple[str, str], dict[str, Any]]:
    return {(gate["metric"], gate["kind"]): gate for gate in place.state(NAME).version(number)["gates"]}


def test_a_regression_is_judged_in_minutes_against_the_version_that_serves(both: Place) -> None:
    found = gates(both, 2)
    assert {gate["verdict"] for gate in found.values()} == {"Passed"}
    rmse = found["rmse", "maximum"]
    assert 5 < rmse["lower"] < rmse["estimate"] < rmse["upper"] <= 30
    assert found["rmse", "notWorseThanServingBy"]["lower"] >= -1.5
    assert "keeps the maximum 30" in rmse["message"]
    assert both.state(NAME).version(2)["score"].startswith("rmse ")


def test_promoted_version_answers_over_http_what_its_stored_model_says(both: Place, table: pl.DataFrame) -> None:
    rows = table.filter(pl.col("month") == FEBRUARY + 1).head(20).select(flights.FEATURES)
    state = both.state(NAME)
    body = json.dumps(rows.to_dicts())
    answer = json.loads(both.ground.cluster.run(sys.executable, "-c", ASK, state.status["address"], body, timeout=60))
    assert answer["version"] == f"{NAME}-v2"
    found = [one["prediction"] for one in answer["predictions"]]
    assert found == pytest.approx(said(both, rows), abs=1e-3)
    assert max(found) - min(found) > 10, "minutes"


def said(place: Place, rows: pl.DataFrame) -> list[float]:
    """What model.onnx of v2 says of rows, by onnxruntime alone."""
    version = place.kubectl.get("mver", f"{NAME}-v2") or {}
    body = bad_inputs.stored_bytes(
        place, f"{version['spec']['store']['uri']}/blobs/sha256/{version['status']['lineage']['model']}"
    )
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    feeds = {
        name: np.array(rows[name].to_list(), dtype=object if name in WORDS else np.float32).reshape(-1, 1)
        for name in flights.FEATURES
    }
    return [float(one) for one in session.run(["prediction"], feeds)[0].reshape(-1)]


def test_a_trainer_that_calls_its_output_a_score_is_refused(both: Place) -> None:
    name = "score"
    lines = [
        "from pathlib import Path",
        "import onnx",
        "from perennial_runtime.recipes.train import train",
        "out = Path('/perennial/out')",
        "train('gradient-boosting', Path('/perennial/params.json'), Path('/perennial/data/train.parquet'), out)",
        "model = onnx.load(out / 'model.onnx')",
        "model.graph.output[0].name = model.graph.node[-1].output[0] = 'score'",
        "onnx.save(model, out / 'model.onnx')",
    ]
    wish = both.manifest(
        name,
        data={"columns": (both.kubectl.get("mdep", NAME) or {})["spec"]["data"]["columns"], "task": "regression"},
        training={"recipe": None, "image": both.images.training, "command": ["python3", "-c", "\n".join(lines)], "retries": 0},
        evaluation={"gates": GATES[:1]},
    )
    both.apply(wish)
    state = both.until("v1 to be refused", lambda seen: seen.state(1) in ("Failed", "Rejected"), name=name, seconds=300)
    assert state.state(1) == "Rejected"
    assert "OnnxPredictionMissing" in state.version(1)["message"]
