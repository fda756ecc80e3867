"""Whose user a trainer runs as: told where an image finds its own files closed to it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from perennial.api.training import Training
from perennial.core.actions import CreateJob
from perennial.core.observed import ContainerState, Job, JobPod
from perennial.core.trainer import FIX
from unit.core.world import START, World, failed, spec

IMAGE = {"image": "r/trainer", "retries": 0}
DENIED = 'failed to create containerd task: exec: "/home/app/train": permission denied'
ROOT = "container has runAsNonRoot and image will run as root"


@dataclass(frozen=True)
class Case:
    reason: str
    container: ContainerState
    words: tuple[str, ...]
    training: dict[str, object]
    pending: bool = False


CASES = [
    Case(
        "its command is closed to the user",
        ContainerState("train", "terminated", "StartError", DENIED, 128),
        ("ContainerCannotStart", "could not be started: failed to create", "the image runs as user 65532", FIX),
        IMAGE,
    ),
    Case(
        "its command is closed to the user that was given",
        ContainerState("train", "terminated", "StartError", DENIED, 128),
        ("the image runs as user 1000", FIX),
        {**IMAGE, "runAsUser": 1000},
    ),
    Case(
        "the kubelet will not run root",
        ContainerState("train", "waiting", "CreateContainerConfigError", ROOT),
        ("ContainerCannotBeCreated", ROOT, FIX),
        IMAGE,
        pending=True,
    ),
    Case(
        "it ends badly, and its log says why",
        ContainerState("train", "terminated", "Error", "", 1),
        ("TrainerFailed", "it ran as user 65532: where its log says that permission is denied", FIX),
        IMAGE,
    ),
]
SILENT = [
    Case(
        "there is no such command",
        ContainerState("train", "terminated", "StartError", 'exec: "trian": executable file not found in $PATH', 128),
        ("ContainerCannotStart", "not found in $PATH; correct spec.training.image or its command"),
        IMAGE,
    ),
    Case(
        "it ends badly as the user that was given",
        ContainerState("train", "terminated", "Error", "", 1),
        ("TrainerFailed", "ended with exit code 1"),
        {**IMAGE, "runAsUser": 1000},
    ),
    Case(
        "a recipe ends badly",
        ContainerState("train", "terminated", "Error", "", 1),
        ("TrainerFailed",),
        {"recipe": {}, "retries": 0},
    ),
]


def said(case: Case) -> str:
    """What v1 says when it has failed."""

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        if step != "train":
            return None
        if case.pending:
            pod = JobPod("pod-x", "pu", "Pending", START, containers=(case.container,))
            return Job("", "u", 1, "train", 1, START, pods=(pod,))
        return failed(START, case.container)

    world = World(wish=spec(training=case.training), answer=answer)
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed", limit=300)
    return world.versions[1].status.message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_refusal_names_the_field_to_set(case: Case) -> None:
    message = said(case)
    for words in case.words:
        assert words in message


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.reason)
def test_user_is_not_blamed_where(case: Case) -> None:
    message = said(case)
    for words in case.words:
        assert words in message
    assert "runAsUser" not in message


def test_waiting_container_tells_the_field_before_it_is_given_up() -> None:
    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        pod = JobPod(
            "p", "pu", "Pending", START, containers=(ContainerState("train", "waiting", "CreateContainerConfigError", ROOT),)
        )
        return Job("", "u", 1, "train", 1, START, pods=(pod,)) if step == "train" else None

    world = World(wish=spec(training=IMAGE), answer=answer)
    world.until(lambda w: 1 in w.versions and FIX in w.versions[1].status.message)
    assert world.versions[1].status.state == "Training"


def test_training_of_a_manifest_without_the_field_has_no_user_of_its_own() -> None:
    assert Training.model_validate({"image": "r/trainer"}).run_as_user is None
