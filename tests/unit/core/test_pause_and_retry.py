"""pause, resume and retry: what a person stops, and what a person tries once more."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.core import actions
from perennial.core.observed import ContainerState, Job
from perennial_runtime.contract import Answer
from unit.core.world import World, failed, served, spec


def request(world: World, verb: str, argument: str = "") -> str:
    """What became of a request, two passes later."""
    world.annotations[f"perennial.dev/{verb}"] = argument
    world.live(2, rate=100)
    record = next(record for record in reversed(world.status.requests) if record.verb == verb)
    return record.outcome


def rolling() -> World:
    """v1 serves, v2 is in its first step."""
    world = served()
    world.wish = spec(data=spec().data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True, exclude_none=True))
    return world.until(lambda w: w.status.rollout is not None and w.status.rollout.settled, rate=100)


# ---- pause ----


def test_a_paused_rollout_keeps_its_weight_until_it_is_resumed() -> None:
    world = rolling()
    assert "until a person types perennial.dev/resume" in request(world, "pause")
    world.live(40, rate=100)
    assert world.status.rollout is not None
    assert (world.status.rollout.step, world.status.stable) == (0, 1)
    assert request(world, "pause") == "it is paused already"
    assert "rolled out again" in request(world, "resume")
    world.live(40, rate=100)
    assert world.status.stable == 2


def test_a_paused_rollout_is_taken_back_when_it_does_harm() -> None:
    world = rolling()
    request(world, "pause")
    world.live(15, rate=100, bad={2: 1.0})
    assert world.versions[2].status.state == "RolledBack"


def test_while_paused_no_version_is_made_and_none_is_promoted() -> None:
    world = served()
    request(world, "pause")
    world.wish = spec(data=spec().data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True, exclude_none=True))
    world.live(20, rate=100)
    assert list(world.versions) == [1]
    assert world.status.summary == "Paused"
    paused = next(one for one in world.status.conditions if one.type == "Paused")
    assert (paused.status, paused.reason) == ("True", "Requested")
    assert "perennial.dev/resume=" in paused.message
    assert request(world, "retrain", "now").startswith("refused: a person paused it: kubectl annotate mdep delays")
    request(world, "resume")
    assert not [one for one in world.status.conditions if one.type == "Paused"]
    world.live(10, rate=100)
    assert list(world.versions) == [1, 2]


def test_promote_is_refused_while_paused_and_abort_is_not() -> None:
    world = rolling()
    request(world, "pause")
    assert request(world, "promote").startswith("refused: a person paused it")
    assert "taken back" in request(world, "abort")


def test_resume_says_that_the_spec_is_still_paused() -> None:
    world = served()
    request(world, "pause")
    world.wish = spec(paused=True)
    assert request(world, "resume") == "new versions are rolled out again; spec.paused is still true"


# ---- retry ----


def breaking(step: str, reason: str = "", code: int = 3) -> Any:
    """Answers of Jobs: this step of v2 ends badly."""

    def answer(name: str, number: int, action: actions.CreateJob) -> Answer | Job | None:
        if (name, number) != (step, 2):
            return None
        return failed(action_now, ContainerState({"train": "train"}.get(step, step), "terminated", "Error", "", code))

    action_now = World().now
    return answer


def ended(step: str, code: int = 3) -> World:
    world = served()
    world.answer = breaking(step, code=code)
    world.wish = spec(data=spec().data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True, exclude_none=True))
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", limit=600)


@pytest.mark.parametrize(("step", "code"), [("train", 3), ("train", 64), ("prepare", 3), ("evaluate", 3)])
def test_a_failed_version_is_tried_again_where_it_failed_and_what_it_did_is_not_done_again(step: str, code: int) -> None:
    world = ended(step, code)
    before = list(world.created)
    world.answer = None
    assert request(world, "retry") == "v2 is tried again"
    world.until(lambda w: w.status.stable == 2, rate=100)
    made = [name for name in world.created[len(before) :] if name.startswith("delays-v2-")]
    steps = ["prepare", "train", "evaluate"]
    assert [name.split("-")[2] for name in made] == steps[steps.index(step) :]
    assert list(world.versions) == [1, 2]


def test_a_retry_that_fails_again_has_as_many_attempts_as_the_first_time() -> None:
    world = ended("train")
    attempts = [name for name in world.created if "-v2-train-" in name]
    request(world, "retry")
    world.until(lambda w: w.versions[2].status.state == "Failed", limit=600)
    assert len([name for name in world.created if "-v2-train-" in name]) == 2 * len(attempts)


def test_a_version_whose_pods_did_not_get_ready_is_tried_again_without_training() -> None:
    world = served()
    world.never_ready.add(2)
    world.wish = spec(data=spec().data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True, exclude_none=True))
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", limit=2000)
    before = len(world.created)
    world.never_ready.clear()
    assert request(world, "retry", "v2") == "v2 is tried again"
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert not [name for name in world.created[before:] if "-v2-" in name]


def test_a_rollout_that_was_ended_before_it_began_is_taken_up_again() -> None:
    world = rolling()
    world.status = world.status.model_copy(update={"rollout": None})
    world.annotations["perennial.dev/abort"] = ""
    world.run()
    assert world.versions[2].status.state == "Superseded"
    assert request(world, "retry") == "v2 is tried again"
    world.until(lambda w: w.status.stable == 2, rate=100)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("", "refused: v1 is Serving; there is nothing to try again"),
        ("nonsense", "refused: retry wants the number of the newest version"),
        ("7", "refused: only the newest version is tried again, which is v1"),
    ],
)
def test_what_cannot_be_tried_again_is_refused(argument: str, words: str) -> None:
    assert request(served(), "retry", argument).startswith(words)


def test_a_version_that_did_harm_or_is_under_way_or_is_paused_is_not_tried_again() -> None:
    world = rolling()
    assert request(world, "retry") == "refused: v2 is under way"
    world.live(15, rate=100, bad={2: 1.0})
    assert "it did harm and is quarantined: if that was no fault of its own, type perennial.dev/lift=2" in request(world, "retry")
    request(world, "lift", "2")
    assert "it was taken back: type perennial.dev/retrain=<why>" in request(world, "retry")
    other = ended("train")
    request(other, "pause")
    assert request(other, "retry").startswith("refused: a person paused it")
