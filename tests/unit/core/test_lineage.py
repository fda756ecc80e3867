"""Lineage: what is noted of a version's inputs as its steps end, and what is never guessed."""

from __future__ import annotations

from dataclasses import replace

from perennial.core import lineage
from perennial.core.actions import CreateJob
from perennial.core.inputs import inputs_digest
from perennial_runtime.contract import Answer, TrainResult
from unit.core.world import World, served, spec

PROVENANCE = {"owner": "ops@example.com", "licence": "CC0-1.0"}


def with_provenance(**words: str) -> object:
    return spec().data.model_copy(update={}).model_dump(by_alias=True, exclude_none=True) | {"provenance": words}


def told(step: str, version: int, action: CreateJob) -> Answer | None:
    """A trainer that tells its packages and its code."""
    return TrainResult("model", "parity", 9, environment="packages", revision="4f2a9c1") if step == "train" else None


def test_version_records_what_its_steps_found_and_the_image_that_the_kubelet_resolved() -> None:
    found = served(World(answer=told)).versions[1].status.lineage
    assert found is not None
    assert (found.data, found.split, found.model) == ("d1", "sp", "model")
    assert found.image == "registry/training@sha256:2"
    assert (found.environment, found.revision) == ("packages", "4f2a9c1")


def test_what_a_trainer_does_not_tell_is_said_to_be_not_told() -> None:
    version = served().versions[1]
    words = dict(lineage.words(version.spec, version.status))
    assert words["Revision of the code"] == words["Digest of the environment"] == words["Licence"] == "not told"
    assert words["Image that trained"] == "registry/training@sha256:2"
    assert words["Recipe"] == "gradient-boosting (defaults)"


def test_record_of_a_version_that_was_made_before_there_was_one_comes_from_its_steps() -> None:
    status = served(World(answer=told)).versions[1].status
    older = lineage.of(status.model_copy(update={"lineage": None}))
    assert (older.data, older.model, older.revision, older.image) == ("d1", "model", "4f2a9c1", "")


def test_provenance_is_copied_to_the_version_and_its_change_alone_trains_nothing() -> None:
    world = served(World(wish=spec(data=with_provenance(**PROVENANCE))))
    said = world.versions[1].spec.data.provenance
    assert said is not None
    assert (said.owner, said.licence) == ("ops@example.com", "CC0-1.0")
    world.wish = spec(data=with_provenance(**PROVENANCE, description="Flights of 2013"))
    world.live(30, rate=100)
    assert list(world.versions) == [1]
    world.annotations["perennial.dev/retrain"] = "words"
    world.until(lambda w: 2 in w.versions, rate=100)
    said = world.versions[2].spec.data.provenance
    assert said is not None
    assert said.description == "Flights of 2013"


def test_digest_of_the_inputs_is_what_it_was_before_there_was_a_provenance() -> None:
    assert inputs_digest(spec()) == inputs_digest(spec(data=with_provenance(owner="somebody")))
    assert inputs_digest(spec()) == "5ac3afbb82028d3c7afba00a3cf5cf6741c09618f472ba35bdcde7c4a9161965"


def test_image_is_taken_from_the_newest_pod_of_the_job() -> None:
    world = served()
    job = next(job for job in world.jobs.values() if job.step == "train")
    assert lineage.noted(world.versions[1].status, replace(job, pods=()), TrainResult("m", "p"))["lineage"].image == ""
