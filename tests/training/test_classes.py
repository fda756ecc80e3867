"""Several classes on the real cluster: from which of three airports a real flight leaves is predicted, judged, rolled out, and
told over HTTP by name, as the stored model says."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cluster_support import airline
from cluster_support.place import Place
from cluster_support.scored import said
from demo import flights

NAME = "airports"
JANUARY = 1
AIRPORTS = ["EWR", "JFK", "LGA"]
FEATURES = ("dep_hour", "day_of_week", "carrier", "dest")
GATES = [
    {"metric": "accuracy", "minimum": 0.7},
    {"metric": "log_loss", "maximum": 0.6},
    {"metric": "roc_auc", "minimum": 0.85},
]


@pytest.fixture(scope="module")
def served(shared_place: Place, table: pl.DataFrame) -> Place:
    """v1 of January, by a recipe whose classes count the same as a whole."""
    place = shared_place
    for name, body in flights.month_files(table, [JANUARY]):
        place.upload(body, name)
    recipe = {"task": "multiclass", "hyperparameters": {"max_iter": 20}, "classWeights": {"balanced": {}}}
    wish = place.manifest(
        NAME, data={"columns": airline.columns("origin", FEATURES)}, training={"recipe": recipe}, evaluation={"gates": GATES}
    )
    place.apply(wish)
    place.serving(1, name=NAME, seconds=400)
    return place


def test_several_classes_are_judged_by_accuracy_log_loss_and_auc(served: Place) -> None:
    found = {gate["metric"]: gate for gate in served.state(NAME).version(1)["gates"]}
    assert {gate["verdict"] for gate in found.values()} == {"Passed"}
    for name in ("accuracy", "log_loss", "roc_auc"):
        assert found[name]["lower"] < found[name]["estimate"] < found[name]["upper"]
    assert 0.7 <= found["accuracy"]["estimate"] < 1
    assert 0 < found["log_loss"]["estimate"] <= 0.6


def test_served_version_answers_classes_by_name_as_its_stored_model_says(served: Place, table: pl.DataFrame) -> None:
    rows = table.filter(pl.col("month") == JANUARY + 1).head(40).select(FEATURES)
    answer = served.answer(rows, name=NAME)
    assert answer["version"] == f"{NAME}-v1"
    assert all(list(one["probabilities"]) == AIRPORTS for one in answer["predictions"])
    expected = said(served, f"{NAME}-v1", "probabilities", rows)
    found = np.array([list(one["probabilities"].values()) for one in answer["predictions"]])
    assert found == pytest.approx(expected, abs=1e-4)
    assert [one["label"] for one in answer["predictions"]] == [AIRPORTS[place] for place in found.argmax(axis=1)]
    assert len({one["label"] for one in answer["predictions"]}) > 1


def test_a_label_of_more_classes_than_fifty_is_refused_with_their_number(served: Place) -> None:
    name = "places"
    recipe = {"task": "multiclass", "hyperparameters": {"max_iter": 20}}
    wish = served.manifest(
        name,
        data={"columns": airline.columns("dest", ("dep_hour", "carrier"))},
        training={"recipe": recipe},
        evaluation={"gates": GATES},
    )
    served.apply(wish)
    state = served.until("v1 to be refused", lambda seen: seen.state(1) in ("Failed", "Rejected"), name=name, seconds=300)
    message = state.version(1)["message"]
    assert "TooManyClasses" in message
    assert "'dest'" in message


def test_a_trainer_that_tells_one_class_alone_is_refused(served: Place) -> None:
    name = "one-class"
    lines = [
        "from pathlib import Path",
        "import onnx",
        "from perennial_runtime.recipes.train import train",
        "out = Path('/perennial/out')",
        "train('logistic-regression', Path('/perennial/params.json'), Path('/perennial/data/train.parquet'), out)",
        "model = onnx.load(out / 'model.onnx')",
        "last = model.graph.output[0].name",
        "first = onnx.helper.make_tensor('first', onnx.TensorProto.INT64, [1], [0])",
        "model.graph.initializer.append(first)",
        "model.graph.node.append(onnx.helper.make_node('Gather', [last, 'first'], ['score'], axis=1))",
        "del model.graph.output[:]",
        "model.graph.output.append(onnx.helper.make_tensor_value_info('score', onnx.TensorProto.FLOAT, [None, 1]))",
        "onnx.save(model, out / 'model.onnx')",
    ]
    wish = served.manifest(
        name,
        data={"columns": airline.columns("origin", FEATURES), "task": "multiclass"},
        training={"recipe": None, "image": served.images.training, "command": ["python3", "-c", "\n".join(lines)], "retries": 0},
        evaluation={"gates": GATES[:1]},
    )
    served.apply(wish)
    state = served.until("v1 to be refused", lambda seen: seen.state(1) in ("Failed", "Rejected"), name=name, seconds=300)
    assert state.state(1) == "Rejected"
    assert "OnnxProbabilitiesMissing" in state.version(1)["message"]


def test_a_version_of_other_classes_is_rejected_before_its_training_is_paid_for(served: Place, table: pl.DataFrame) -> None:
    renamed = table.with_columns(pl.col("origin").replace("LGA", "HPN"))
    for name, body in flights.month_files(renamed, [JANUARY]):
        served.upload(body, name)
    wish = served.manifest(
        NAME,
        data={"columns": airline.columns("origin", FEATURES)},
        training={"recipe": {"task": "multiclass", "hyperparameters": {"max_iter": 20}}},
        evaluation={"gates": [{"metric": "accuracy", "notWorseThanServingBy": 0.02}]},
    )
    served.apply(wish)
    state = served.until("v2 to be refused", lambda seen: seen.state(2) in ("Failed", "Rejected"), name=NAME, seconds=300)
    message = state.version(2)["message"]
    assert state.state(2) == "Rejected", message
    assert message.startswith("prepare: ChampionNotComparable: ")
    for word in (f"{NAME}-v1 tells 3 classes ('LGA', ", "this version 3 classes ('HPN', ", "notWorseThanServingBy"):
        assert word in message
    steps = [job["metadata"]["name"] for job in served.kubectl.list("jobs")]
    assert [name for name in steps if name.startswith(f"{NAME}-v1-train")]  # Jobs stay for a while once they have ended
    assert not [name for name in steps if name.startswith(f"{NAME}-v2-train")]
    assert state.state(1) == "Serving"
