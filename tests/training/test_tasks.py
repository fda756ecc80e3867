"""Tasks on the real cluster: how many minutes late a real flight arrives is predicted, judged in minutes, rolled out, and told
over HTTP as the stored model says."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from cluster_support import airline
from cluster_support.place import Place
from cluster_support.scored import said
from demo import flights

NAME = "minutes"
JANUARY, FEBRUARY = 1, 2
COLUMNS = airline.columns(flights.MINUTES, flights.FEATURES)
GATES = [
    {"metric": "rmse", "maximum": 30},
    {"metric": "mae", "maximum": 20},
    {"metric": "r2", "minimum": 0.5},
    {"metric": "rmse", "notWorseThanServingBy": 1.5},
]


@pytest.fixture(scope="module")
def both(shared_place: Place, table: pl.DataFrame) -> Place:
    """v1 of January, and v2 of January and February, which was compared with it, rolled out in steps and promoted."""
    place = shared_place
    months = dict(flights.month_files(table, [JANUARY, FEBRUARY]))
    january, february = months.items()
    place.upload(january[1], january[0])
    wish = place.manifest(
        NAME,
        data={"columns": COLUMNS},
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
    answer = both.answer(rows, name=NAME)
    assert answer["version"] == f"{NAME}-v2"
    found = [one["prediction"] for one in answer["predictions"]]
    assert found == pytest.approx(said(both, f"{NAME}-v2", "prediction", rows).reshape(-1).tolist(), abs=1e-3)
    assert max(found) - min(found) > 10, "minutes"


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
        data={"columns": COLUMNS, "task": "regression"},
        training={"recipe": None, "image": both.images.training, "command": ["python3", "-c", "\n".join(lines)], "retries": 0},
        evaluation={"gates": GATES[:1]},
    )
    both.apply(wish)
    state = both.until("v1 to be refused", lambda seen: seen.state(1) in ("Failed", "Rejected"), name=name, seconds=300)
    assert state.state(1) == "Rejected"
    assert "OnnxPredictionMissing" in state.version(1)["message"]
