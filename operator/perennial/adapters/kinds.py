"""The kinds of objects that the operator reads and writes, and their places in the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass

from perennial_runtime.contract import API_VERSION

DEPLOYMENTS_OF_MODELS = f"{API_VERSION}/ModelDeployment"
VERSIONS = f"{API_VERSION}/ModelVersion"
JOBS = "batch/v1/Job"
PODS = "v1/Pod"
WORKLOADS = "apps/v1/Deployment"
SERVICES = "v1/Service"
ROUTES = "gateway.networking.k8s.io/v1/HTTPRoute"
GATEWAYS = "gateway.networking.k8s.io/v1/Gateway"
GATEWAY_CLASSES = "gateway.networking.k8s.io/v1/GatewayClass"
CONFIG_MAPS = "v1/ConfigMap"
EVENTS = "v1/Event"


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind lives: group (empty: core), version and plural."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """Start of the URL path."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


RESOURCES: dict[str, Resource] = {
    DEPLOYMENTS_OF_MODELS: Resource("perennial.dev", "v1alpha1", "modeldeployments"),
    VERSIONS: Resource("perennial.dev", "v1alpha1", "modelversions"),
    JOBS: Resource("batch", "v1", "jobs"),
    PODS: Resource("", "v1", "pods"),
    WORKLOADS: Resource("apps", "v1", "deployments"),
    SERVICES: Resource("", "v1", "services"),
    ROUTES: Resource("gateway.networking.k8s.io", "v1", "httproutes"),
    GATEWAYS: Resource("gateway.networking.k8s.io", "v1", "gateways"),
    GATEWAY_CLASSES: Resource("gateway.networking.k8s.io", "v1", "gatewayclasses"),
    CONFIG_MAPS: Resource("", "v1", "configmaps"),
    EVENTS: Resource("", "v1", "events"),
}
WATCHED = (DEPLOYMENTS_OF_MODELS, VERSIONS, JOBS, PODS, WORKLOADS, SERVICES, ROUTES)
"""Kinds that the door watches and the cache holds; but for WHOLE only what carries our label."""
WHOLE = (DEPLOYMENTS_OF_MODELS, ROUTES)
"""Users' HTTPRoutes have no label of ours: all of them are watched, and the cache keeps those that are borrowed from."""


def kind_of(manifest: dict[str, object]) -> str:
    """'<apiVersion>/<Kind>' of an object."""
    return f"{manifest['apiVersion']}/{manifest['kind']}"
