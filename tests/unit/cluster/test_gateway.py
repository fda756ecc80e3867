"""When Envoy Gateway is installed, upgraded, repaired or left alone; helm and kubectl are programs that note their calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import gateway
from cluster.components import Component
from cluster.progress import Quiet
from cluster.settings import Settings

OLD = "0123456789abcdef"


@dataclass(frozen=True)
class Case:
    """What Helm and the Gateway say, and what is done: the verbs of helm and kubectl in their order."""

    reason: str
    release: str
    installed: str
    done: Sequence[str]


CASES = (
    Case("nothing is there", "", "", ("helm upgrade", "kubectl apply")),
    Case("all is as here", "deployed", gateway.identity(), ("kubectl apply",)),
    Case("another version serves", "deployed", OLD, ("kubectl apply definitions", "helm upgrade", "kubectl apply")),
    Case("up was killed before the Gateway", "deployed", "", ("kubectl apply definitions", "helm upgrade", "kubectl apply")),
    Case(
        "an upgrade was killed", "pending-upgrade", OLD,
        ("kubectl apply definitions", "helm uninstall", "helm upgrade", "kubectl apply"),
    ),
)  # fmt: skip


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def machine(tmp_path: Path, *, release: str, gateway_says: str) -> Settings:
    """A cache with a chart and with a helm and a kubectl that give these answers and write what they do into `done`."""
    settings = Settings(tmp_path, tmp_path / "cache", tmp_path / "state")
    chart = Component.ENVOY_GATEWAY.directory(settings) / "chart"
    chart.mkdir(parents=True)
    (chart / "values.tmpl.yaml").write_text("image: ${GatewayImage}\n")
    status = json.dumps({"info": {"status": release}})
    answer = f"echo '{status}'" if release else "echo 'Error: release: not found' >&2; exit 1"
    done = tmp_path / "done"
    program(settings.bin / "helm", f'case "$3" in status) {answer};; *) echo "helm $3" >>{done};; esac')
    program(
        settings.bin / "kubectl",
        f'case "$*" in *" get "*) echo -n "{gateway_says}";; '
        f'*"-f {settings.state}/gateway-helm/charts/crds/crds") echo "kubectl apply definitions" >>{done};; '
        f'*) echo "kubectl $2" >>{done};; esac',
    )
    return settings


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_what_is_there_decides_what_is_done(case: Case, tmp_path: Path) -> None:
    settings = machine(tmp_path, release=case.release, gateway_says=case.installed)
    gateway.start(settings, Quiet())
    assert (tmp_path / "done").read_text().splitlines() == list(case.done)


@pytest.mark.parametrize(
    ("says", "healthy"), [(f"True {gateway.identity()}", True), (f"True {OLD}", False), (f"False {gateway.identity()}", False)]
)
def test_a_gateway_of_another_version_is_not_healthy(says: str, healthy: bool, tmp_path: Path) -> None:
    assert gateway.programmed(machine(tmp_path, release="deployed", gateway_says=says)) is healthy


def test_the_gateway_carries_the_identity_of_what_was_installed_before_it() -> None:
    *_, last = gateway.manifests()
    assert last["metadata"] == {
        "name": "gw",
        "namespace": "perennial-gateway",
        "annotations": {"perennial.dev/installed": gateway.identity()},
    }
