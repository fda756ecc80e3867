"""A smoke run: trained with fast hyperparameters on all data, judged as any other, never served, and gone by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.core import actions
from perennial.core.inputs import inputs_digest
from perennial.core.observed import ContainerState, Job
from perennial.standing import standing
from perennial_runtime.contract import EvaluateSpec, PrepareSpec, TrainSpec
from unit.core.test_approval import condition, told
from unit.core.world import SPEC, START, World, evaluated, failed, served, spec, usual

FAST = {"hyperparameters": {"max_iter": 5}}
RECIPE = {"recipe": {"hyperparameters": {"max_iter": 300, "learning_rate": 0.2}}, "smoke": FAST}
SERVES_NOTHING = {"serving": {"replicas": 2}}


def wish(**changes: Any) -> ModelDeploymentSpec:
    return spec(**({"smoke": {"expiresAfter": "2h"}, "training": RECIPE} | SERVES_NOTHING | changes))


def ended(world: World, **traffic: Any) -> World:
    return world.until(lambda w: 1 in w.versions and w.versions[1].status.finished_at is not None, **traffic)


def broken(step: str, number: int, action: actions.CreateJob) -> Job | None:
    """A trainer that ends badly every time."""
    return failed(START, ContainerState("train", "terminated", "Error", "", 1)) if step == "train" else None


def inputs(wanted: ModelDeploymentSpec) -> list[PrepareSpec | TrainSpec | EvaluateSpec]:
    """What the Jobs of its first version are told."""
    seen = list[PrepareSpec | TrainSpec | EvaluateSpec]()

    def note(step: str, number: int, action: actions.CreateJob) -> None:
        seen.append(action.input)

    World(wish=wanted, answer=note).until(lambda w: len(seen) == len(("prepare", "train", "evaluate")))
    return seen


def test_a_version_that_passes_ends_there_and_nothing_serves() -> None:
    world = ended(World(wish=wish()))
    world.live(60)
    assert world.versions[1].status.state == "Passed"
    assert "roc_auc 0.7300" in world.versions[1].status.message
    assert (world.status.stable, world.status.candidate, world.status.weights) == (None, None, [])
    assert world.created == ["delays-v1", *(f"delays-v1-{step}-1" for step in ("prepare", "train", "evaluate"))]
    assert (world.workloads, world.route) == ({}, None)


def test_it_is_ready_when_it_has_passed_and_nothing_more_is_under_way() -> None:
    world = ended(World(wish=wish()))
    world.run()
    assert condition(world, "Ready")[:2] == ("True", "Passed")
    assert "v1 passed and is not served" in condition(world, "Ready")[2]
    assert condition(world, "UpToDate")[:2] == ("True", "Passed")
    assert condition(world, "Reconciling") == condition(world, "Stalled") == ("", "", "")
    assert world.status.summary == "Passed"
    assert len(told(world, "Passed")) == 1
    assert [entry.what for entry in world.status.ledger.entries].count("Passed") == 1


def test_nothing_is_written_once_it_has_passed() -> None:
    world = ended(World(wish=wish()))
    world.live(5)
    writes = world.status_writes
    world.live(60)
    assert world.status_writes == writes


def test_a_gate_refuses_as_it_does_in_earnest() -> None:
    def weak(step: str, number: int, action: actions.CreateJob) -> Any:
        return evaluated(number, None, lower=0.5) if step == "evaluate" else usual(action)

    world = ended(World(wish=wish(), answer=weak))
    world.run()
    assert world.versions[1].status.state == "Rejected"
    assert condition(world, "Ready")[0] == "False"
    assert condition(world, "Stalled")[:2] == ("True", "Rejected")


def test_its_failures_wake_nobody() -> None:
    world = ended(World(wish=wish(), answer=broken))
    decided = world.run()
    assert condition(world, "Ready")[0] == "False"
    assert standing(world.observed(), decided).troubles == ()


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (RECIPE, {"max_iter": 5, "learning_rate": 0.2}),
        ({"recipe": {"hyperparameters": {"max_iter": 300}}}, {"max_iter": 300}),
        ({"image": "r/trainer", "smoke": {"hyperparameters": {"epochs": 1}}}, {"epochs": 1}),
    ],
    ids=["in place of the recipe's", "none given", "to an image"],
)
def test_the_trainer_gets_the_smoke_hyperparameters(training: Any, expected: dict[str, float]) -> None:
    trained = [one for one in inputs(wish(training=training)) if isinstance(one, TrainSpec)]
    assert [one.hyperparameters for one in trained] == [expected]


def test_a_model_in_earnest_never_trains_with_them() -> None:
    trained = [one for one in inputs(spec(training=RECIPE)) if isinstance(one, TrainSpec)]
    assert [one.hyperparameters for one in trained] == [{"max_iter": 300, "learning_rate": 0.2}]


def test_data_and_gates_are_those_of_the_model() -> None:
    def without_training(wanted: ModelDeploymentSpec) -> list[object]:
        found = [one for one in inputs(wanted) if isinstance(one, PrepareSpec | EvaluateSpec)]
        return [replace(one, record=()) if isinstance(one, EvaluateSpec) else one for one in found]  # the card's words

    assert without_training(wish()) == without_training(spec(training=RECIPE, **SERVES_NOTHING))


def test_changed_smoke_hyperparameters_make_no_version_of_a_model() -> None:
    world = served(World(wish=spec(training=RECIPE)))
    world.wish = spec(training={**RECIPE, "smoke": {"hyperparameters": {"max_iter": 1}}})
    world.live(10)
    assert list(world.versions) == [1]
    assert inputs_digest(spec(training=RECIPE)) == inputs_digest(spec(training={"recipe": RECIPE["recipe"]}))


def test_changed_smoke_hyperparameters_are_other_inputs_of_a_smoke_run() -> None:
    assert inputs_digest(wish()) != inputs_digest(wish(training={"recipe": RECIPE["recipe"]}))


def test_a_person_can_not_have_it_served() -> None:
    world = ended(World(wish=wish()))
    for request in ("rollback-to", "promote"):
        world.annotations[f"perennial.dev/{request}"] = "1"
        world.live(3)
    assert [record.outcome.split(":")[0] for record in world.status.requests] == ["refused", "refused"]
    assert (world.status.stable, world.workloads) == (None, {})


def test_it_is_deleted_when_its_time_is_over_whatever_has_become_of_it() -> None:
    world = World(wish=wish(smoke={"expiresAfter": "2m"}), answer=broken)
    world.sleep(110)
    assert not world.is_gone
    world.now = START + timedelta(seconds=119)
    assert (world.run().wake_after or 0) <= 1.0
    assert not world.is_gone
    world.now = START + timedelta(seconds=120)
    world.run()
    assert world.is_gone


def test_a_model_is_never_deleted() -> None:
    world = served()
    world.now += timedelta(days=400)
    world.run()
    assert not world.is_gone


def test_a_smoke_run_needs_nothing_of_its_own_but_the_field() -> None:
    assert ModelDeploymentSpec.model_validate(SPEC | {"smoke": {}} | SERVES_NOTHING).smoke is not None
