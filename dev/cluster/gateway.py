"""Envoy Gateway by its Helm chart, and the Gateway `gw` that routes of any namespace may attach to."""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from cluster import images, shell
from cluster.components import Component
from cluster.controlplane import apply, kubectl
from cluster.errors import ClusterError
from cluster.progress import Progress
from cluster.settings import Settings

SYSTEM = "envoy-gateway-system"
NAMESPACE = "perennial-gateway"
CLASS = "eg"
GATEWAY = "gw"
RELEASE = "eg"
STEADY_SECONDS = 4.0
INSTALLED = "perennial.dev/installed"
"""Annotation of the Gateway: what was installed before it was applied. The chart has the same version in every release."""
_ANNOTATION = ".metadata.annotations." + INSTALLED.replace(".", "\\.")


def start(settings: Settings, progress: Progress) -> None:
    """Installs or upgrades the chart when it is not there as this checkout has it, then applies class and Gateway."""
    state = _release_state(settings)
    if state != "deployed" or not _installed_as_here(settings):
        with progress.step("Envoy Gateway", "installing by Helm", about=25):
            _install(settings, state)
    apply(settings, *manifests())


def _installed_as_here(settings: Settings) -> bool:
    template = f"jsonpath={{{_ANNOTATION}}}"
    return kubectl(settings, "get", "gateway", GATEWAY, "-n", NAMESPACE, "-o", template, "--ignore-not-found") == identity()


def _release_state(settings: Settings) -> str:
    """'' when not installed, 'deployed' when it is, something else when a killed `up` left it half way."""
    try:
        found = json.loads(_helm(settings, "status", RELEASE, "-n", SYSTEM, "-o", "json"))
    except ClusterError as missing:
        if "not found" in str(missing):
            return ""
        raise
    return str(found["info"]["status"])


def _install(settings: Settings, state: str) -> None:
    chart = _chart(settings)
    if state:
        # Helm installs definitions once and never upgrades them
        definitions = chart / "charts" / "crds" / "crds"
        kubectl(settings, "apply", "--server-side", "--force-conflicts", "--recursive", "-f", str(definitions))
    if state not in ("", "deployed"):
        # Helm refuses to touch a release that it believes to be under way
        _helm(settings, "uninstall", RELEASE, "-n", SYSTEM, "--no-hooks", "--ignore-not-found", "--wait")
    _helm(settings, "upgrade", RELEASE, str(chart), "--install", "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "3m")


def _chart(settings: Settings) -> Path:
    """A copy of the module's chart whose values name our images; its own values file is a template."""
    chart = settings.state / "gateway-helm"
    shutil.rmtree(chart, ignore_errors=True)
    shutil.copytree(Component.ENVOY_GATEWAY.directory(settings) / "chart", chart)
    values = (chart / "values.tmpl.yaml").read_text()
    values = values.replace("${GatewayImage}", images.GATEWAY.reference).replace("${GatewayImagePullPolicy}", "IfNotPresent")
    (chart / "values.yaml").write_text(values)
    return chart


def identity() -> str:
    """Changes with Envoy Gateway's image, whose tag has its version, and with what is applied beside the chart."""
    return hashlib.sha256(json.dumps([images.GATEWAY.reference, *_manifests({})]).encode()).hexdigest()[:16]


def manifests() -> tuple[dict[str, object], ...]:
    """Class, Envoy's parameters, and the Gateway, which carries the identity."""
    return _manifests({INSTALLED: identity()})


def _manifests(annotations: Mapping[str, str]) -> tuple[dict[str, object], ...]:
    proxy = {
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                # there is no load balancer: a Service of that type would leave the Gateway without an address for ever
                "envoyService": {"type": "ClusterIP"},
                "envoyDeployment": {"container": {"image": images.ENVOY.reference}},
            },
        }
    }
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "cluster-ip", "namespace": SYSTEM}
    listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}}
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
            "metadata": {"name": "cluster-ip", "namespace": SYSTEM}, "spec": proxy,
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller", "parametersRef": parameters},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": NAMESPACE, "annotations": dict(annotations)},
            "spec": {"gatewayClassName": CLASS, "listeners": [listener]},
        },
    )  # fmt: skip


def wait_programmed(settings: Settings, seconds: int = 120) -> None:
    """Until the Gateway has been Programmed for STEADY_SECONDS on end: after a restart it says so for a moment from before."""
    deadline = time.monotonic() + seconds
    since: float | None = None
    while time.monotonic() < deadline:
        since = (since or time.monotonic()) if programmed(settings) else None
        if since is not None and time.monotonic() - since >= STEADY_SECONDS:
            return
        time.sleep(0.5)
    raise ClusterError(
        f"Gateway {NAMESPACE}/{GATEWAY} was not Programmed within {seconds} s: kubectl describe gateway -n {NAMESPACE} {GATEWAY}"
    )


def address(settings: Settings) -> str:
    """The address that carries the Gateway's traffic inside the cluster, or '' while it has none."""
    template = "jsonpath={.status.addresses[0].value}"
    return kubectl(settings, "get", "gateway", GATEWAY, "-n", NAMESPACE, "-o", template, "--ignore-not-found", timeout=10).strip()


def programmed(settings: Settings) -> bool:
    """Whether the Gateway carries traffic, by the Envoy Gateway and Envoy of this checkout."""
    template = f'jsonpath={{.status.conditions[?(@.type=="Programmed")].status}} {{{_ANNOTATION}}}'
    try:
        found = kubectl(settings, "get", "gateway", GATEWAY, "-n", NAMESPACE, "-o", template, timeout=10)
    except ClusterError:
        return False
    return found == f"True {identity()}"


def _helm(settings: Settings, *words: str) -> str:
    argv: list[str | Path] = [settings.bin / "helm", "--kubeconfig", settings.kubeconfig, *words]
    homes = {f"HELM_{name}_HOME": str(settings.state / "helm" / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    return shell.run(argv, what=f"helm {words[0]} {words[1]}", env=homes, timeout=240)
