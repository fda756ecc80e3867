"""Who may ask, judged by a real API server, and who did, recorded by a real operator.

The chart is there without its Deployment, for one namespace: policy, roles and ServiceAccount as a release brings them. People
are impersonated, with the cluster's own roles view, edit and admin in that namespace. The operator that records runs beside the
tests (`LocalOperator`) and works on their models alone.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_support
from chart_support import CHARTS, VALUES, helm
from cluster_support.localoperator import LocalOperator, kubeconfig_of
from crd_cases import deployment
from demo.ground import REPOSITORY, Ground, Images
from demo.kubectl import Kubectl, KubectlError
from perennial.api.base import REQUESTED_BY
from perennial.cli.exits import Exit
from perennial_runtime.contract import GROUP

RELEASE = NAMESPACE = "t-attestation"
REQUESTS = ("rollback-to", "retrain", "retry", "promote", "abort", "approve", "pause", "resume", "lift")
DECIDES = {"approve": "approve", "promote": "promote", "rollback-to": "rollback", "abort": "rollback", "lift": "quarantine-lift"}
"""The verb of RBAC that a request needs."""
PATCHER = ("patcher", ["get", "patch", "promote"])
"""May promote and change nothing: no role of the cluster's own."""
NOTHING = Images("registry.example/o@sha256:1", "registry.example/r@sha256:2", "registry.example/t@sha256:3", "")
"""A paused model runs none of them."""
SECONDS = 60.0
_numbers = itertools.count(1)


def until(what: str, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS:.0f} s"
        time.sleep(0.3)


def refusal(kubectl: Kubectl, person: str, *words: str, given: str | None = None) -> str:
    """What the API server says against it; empty when it takes it. Words as of kubectl; nothing is stored with --dry-run."""
    try:
        kubectl.run(f"--as={person}", "--as-group=system:authenticated", *words, given=given)
    except KubectlError as error:
        return str(error)
    return ""


def asks(kubectl: Kubectl, person: str, model: str, *annotations: str, stored: bool = False) -> str:
    """The refusal of annotations that somebody sets or, with a - behind them, takes away."""
    dry = () if stored else ("--dry-run=server",)
    return refusal(kubectl, person, "annotate", "--overwrite", *dry, "mdep", model, *(f"{GROUP}/{one}" for one in annotations))


def role(name: str, verbs: list[str]) -> dict[str, Any]:
    rules = [{"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": verbs}]
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}


def bound(person: str, name: str, kind: str = "ClusterRole") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{person}-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person},
            {"kind": "ServiceAccount", "name": person, "namespace": NAMESPACE},
        ],
    }


def model(name: str) -> dict[str, Any]:
    """Paused by its spec: nothing is trained. No operator that is installed looks at it."""
    manifest = deployment()
    manifest["metadata"] = {"name": name, "labels": {f"{GROUP}/operator": RELEASE}}
    manifest["spec"]["paused"] = True
    return manifest


@pytest.fixture(scope="module")
def kubectl(ground: Ground) -> Iterator[Kubectl]:
    """The release, and jane (edit), ann (admin), vic (view) and pat (patch and promote) in its namespace."""
    chart_support.install_crds(ground.cluster.kubeconfig)
    ground.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    here = ground.kubectl.within(NAMESPACE)
    values = {**VALUES, "watchNamespaces": [NAMESPACE], "attestation": {"enabled": True}}
    words = ("template", RELEASE, str(CHARTS / "perennial"), f"--namespace={NAMESPACE}", "--kube-version=v1.35.4")
    documents = [one for one in yaml.safe_load_all(helm(*words, values=values)) if one and one["kind"] != "Deployment"]
    here.apply(*documents)
    people = [bound("jane", "edit"), bound("ann", "admin"), bound("vic", "view")]
    here.apply(*people, role(*PATCHER), bound("pat", PATCHER[0], "Role"))
    here.run("create", "serviceaccount", "jane")
    here.apply(model("probe"))
    until("roles are aggregated", lambda: "yes" in may(here, "ann", "quarantine-lift") and "yes" in may(here, "jane", "patch"))
    until("the policy is in effect", lambda: "requested-by" in asks(here, "jane", "probe", "pause="))
    yield here
    for document in documents:
        if "namespace" not in document["metadata"]:
            here.run("delete", document["kind"], document["metadata"]["name"], "--ignore-not-found", "--wait=false")
    ground.delete_namespaces(NAMESPACE)


def may(kubectl: Kubectl, person: str, verb: str) -> str:
    """kubectl auth can-i, of a model."""
    return refusal(kubectl, person, "auth", "can-i", verb, f"modeldeployments.{GROUP}") or "yes"


@pytest.fixture
def name(kubectl: Kubectl) -> Iterator[str]:
    """A model of the test's own."""
    name = f"m{next(_numbers)}"
    kubectl.apply(model(name))
    yield name
    kubectl.run("delete", "mdep", name, "--wait=false")


def requested_by(person: str) -> str:
    return f"requested-by={person}"


# ---- whose name ----


def test_a_request_in_the_own_name_is_let_through(kubectl: Kubectl, name: str) -> None:
    assert asks(kubectl, "jane", name, "pause=", requested_by("jane")) == ""


def test_a_request_without_a_name_is_refused_with_what_to_set(kubectl: Kubectl, name: str) -> None:
    words = asks(kubectl, "jane", name, "pause=")
    assert f"ModelDeployment {NAMESPACE}/{name}: jane asks for perennial.dev/pause without perennial.dev/requested-by" in words
    assert "set perennial.dev/requested-by=jane in the same write" in words


@pytest.mark.parametrize("forged", ["ann", "unattested", "system:admin", "Jane"])
def test_a_request_in_another_name_is_refused(kubectl: Kubectl, name: str, forged: str) -> None:
    words = asks(kubectl, "jane", name, "pause=", requested_by(forged))
    assert f"jane asks for perennial.dev/pause, and perennial.dev/requested-by is {forged}: set" in words


def test_a_name_left_behind_by_another_person_lends_itself_to_nobody(kubectl: Kubectl, name: str) -> None:
    assert asks(kubectl, "ann", name, "pause=", requested_by("ann"), stored=True) == ""
    assert asks(kubectl, "ann", name, "pause-", stored=True) == ""
    assert "and perennial.dev/requested-by is ann" in asks(kubectl, "jane", name, "pause=")
    assert asks(kubectl, "jane", name, "pause=", requested_by("jane")) == ""


def test_a_request_that_waits_keeps_the_name_of_who_made_it(kubectl: Kubectl, name: str) -> None:
    assert asks(kubectl, "ann", name, "promote=3", requested_by("ann"), stored=True) == ""
    for taken in (
        (requested_by("jane"),),
        (requested_by("jane"), "pause="),
        ("requested-by-",),
        ("promote=3", requested_by("jane")),
    ):
        words = asks(kubectl, "jane", name, *taken)
        assert "perennial.dev/promote of ann is not carried out yet and keeps its name" in words, taken
        assert "(perennial.dev/promote-)" in words
    assert asks(kubectl, "ann", name, "pause=", requested_by("ann")) == "", "the same person may ask for more"
    assert asks(kubectl, "jane", name, "promote-", "pause=", requested_by("jane")) == "", (
        "or it is taken out, and the own one made"
    )


def test_a_request_in_a_manifest_that_is_applied_needs_the_name_too(kubectl: Kubectl) -> None:
    manifest = model("fresh")
    manifest["metadata"]["annotations"] = {f"{GROUP}/retrain": "now", REQUESTED_BY: "ann"}
    words = ("create", "--dry-run=server", "--filename=-")
    assert "perennial.dev/requested-by is ann" in refusal(kubectl, "jane", *words, given=json.dumps(manifest))
    manifest["metadata"]["annotations"][REQUESTED_BY] = "jane"
    assert refusal(kubectl, "jane", *words, given=json.dumps(manifest)) == ""
    del manifest["metadata"]["annotations"][f"{GROUP}/retrain"]
    manifest["metadata"]["annotations"][REQUESTED_BY] = "ann"
    assert refusal(kubectl, "jane", *words, given=json.dumps(manifest)) == "", "a copy of an object, or a backup that is restored"


# ---- which verb ----


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_an_editor_may_ask_for_and_what_takes_a_verb_of_its_own(kubectl: Kubectl, name: str, request_: str) -> None:
    words = asks(kubectl, "jane", name, f"{request_}=1", "pause=", requested_by("jane"))
    if request_ in DECIDES:
        assert f"jane may not ask for perennial.dev/{request_}: it needs the verb {DECIDES[request_]} on" in words
    else:
        assert words == ""
    assert asks(kubectl, "ann", name, f"{request_}=1", requested_by("ann")) == ""


def test_a_verb_that_is_lacking_is_told_at_creation_too(kubectl: Kubectl) -> None:
    manifest = model("fresh")
    manifest["metadata"]["annotations"] = {f"{GROUP}/promote": "1", REQUESTED_BY: "jane"}
    assert "verb promote" in refusal(kubectl, "jane", "create", "--dry-run=server", "--filename=-", given=json.dumps(manifest))


def test_a_viewer_may_look_and_not_ask(kubectl: Kubectl, name: str) -> None:
    assert refusal(kubectl, "vic", "get", "mdep,mver") == ""
    assert 'User "vic" cannot patch' in asks(kubectl, "vic", name, "pause=", requested_by("vic"))


def test_whoever_may_patch_and_not_update_may_ask_and_change_nothing(kubectl: Kubectl, name: str) -> None:
    assert refusal(kubectl, "jane", "annotate", "mdep", name, "example.com/owner=us") == ""
    assert asks(kubectl, "pat", name, "promote=3", requested_by("pat")) == ""
    assert "needs the verb rollback" in asks(kubectl, "pat", name, "abort=3", requested_by("pat"))
    for change in (
        {"spec": {"pin": 1}},
        {"metadata": {"labels": {f"{GROUP}/operator": None}}},
        {"metadata": {"finalizers": ["a/b"]}},
        {"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/prune": "disabled"}}},
        {"metadata": {"annotations": {"example.com/owner": "them"}}},
        {"metadata": {"annotations": {"example.com/owner": None}}},
    ):
        words = ("patch", "mdep", name, "--dry-run=server", "--type=merge", f"--patch={json.dumps(change)}")
        assert "pat may make requests and no other change" in refusal(kubectl, "pat", *words), change
        assert refusal(kubectl, "jane", *words) == "", change


def test_operator_writes_its_own_finalizer_and_nothing_else(kubectl: Kubectl, name: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
    words = ("patch", "mdep", name, "--type=merge")
    for finalizers in ([f"{GROUP}/borrowed-rule"], None):
        change = json.dumps({"metadata": {"finalizers": finalizers}})
        assert "pat may make requests and no other change" in refusal(kubectl, "pat", *words, f"--patch={change}")
        assert refusal(kubectl, account, *words, f"--patch={change}") == ""
        assert ((kubectl.get("mdep", name) or {})["metadata"].get("finalizers") or None) == finalizers
    labels = json.dumps({"metadata": {"labels": {f"{GROUP}/operator": None}}})
    assert "may make requests and no other change" in refusal(kubectl, account, *words, f"--patch={labels}")


def test_edits_without_a_request_are_none_of_the_policys_business(kubectl: Kubectl, name: str) -> None:
    assert asks(kubectl, "ann", name, "promote=3", requested_by("ann"), stored=True) == ""
    change = json.dumps({"spec": {"pin": 1, "history": 5}, "metadata": {"annotations": {"example.com/note": "x"}}})
    words = ("patch", "mdep", name, "--dry-run=server", "--type=merge", f"--patch={change}")
    assert refusal(kubectl, "jane", *words) == "", "also while a request of another person waits"


def test_other_namespaces_are_left_alone(kubectl: Kubectl, ground: Ground) -> None:
    manifest = model("fresh")
    manifest["metadata"]["annotations"] = {f"{GROUP}/promote": "1"}
    ground.kubectl.within("default").run("create", "--dry-run=server", "--filename=-", given=json.dumps(manifest))


# ---- who did ----


def operator(ground: Ground, folder: Path, *, attestation: bool) -> LocalOperator:
    """One with the rights that the chart gives it, under the policy as everybody else."""
    told = {"PERENNIAL_NAMESPACES": NAMESPACE, "PERENNIAL_ATTESTATION": str(attestation).lower()}
    return LocalOperator(ground, NOTHING, folder, account=(NAMESPACE, RELEASE), more=told)


def asked_by_program(ground: Ground, folder: Path, *words: str, code: int = 0) -> str:
    """kubectl perennial, as the ServiceAccount jane; what it says on both streams."""
    config = kubeconfig_of(ground, NAMESPACE, "jane", folder / "jane.kubeconfig")
    python = ":".join(str(REPOSITORY / name) for name in ("operator", "serving"))
    environment = {**os.environ, "PYTHONPATH": python, "KUBECONFIG": str(config)}
    command = [sys.executable, "-m", "perennial.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def recorded(kubectl: Kubectl, name: str, verb: str) -> dict[str, Any]:
    """The record of a request whose annotation is gone."""
    found: list[dict[str, Any]] = []

    def is_done() -> bool:
        there = kubectl.get("mdep", name) or {}
        found[:] = [one for one in there.get("status", {}).get("requests", []) if one["verb"] == verb]
        return bool(found) and f"{GROUP}/{verb}" not in there["metadata"].get("annotations", {})

    until(f"{verb} is carried out", is_done)
    return found[-1]


def test_record_names_who_asked_and_the_operator_may_take_the_annotation_away(
    kubectl: Kubectl, ground: Ground, name: str, tmp_path: Path
) -> None:
    with operator(ground, tmp_path, attestation=True) as running:
        running.wait_ready()
        kubectl.apply(running.given(model(name)))
        assert asks(kubectl, "ann", name, "abort=", requested_by("ann"), stored=True) == ""
        assert recorded(kubectl, name, "abort")["requestedBy"] == "ann"
        asked_by_program(ground, tmp_path, "pause", name)
        account = f"system:serviceaccount:{NAMESPACE}:jane"
        assert recorded(kubectl, name, "pause")["requestedBy"] == account
        history = asked_by_program(ground, tmp_path, "history", name)
        until("the event", lambda: f"asked for by {account}" in kubectl.run("get", "events"))
        assert "orbidden" not in running.words(1000)
    assert account in history


def test_program_ends_with_refused_where_the_policy_denies_the_request(
    kubectl: Kubectl, ground: Ground, name: str, tmp_path: Path
) -> None:
    kubectl.apply(model(name))
    said = asked_by_program(ground, tmp_path, "promote", name, code=Exit.REFUSED)
    assert "denied request" in said
    assert "it needs the verb promote on modeldeployments.perennial.dev" in said


def test_operator_that_is_not_told_of_the_policy_believes_no_name(
    kubectl: Kubectl, ground: Ground, name: str, tmp_path: Path
) -> None:
    with operator(ground, tmp_path, attestation=False) as running:
        running.wait_ready()
        kubectl.apply(running.given(model(name)))
        assert asks(kubectl, "jane", name, "pause=", requested_by("jane"), stored=True) == ""
        assert recorded(kubectl, name, "pause")["requestedBy"] == "unattested"
