"""`spec.model`: a model that is there already goes from prepare to evaluate, and is judged, served and recorded as any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.core import lineage
from perennial.core.actions import CreateJob
from perennial.core.inputs import inputs_digest
from perennial.manifests.jobs import job
from perennial_runtime.contract import Answer, EvaluateSpec, ModelSource, PrepareSpec, Refusal
from unit.core.test_pause_and_retry import request
from unit.core.world import World, prepared, served, spec

DIGEST = "5f70bf18a086007016e948b04aed3b82" * 2
MODEL: dict[str, Any] = {"uri": "s3://models/delays/model.onnx", "digest": f"sha256:{DIGEST}"}
DIFFERS = Refusal("ModelDigestDiffers", f"model s3://models/delays/model.onnx has sha256:0, and spec.model.digest is {DIGEST}")


def brought(**changes: Any) -> ModelDeploymentSpec:
    """The usual wish, but that nothing is trained."""
    return spec(training={}, model={**MODEL, **changes})


def found(step: str, version: int, action: CreateJob) -> Answer | None:
    """Prepare has fetched the model."""
    return replace(prepared(version), model=DIGEST) if step == "prepare" else None


def serving() -> World:
    return served(World(wish=brought(), answer=found))


def inputs(world: World, answer: Any = found) -> dict[str, Any]:
    """What the Jobs of a version were given, by step."""
    given: dict[str, Any] = {}

    def noted(step: str, version: int, action: CreateJob) -> Answer | None:
        given[step] = action.input
        said: Answer | None = answer(step, version, action)
        return said

    world.answer = noted
    served(world)
    return given


def test_model_is_judged_and_served_without_a_train_job() -> None:
    world = serving()
    assert world.status.stable == 1
    assert [record.step for record in world.versions[1].status.steps] == ["prepare", "evaluate"]
    assert not [name for name in world.created if "-train-" in name]


def test_prepare_is_told_what_to_fetch_and_evaluate_judges_that_blob_without_a_trainers_scores() -> None:
    given = inputs(World(wish=brought()))
    prepare, evaluate = given["prepare"], given["evaluate"]
    assert isinstance(prepare, PrepareSpec)
    assert isinstance(evaluate, EvaluateSpec)
    assert prepare.model == ModelSource(MODEL["uri"], DIGEST)
    assert (evaluate.model, evaluate.parity, evaluate.environment) == (DIGEST, "", None)


def test_version_that_is_trained_fetches_no_model() -> None:
    given = inputs(World(), lambda *_: None)
    assert given["prepare"].model is None


def test_model_that_replaces_a_trained_one_is_compared_with_it() -> None:
    world = served()
    world.wish, world.answer = brought(), found
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert world.versions[2].spec.trigger.reason == "SpecChanged"
    assert world.versions[2].status.steps[-1].key == "identity-1"


def test_wrong_digest_ends_the_version_and_leaves_what_serves() -> None:
    world = served()
    world.wish = brought()
    world.answer = lambda step, *_: DIFFERS if step == "prepare" else None
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", rate=100)
    assert "prepare: ModelDigestDiffers: model s3://models/delays/model.onnx" in world.versions[2].status.message
    assert (world.status.stable, world.versions[1].status.state) == (1, "Serving")
    world.live(30, rate=100)
    assert list(world.versions) == [1, 2]


def test_another_digest_makes_a_new_version_and_a_digest_without_its_prefix_is_read_the_same() -> None:
    assert inputs_digest(brought()) != inputs_digest(brought(digest="0" * 64))
    plain = brought(digest=DIGEST).model
    assert plain is not None
    assert plain.sha256 == DIGEST


def test_record_says_that_it_was_there_already_and_nothing_of_its_training() -> None:
    version = serving().versions[1]
    words = dict(lineage.words(version.spec, version.status))
    assert words["Model that was there already"] == MODEL["uri"]
    assert words["What trained it"] == "not told"
    assert words["Digest of model.onnx"] == DIGEST
    assert not {"Recipe", "Training image", "Image that trained"} & words.keys()


def test_reproduction_of_what_was_not_trained_here_is_refused() -> None:
    world = serving()
    request(world, "reproduce", "1")
    assert world.status.reproducing is None
    assert "was not trained here" in world.status.requests[-1].outcome


@pytest.mark.parametrize(("secret", "mounted"), [({"secretRef": {"name": "models"}}, "models"), ({}, "perennial-store")])
def test_only_prepare_gets_the_models_keys(secret: dict[str, Any], mounted: str) -> None:
    world = served(World(wish=brought(**secret), answer=found))
    version = world.versions[1]
    for step in ("prepare", "evaluate"):
        made = job("delays", version, CreateJob(1, step, 1, PrepareSpec("delays-v1", "u", "s", "d", (), 0.2, 1)))  # type: ignore[arg-type]
        pod = made["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert volumes.get("model") == (mounted if step == "prepare" else None)


def test_secret_that_is_missing_is_named() -> None:
    world = World(wish=brought(secretRef={"name": "models-read"}))
    missing = Refusal(
        "SecretMissing", "the Secret of the model (spec.model.secretRef) does not exist or is empty: create it", "model"
    )
    world.answer = lambda step, *_: missing if step == "prepare" else None
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert "it is the Secret models-read" in world.versions[1].status.message
