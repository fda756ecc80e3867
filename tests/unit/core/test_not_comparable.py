"""A version that cannot be compared with the one that serves: prepare is told which, and its refusal is evaluate's verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perennial.core import training
from perennial.core.actions import CreateJob
from perennial.core.observed import Job, Version
from perennial_runtime.contract import Answer, Champion, EvaluateSpec, PrepareSpec, Refusal, decode, encode, encode_answer
from unit.core.test_pause_and_retry import request
from unit.core.world import START, World, prepared, served, spec

BESIDE = {"gates": [{"metric": "roc_auc", "minimum": 0.7}, {"metric": "roc_auc", "notWorseThanServingBy": 0.01}]}
REFUSED = Refusal("ChampionNotComparable", "delays-v1 tells 3 classes ('a', 'b', 'c') apart, and this version 4 classes")
SERVES = Champion("delays-v1", "identity-1", "bento-1", uid="uid-1")


def second(answer: Any = lambda *_: None, **changes: Any) -> tuple[World, dict[str, Any]]:
    """v1 serves and v2, whose gates compare, is on its way: the world, and what the Jobs of v2 were given."""
    given: dict[str, Any] = {}

    def noted(step: str, version: int, action: CreateJob) -> Answer | Job | None:
        given[step] = action.input
        said: Answer | Job | None = answer(step, version, action) if version == 2 else None
        return said

    world = served(World(answer=noted))
    assert given["prepare"].champion is None
    world.wish = spec(**{"evaluation": BESIDE, **changes})
    world.until(lambda w: 2 in w.versions and bool(w.versions[2].status.steps), rate=100)
    return world, given


def only(step: str) -> Any:
    return lambda asked, *_: REFUSED if asked == step else None


def test_prepare_is_told_the_version_that_serves_where_a_gate_compares_with_it() -> None:
    world, given = second()
    assert given["prepare"].champion == SERVES
    world.until(lambda w: w.versions[2].status.gates != [], rate=100)
    assert isinstance(given["evaluate"], EvaluateSpec)
    assert given["evaluate"].champion == SERVES


def test_prepare_is_told_of_nobody_where_no_gate_compares() -> None:
    world, given = second(training={"recipe": {"algorithm": "logistic-regression"}}, evaluation={"gates": []})
    assert given["prepare"].champion is None
    assert "champion" not in encode(given["prepare"])
    assert world.versions[2].status.steps[0].key == ""


def test_spec_of_prepare_from_before_there_was_a_champion_is_read() -> None:
    before = PrepareSpec("delays-v2", "uid-2", "s3://s", "s3://d", (), 0.2, 100)
    assert decode(PrepareSpec, encode(before)).champion is None
    assert decode(PrepareSpec, encode(replace(before, champion=SERVES))).champion == SERVES


@pytest.mark.parametrize("step", ["prepare", "evaluate"])
def test_refusal_is_the_same_verdict_whichever_step_finds_it(step: str) -> None:
    world, _ = second(only(step))
    world.until(lambda w: w.versions[2].status.state == "Rejected", rate=100)
    said = world.versions[2].status
    assert said.message == f"{step}: ChampionNotComparable: {REFUSED.message}"
    assert ("train" in [record.step for record in said.steps]) == (step == "evaluate"), "found early, no training is paid for"
    assert request(world, "retry", "").startswith("refused: v2 is Rejected; it was judged and refused")
    assert world.status.stable == 1


def rejected(number: int, reason: str, data: str) -> tuple[World, Version]:
    """v2, which prepare refused, and a later version that prepare refuses too; the world knows both."""
    world, _ = second(lambda step, *_: replace(REFUSED, data="rows-1") if step == "prepare" else None)
    world.until(lambda w: w.versions[2].status.state == "Rejected", rate=100)
    before = world.versions[2]
    (record,) = before.status.steps
    ended = record.model_copy(update={"result": encode_answer(replace(REFUSED, data=data))})
    trigger = before.spec.trigger.model_copy(update={"reason": reason})
    later = replace(
        before,
        meta=replace(before.meta, name=f"delays-v{number}", uid=f"uid-{number}"),
        spec=before.spec.model_copy(update={"number": number, "trigger": trigger}),
        status=before.status.model_copy(update={"state": "Preparing", "steps": [ended]}),
    )
    return world, later


@pytest.mark.parametrize(
    ("reason", "data", "state"),
    [
        ("Schedule", "rows-1", "Superseded"),
        ("Schedule", "rows-2", "Rejected"),
        ("Schedule", "", "Rejected"),
        ("Manual", "rows-1", "Rejected"),
    ],
)
def test_version_that_began_by_itself_and_is_refused_for_the_same_rows_is_the_same(reason: str, data: str, state: str) -> None:
    world, later = rejected(3, reason, data)
    observed = world.observed()
    after = training.advance(replace(observed, versions=(*observed.versions, later)), later, SERVES).status
    assert after.state == state
    assert after.message.startswith("SameInputs: " if state == "Superseded" else "prepare: ChampionNotComparable: ")


def test_other_refusals_of_prepare_are_no_verdict() -> None:
    world, _ = second(lambda step, *_: Refusal("ColumnMissing", "no column late") if step == "prepare" else None)
    world.until(lambda w: w.versions[2].status.state == "Failed", rate=100)


def test_prepare_is_made_again_where_another_version_serves_by_the_time_of_the_refusal() -> None:
    world, _ = second(lambda step, *_: Job("", "job-uid", 2, "prepare", 1, START) if step == "prepare" else None)
    world.live(2, rate=100)
    (record,) = world.versions[2].status.steps
    assert (record.state, record.key) == ("Running", "identity-1")
    ended = record.model_copy(update={"state": "Refused", "reason": REFUSED.reason, "message": REFUSED.message})
    version = world.versions[2]
    refused = replace(version, status=version.status.model_copy(update={"steps": [ended]}))
    other = Champion("delays-v0", "identity-0", "bento-0", uid="uid-0")
    after = training.advance(world.observed(), refused, other)
    (job,) = after.actions
    assert isinstance(job, CreateJob)
    assert isinstance(job.input, PrepareSpec)
    assert (job.step, job.attempt, job.input.champion) == ("prepare", 2, other)
    assert after.status.steps[-1].key == "identity-0"
    assert training.advance(world.observed(), refused, SERVES).status.state == "Rejected"


def test_job_that_has_to_be_made_again_asks_for_no_other_champion_than_its_record_says() -> None:
    world, _ = second(lambda step, *_: Job("", "job-uid", 2, "prepare", 1, START) if step == "prepare" else None)
    world.jobs = {}
    other = Champion("delays-v0", "identity-0", "bento-0", uid="uid-0")
    (job,) = training.advance(world.observed(), world.versions[2], other).actions
    assert isinstance(job, CreateJob)
    assert isinstance(job.input, PrepareSpec)
    assert job.input.champion is None


def test_succeeded_prepare_is_not_made_again_for_another_champion() -> None:
    world, _ = second(lambda step, *_: Job("", "job-uid", 2, "train", 1, START) if step == "train" else None)
    world.until(lambda w: w.versions[2].status.steps[-1].step == "train", rate=100)
    version = world.versions[2]
    assert version.status.steps[0].key == "identity-1"
    after = training.advance(world.observed(), version, Champion("delays-v0", "identity-0", "bento-0"))
    assert [one.step for one in after.status.steps] == ["prepare", "train"]
    assert prepared(2).data in version.status.steps[0].result
