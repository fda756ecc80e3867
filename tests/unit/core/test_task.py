"""The task of a model: told by the recipe or by data.task, and handed to every step; what was there before it stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perennial.api.data import DataColumn
from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.core import lineage
from perennial.core.inputs import inputs_digest
from perennial_runtime.contract import Column, EvaluateResult, GateMeasurement, PrepareSpec, TrainSpec, encode
from unit.core.test_existing_model import MODEL, found, inputs
from unit.core.world import World, evaluated, served, spec

REGRESSION: dict[str, Any] = {"training": {"recipe": {"task": "regression"}}, "evaluation": {"gates": []}}


def of(wish: ModelDeploymentSpec, **changes: Any) -> ModelDeploymentSpec:
    """The wish with fields of its data changed."""
    return wish.model_copy(update={"data": wish.data.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("wish", "task"),
    [
        (spec(), "classification"),
        (spec(**REGRESSION), "regression"),
        (spec(training={"image": "r/x"}), "classification"),
        (of(spec(training={"image": "r/x"}, evaluation={"gates": []}), task="regression"), "regression"),
        (spec(training={"recipe": {"task": "multiclass"}}), "multiclass"),
        (of(spec(training={"image": "r/x"}), task="multiclass"), "multiclass"),
    ],
    ids=["recipe", "recipe of a regression", "image", "image of a regression", "recipe of several", "image of several"],
)
def test_task_reaches_prepare_and_the_trainer(wish: ModelDeploymentSpec, task: str) -> None:
    given = inputs(World(wish=wish), lambda *_: None)
    assert (given["prepare"].task, given["train"].task) == (task, task)


def test_model_that_is_there_already_is_told_by_its_data() -> None:
    wish = of(spec(training={}, model=MODEL, evaluation={"gates": []}), task="regression")
    assert inputs(World(wish=wish, answer=found))["prepare"].task == "regression"


def test_what_was_said_before_there_was_a_choice_is_said_as_it_was() -> None:
    given = inputs(World(), lambda *_: None)
    assert "task" not in encode(given["prepare"]) + encode(given["train"])
    assert isinstance(given["prepare"], PrepareSpec)
    assert isinstance(given["train"], TrainSpec)


def test_another_task_is_another_input_and_the_default_is_none() -> None:
    image = spec(training={"image": "r/x"})
    assert inputs_digest(of(image, task="regression")) != inputs_digest(image)
    assert inputs_digest(spec(training={"recipe": {"task": "classification"}})) == inputs_digest(spec(training={"recipe": {}}))


@pytest.mark.parametrize(
    ("task", "gates", "asked", "score"),
    [
        ("regression", [], ("rmse", "maximum"), "rmse 18.346 (from 17.9 to 18.8)"),
        ("multiclass", [], ("accuracy", "minimum"), "accuracy 18.346 (from 17.900 to 18.800)"),
        (
            "multiclass",
            [{"metric": "log_loss", "maximum": 20}],
            ("log_loss", "maximum"),
            "log_loss 18.346 (from 17.900 to 18.800)",
        ),
    ],
    ids=["of a regression", "of several classes", "a loss"],
)
def test_a_version_tells_how_good_it_is_without_a_gate_too(
    task: str, gates: list[dict[str, Any]], asked: tuple[str, str], score: str
) -> None:
    def answer(step: str, version: int, action: Any) -> EvaluateResult | None:
        if step != "evaluate":
            return None
        (given,) = action.input.gates
        assert (given.metric, given.kind) == asked
        measured = GateMeasurement(given.metric, given.kind, given.limit, 18.3456, 17.9, 18.8, 0)
        return replace(evaluated(version, None), gates=(measured,))

    wish = spec(training={"recipe": {"task": task}}, evaluation={"gates": gates})
    world = served(World(wish=wish, answer=answer))
    assert world.versions[1].status.score == score
    assert dict(lineage.words(world.versions[1].spec, world.versions[1].status))["Task"] == task


@pytest.mark.parametrize(
    ("measured", "score"),
    [
        (
            GateMeasurement("log_loss", "notWorseThanServingBy", -0.1, 0.02, -0.01, 0.05, 0),
            "better by 0.0200 than v1 (from -0.0100 to 0.0500)",
        ),
        (
            GateMeasurement("log_loss", "notWorseThanServingBy", -0.1, -0.02, -0.05, 0.01, 0),
            "worse by 0.0200 than v1 (from -0.0100 to 0.0500)",
        ),
    ],
    ids=["better", "worse"],
)
def test_a_version_that_is_only_compared_tells_by_how_much_it_is_better(measured: GateMeasurement, score: str) -> None:
    def answer(step: str, version: int, action: Any) -> EvaluateResult | None:
        if step != "evaluate":
            return None
        champion = action.input.champion
        return replace(evaluated(version, champion and champion.identity), gates=(measured,) if champion else ())

    gates = [{"metric": "log_loss", "notWorseThanServingBy": 0.1}]
    world = served(World(wish=spec(evaluation={"gates": gates}), answer=answer))
    assert world.versions[1].status.score == "", "nothing served that it could be compared with"
    world.wish = spec(evaluation={"gates": gates}, training={"recipe": {"algorithm": "logistic-regression"}})
    world.until(lambda w: 2 in w.versions and w.versions[2].status.gates != [], rate=100)
    assert world.versions[2].status.score == f"log_loss {score}"


@pytest.mark.parametrize(
    ("wish", "given", "record"),
    [
        ({"balanced": {}}, {"balanced": 1.0}, "balanced"),
        ({"weights": {"1": 5, "0": 1}}, {"0": 1.0, "1": 5.0}, "0: 1, 1: 5"),
    ],
    ids=["balanced", "given"],
)
def test_weights_of_classes_reach_the_recipe_and_stand_in_the_record(
    wish: dict[str, Any], given: dict[str, float], record: str
) -> None:
    world = World(wish=spec(training={"recipe": {"classWeights": wish}}))
    assert inputs(world, lambda *_: None)["train"].class_weights == given
    version = world.versions[1]
    assert dict(lineage.words(version.spec, version.status))["Class weights"] == record


def test_column_by_which_rows_count_stands_in_the_record_and_reaches_prepare() -> None:
    wish = spec()
    columns = [*wish.data.columns, DataColumn(name="premium", role="weight")]
    world = World(wish=of(wish, columns=columns))
    assert Column("premium", "weight") in inputs(world, lambda *_: None)["prepare"].columns
    version = world.versions[1]
    assert dict(lineage.words(version.spec, version.status))["Rows count by"] == "premium"
