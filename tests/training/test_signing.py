"""Signatures, SBOM and a model that is there already, on the real cluster.

A signed version serves; a record that points at another signed Bento is refused by the pod; a model goes to another
ModelDeployment by its digest, and one of a wrong digest goes nowhere. What serves goes on.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.bad_inputs import stored
from cluster_support.place import Manifest, Place
from cluster_support.shop import NAME, ROWS
from cluster_support.verbs import ask_inside
from demo.stage import State
from perennial.cli.exits import Exit
from perennial_runtime.contract import PRIVATE_KEY, PUBLIC_KEY
from runtime.signing_world import pair, public_pem

PRODUCTION = "production"
SECRET = "signing"
SERVING = {"progressDeadline": "40s"}
PATIENCE = 180.0


def version(place: Place, name: str) -> Manifest:
    found = place.kubectl.get("mver", name)
    assert found is not None
    return found


def model_of(place: Place, name: str) -> dict[str, str]:
    """`spec.model` for what a version became: its model.onnx, where it lies in the store."""
    found = version(place, name)
    digest = found["status"]["lineage"]["model"]
    return {"uri": f"{found['spec']['store']['uri']}/blobs/sha256/{digest}", "digest": f"sha256:{digest}"}


def ended(place: Place, number: int, state: str) -> str:
    """The message of a version of the shop that ends so."""

    def never(seen: State) -> str:
        others = {"Serving", "Canary", "Failed", "Rejected"} - {state}
        return f"v{number} is {seen.state(number)}" if seen.state(number) in others else ""

    found = place.until(
        f"v{number} to be {state}", lambda seen: seen.state(number) == state, name=NAME, seconds=PATIENCE, never=never
    )
    return str(found.version(number)["message"])


def goes_on(place: Place) -> None:
    """v1 serves, with all pods that it has to have."""
    state = place.state(NAME)
    assert (state.status["stable"], state.state(1), state.weight(1)) == (1, "Serving", 100)
    deployment = place.kubectl.get("deployment", f"{NAME}-v1")
    assert deployment is not None
    assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"]


@pytest.fixture(scope="module")
def signer(shared_place: Place) -> str:
    """The Secret with both keys is there; the id by which signatures name the key."""
    key = pair(shared_place.folder / "secret")
    files = {name: (shared_place.folder / "secret" / name).read_text() for name in (PRIVATE_KEY, PUBLIC_KEY)}
    shared_place.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": files})
    return hashlib.sha256(public_pem(key)).hexdigest()


@pytest.fixture(scope="module")
def signed(shared_place: Place, signer: str) -> Place:
    """v1 is signed and serves; beside it, production gets its model by URI and digest."""
    signing = {"secretRef": {"name": SECRET}}
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(shared_place.manifest(NAME, signing=signing, serving=SERVING))
    shared_place.serving(1, name=NAME)
    brought = model_of(shared_place, f"{NAME}-v1")
    shared_place.apply(shared_place.manifest(PRODUCTION, training=None, model=brought, signing=signing))
    return shared_place


def test_signed_version_serves_and_its_pods_have_no_private_key(signed: Place, signer: str) -> None:
    found = version(signed, f"{NAME}-v1")
    signature = stored(signed, f"{found['spec']['store']['uri']}/signatures/{found['status']['bento']}.json")
    assert json.loads(signature)["verificationMaterial"]["publicKey"]["hint"] == signer
    pods: list[dict[str, Any]] = [
        pod for pod in signed.kubectl.list("pods") if pod["metadata"]["labels"].get("perennial.dev/role") == "serve"
    ]
    assert pods
    for pod in pods:
        (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "signing"]
        assert volume["secret"]["items"] == [{"key": PUBLIC_KEY, "path": PUBLIC_KEY}]
    goes_on(signed)


def test_sbom_is_fetched_from_the_store(signed: Place) -> None:
    found = ask_inside(signed, "sbom", NAME)
    assert found.returncode == Exit.DONE, found.stderr
    document = json.loads(found.stdout)
    assert document["bomFormat"] == "CycloneDX"
    assert any(one.get("purl", "").startswith("pkg:pypi/scikit-learn@") for one in document["components"])
    assert document["metadata"]["component"]["hashes"][0]["content"] == model_of(signed, f"{NAME}-v1")["digest"][7:]


def test_record_that_points_at_another_signed_bento_is_refused_by_the_pod_and_what_serves_goes_on(signed: Place) -> None:
    trees = {"recipe": {"hyperparameters": {"max_iter": 22}}}
    signed.kubectl.patch("mdep", NAME, {"spec": {"pin": 1, "training": trees}})
    signed.until("v2 to wait for the pin", lambda seen: seen.state(2) == "Accepted", name=NAME, seconds=PATIENCE)
    older = version(signed, f"{NAME}-v1")["status"]["bento"]
    forged = json.dumps({"status": {"bento": older}})
    signed.kubectl.run("patch", "mver", f"{NAME}-v2", "--subresource=status", "--type=merge", f"--patch={forged}")
    signed.kubectl.patch("mdep", NAME, {"spec": {"pin": None}})
    told = signed.until(
        "the pod's refusal to be told before its time is over",
        lambda seen: seen.state(2) == "Deploying" and "its pods do not get ready" in seen.version(2)["message"],
        name=NAME,
    )
    assert "IdentityMismatch: " in told.version(2)["message"]
    said = ended(signed, 2, "Failed")
    for words in ("NotReady", "IdentityMismatch", f"the Bento is {NAME}-v1", f"what was judged is {NAME}-v2"):
        assert words in said
    goes_on(signed)


def test_model_of_a_wrong_digest_is_refused_with_both_and_what_serves_goes_on(signed: Place) -> None:
    right = model_of(signed, f"{NAME}-v1")
    wrong = {**right, "digest": "0" * 64}
    signed.kubectl.patch("mdep", NAME, {"spec": {"training": {"recipe": None}, "model": wrong}})
    said = ended(signed, 3, "Failed")
    for words in ("ModelDigestDiffers", right["uri"], right["digest"], "0" * 64, "correct the digest or the URI"):
        assert words in said
    assert not [job for job in signed.kubectl.list("jobs") if job["metadata"]["name"].startswith(f"{NAME}-v3-train")]
    goes_on(signed)


def test_model_that_was_promoted_by_its_digest_serves_without_a_training(signed: Place) -> None:
    signed.serving(1, name=PRODUCTION)
    found = version(signed, f"{PRODUCTION}-v1")
    assert f"sha256:{found['status']['lineage']['model']}" == model_of(signed, f"{NAME}-v1")["digest"]
    assert [step["step"] for step in found["status"]["steps"]] == ["prepare", "evaluate"]
    card = ask_inside(signed, "card", PRODUCTION)
    assert "Parity was not judged" in card.stdout
