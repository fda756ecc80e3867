"""A version's serving Deployment and Service.

An init container of ours fetches and verifies the Bento; the server has no credentials. Replicas are no part of the digest that
says what was rendered, so scaling is told apart from a new shape. Applied by `perennial.reconciler`.
"""

from __future__ import annotations

from perennial.api.base import seconds
from perennial.api.serving import Serving
from perennial.core.actions import ApplyServing
from perennial.core.inputs import version_name
from perennial.core.observed import Version
from perennial.manifests.common import (
    MANAGED_BY,
    RENDERED_ANNOTATION,
    ROLE_LABEL,
    Manifest,
    container,
    digest,
    empty_dir,
    metadata,
    mount,
    placement,
    pod_spec,
    resources,
    resources_of,
    secret_volume,
    version_labels,
    version_owner,
    with_step,
)
from perennial_runtime.contract import (
    BENTO_PATH,
    MANAGEMENT_PORT,
    MIRROR_PORT,
    MIRROR_SERVICE_PORT,
    PUBLIC_KEY,
    SERVING_PORT,
    SIGNING_SECRET_PATH,
    STORE_SECRET_PATH,
    Command,
    Container,
    encode,
)

GRACE_SECONDS = 30
"""Drain of 5 s, then requests under way."""
_SERVER_RESOURCES = resources("100m", "192Mi", "1", "512Mi")
_FETCH_RESOURCES = resources("50m", "96Mi", "1", "512Mi")


def serving(model: str, version: Version, wish: Serving, action: ApplyServing) -> tuple[Manifest, Manifest]:
    """(Deployment, Service) of a version; the Deployment carries the digest of both."""
    name = version_name(model, action.version)
    labels = {**version_labels(model, action.version), ROLE_LABEL: "serve", **MANAGED_BY}
    selector = version_labels(model, action.version)
    owner = version_owner(version)
    namespace = version.meta.namespace
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace, owner, labels),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
                # by number: a port that is named in the pod would restart every pod that an older operator made
                {"name": "mirror", "port": MIRROR_SERVICE_PORT, "targetPort": MIRROR_PORT, "protocol": "TCP"},
            ],
        },
    }
    spec: Manifest = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": max(1, int(seconds(wish.progress_deadline))),
        "template": {"metadata": {"labels": {**wish.pod_labels, **labels}}, "spec": _pod(version, wish, action, selector)},
    }
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, namespace, owner, labels),
        "spec": spec,
    }
    rendered = digest([deployment, service])
    deployment["metadata"]["annotations"] = {RENDERED_ANNOTATION: rendered}
    spec["replicas"] = action.replicas
    return deployment, service


def _pod(version: Version, wish: Serving, action: ApplyServing, selector: dict[str, str]) -> Manifest:
    image = version.spec.runtime.serving_image
    step = encode(action.serve)
    keys = _public_key(version)
    mounts = [mount("bento", BENTO_PATH), mount("store", STORE_SECRET_PATH, read_only=True)]
    mounts += [mount(volume["name"], SIGNING_SECRET_PATH, read_only=True) for volume in keys]
    fetch = container(Container.FETCH_BENTO, image, mounts, _FETCH_RESOURCES, Command.FETCH_BENTO)
    return {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **pod_spec(wish),
        **placement(wish),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
            }
        ],
        "initContainers": [with_step(fetch, step)],
        "containers": [_server(image, wish, step)],
        "volumes": [empty_dir("bento"), secret_volume("store", version.spec.store.serving_secret_name), empty_dir("tmp"), *keys],
    }


def _public_key(version: Version) -> list[Manifest]:
    """The volume of a signed version's public keys; the private one, of the same Secret, is in no serving pod."""
    if version.spec.signing is None:
        return []
    volume = secret_volume("signing", version.spec.signing.secret_ref.name)
    return [{**volume, "secret": {**volume["secret"], "items": [{"key": PUBLIC_KEY, "path": PUBLIC_KEY}]}}]


def _server(image: str, wish: Serving, step: str) -> Manifest:
    mounts = [mount("bento", BENTO_PATH, read_only=True)]
    server = container(Container.SERVER, image, mounts, resources_of(wish.resources, _SERVER_RESOURCES), Command.SERVE)
    return {
        **with_step(server, step),
        "ports": [
            {"name": "http", "containerPort": SERVING_PORT, "protocol": "TCP"},
            {"name": "management", "containerPort": MANAGEMENT_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "management"},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": "management"},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 3,
            "failureThreshold": 6,
        },
    }
