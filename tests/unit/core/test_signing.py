"""`spec.signing`: which versions are signed and verified, and who gets which key."""

from __future__ import annotations

from typing import Any

from perennial.core.actions import ApplyServing, CreateJob
from perennial.core.plan import plan
from perennial.manifests.common import Manifest
from perennial.manifests.jobs import job
from perennial.manifests.serving import serving
from perennial_runtime.contract import Answer, EvaluateSpec, Refusal, ServeSpec, encode
from unit.core.test_pause_and_retry import request
from unit.core.world import World, evaluated, served, spec

SIGNING: dict[str, Any] = {"secretRef": {"name": "signing"}}


def signed() -> World:
    return served(World(wish=spec(signing=SIGNING)))


def serve_specs(world: World) -> dict[int, ServeSpec]:
    """What pods of each version would be given now."""
    return {one.version: one.serve for one in plan(world.observed()).before if isinstance(one, ApplyServing)}


def second(world: World) -> World:
    """A person has asked for another version, and it serves."""
    world.annotations["perennial.dev/retrain"] = "words"
    return world.until(lambda w: w.status.stable == 2, rate=100)


def volumes(pod: Manifest) -> dict[str, Manifest]:
    return {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}


def test_signed_version_serves_only_what_was_signed_for_it() -> None:
    assert serve_specs(signed())[1].signed_for == "uid-1"


def test_champion_is_told_as_signed_for_its_own_object() -> None:
    seen: list[EvaluateSpec] = []

    def noted(step: str, version: int, action: CreateJob) -> Answer | None:
        if isinstance(action.input, EvaluateSpec):
            seen.append(action.input)
        return None

    world = second(served(World(wish=spec(signing=SIGNING), answer=noted)))
    assert world.status.stable == 2
    assert [(one.signed, one.champion.signed_for if one.champion else None) for one in seen] == [(True, None), (True, "uid-1")]


def test_signing_that_is_turned_on_holds_from_the_next_version_on_and_makes_none() -> None:
    world = served()
    before = serve_specs(world)[1]
    world.wish = spec(signing=SIGNING)
    world.live(30, rate=100)
    assert list(world.versions) == [1]
    assert serve_specs(world)[1] == before, "its pods are not made anew"
    second(world)
    assert {number: one.signed_for for number, one in serve_specs(world).items() if number == 2} == {2: "uid-2"}


def test_model_that_serves_unsigned_is_rolled_out_again_signed_and_only_once() -> None:
    def always_the_same(step: str, version: int, action: CreateJob) -> Answer | None:
        return evaluated(1, None) if step == "evaluate" else None

    world = served(World(answer=always_the_same))
    world.wish = spec(signing=SIGNING)
    second(world)
    assert serve_specs(world)[2].signed_for == "uid-2"
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Retired", rate=100)
    assert "nothing to roll out" in world.versions[3].status.message


def test_signing_that_is_turned_off_leaves_versions_verified_that_were_signed() -> None:
    world = signed()
    world.wish = spec()
    world.live(5, rate=100)
    assert serve_specs(world)[1].signed_for == "uid-1"


def test_unsigned_version_is_told_to_its_pods_as_before_there_were_signatures() -> None:
    assert "signed" not in encode(serve_specs(served())[1])


def test_evaluation_gets_both_keys_and_serving_pods_the_public_one() -> None:
    world = signed()
    version = world.versions[1]
    for step, wanted in (("prepare", False), ("evaluate", True)):
        made = job("delays", version, CreateJob(1, step, 1, EvaluateSpec("", "", "", "", "", "", "", "", 0.1, (), 0)))  # type: ignore[arg-type]
        found = volumes(made["spec"]["template"]["spec"])
        assert ("signing" in found) == wanted
        assert "items" not in found.get("signing", {})
    deployment, _ = serving("delays", version, world.wish.serving, ApplyServing(1, 1, serve_specs(world)[1]))
    pod = deployment["spec"]["template"]["spec"]
    assert volumes(pod)["signing"] == {
        "secretName": "signing",
        "optional": True,
        "defaultMode": 0o440,
        "items": [{"key": "public.pem", "path": "public.pem"}],
    }
    (server,) = pod["containers"]
    assert "signing" not in {mounted["name"] for mounted in server["volumeMounts"]}


def test_trainer_gets_no_key() -> None:
    world = signed()
    trained = next(one for one in world.versions[1].status.steps if one.step == "train")
    action = CreateJob(1, "train", trained.attempt, EvaluateSpec("", "", "", "", "", "", "", "", 0.1, (), 0))
    pod = job("delays", world.versions[1], action)["spec"]["template"]["spec"]
    assert "signing" not in volumes(pod)


def test_missing_key_fails_the_version_names_the_secret_and_leaves_what_serves() -> None:
    world = served()
    missing = Refusal(
        "SigningSecretMissing", "the Secret of the signing keys (spec.signing.secretRef) does not exist", "signing keys"
    )
    world.wish = spec(signing=SIGNING)
    world.answer = lambda step, *_: missing if step == "evaluate" else None
    world.annotations["perennial.dev/retrain"] = "words"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", rate=100)
    assert "SigningSecretMissing" in world.versions[2].status.message
    assert world.versions[2].status.message.endswith("; it is the Secret signing of namespace ns")
    assert (world.status.stable, world.versions[1].status.state) == (1, "Serving")


def test_version_that_failed_for_a_key_is_tried_again_without_another_training() -> None:
    world = World(wish=spec(signing=SIGNING))
    missing = Refusal("SigningKeyMissing", "the Secret of the signing keys (spec.signing.secretRef) has no key private.pem")
    world.answer = lambda step, *_: missing if step == "evaluate" else None
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    world.answer = None
    assert request(world, "retry") == "v1 is tried again"
    world.until(lambda w: w.status.stable == 1)
    assert [record.step for record in world.versions[1].status.steps] == ["prepare", "train", "evaluate", "evaluate"]
