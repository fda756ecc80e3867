"""Helm for tests: the binary that the embedded cluster was built with, the charts of this checkout, and rendered manifests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import from_environment

ROOT = Path(__file__).resolve().parents[1]
CHARTS = ROOT / "charts"
SYSTEM = "perennial-system"
KUBERNETES = "v1.35.4"
AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"
VALUES: Mapping[str, Any] = {
    "image": "registry.example/perennial/operator@sha256:" + "1" * 64,
    "images": {
        "serving": "registry.example/perennial/runtime@sha256:" + "2" * 64,
        "training": "registry.example/perennial/training@sha256:" + "3" * 64,
    },
    "store": {"uri": "s3://models/perennial"},
}


class HelmError(Exception):
    """Helm ended with an error; the message is its own words."""


def program() -> str:
    """Path of helm: the embedded cluster's, else the one on PATH."""
    own = from_environment().bin / "helm"
    found = str(own) if own.exists() else shutil.which("helm")
    if found is None:
        raise HelmError("there is no helm: `python -m cluster build` builds one, or put helm on PATH")
    return found


def helm(*words: str, values: Mapping[str, Any] | None = None, timeout: float = 240) -> str:
    """Output of a helm command; `values` become a values file."""
    with tempfile.TemporaryDirectory() as home:
        options: list[str] = []
        if values is not None:
            file = Path(home) / "values.yaml"
            file.write_text(yaml.safe_dump(dict(values)))
            options = [f"--values={file}"]
        homes = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
        command = [program(), *words, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env={**os.environ, **homes})
    if done.returncode:
        raise HelmError(f"helm {' '.join(words[:3])}: {done.stderr.strip()} {done.stdout.strip()}")
    return done.stdout


def template(chart: str = "perennial", *, values: Mapping[str, Any] = VALUES, apis: tuple[str, ...] = ()) -> str:
    """The rendered chart as text."""
    options = [f"--api-versions={api}" for api in apis]
    return helm(
        "template",
        "perennial",
        str(CHARTS / chart),
        f"--namespace={SYSTEM}",
        f"--kube-version={KUBERNETES}",
        *options,
        values=values,
    )


def rendered(chart: str = "perennial", **changes: Any) -> list[dict[str, Any]]:
    """The rendered objects with some values changed."""
    values = dict(VALUES) if chart == "perennial" else {}
    return [document for document in yaml.safe_load_all(template(chart, values={**values, **changes})) if document]


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def is_for_people(document: Mapping[str, Any]) -> bool:
    """Whether it is a role that is added to the cluster's own view, edit and admin."""
    return any(label.startswith(AGGREGATED) for label in document["metadata"].get("labels") or {})


def granted(documents: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of every role."""
    rules = [rule for document in documents if document["kind"] in {"Role", "ClusterRole"} for rule in document["rules"]]
    return {
        (group, name, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for name in rule["resources"]
        for verb in rule["verbs"]
    }


def install_crds(kubeconfig: Path) -> None:
    """The CRDs of this checkout by their chart; CRDs that somebody applied by hand are taken over."""
    helm(
        "upgrade", "perennial-crds", str(CHARTS / "perennial-crds"), "--install", "--wait", "--take-ownership",
        f"--namespace={SYSTEM}", "--create-namespace", f"--kubeconfig={kubeconfig}",
    )  # fmt: skip
