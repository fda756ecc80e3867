"""The Service of a ModelDeployment without a route: /predict on port 80, answered by the serving pods of all its versions.

Which version gets how much is a matter of how many of its pods are ready; see `perennial.core.replicas`.
"""

from __future__ import annotations

from perennial.core.observed import Meta
from perennial.manifests.common import (
    MANAGED_BY,
    MODEL_LABEL,
    RENDERED_ANNOTATION,
    ROLE_LABEL,
    Manifest,
    deployment_owner,
    digest,
    metadata,
)


def model_service(meta: Meta) -> Manifest:
    """Its selector is of labels that every serving pod has had since the first revision, so no pod is restarted for it."""
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(meta.name, meta.namespace, deployment_owner(meta), {MODEL_LABEL: meta.name, **MANAGED_BY}),
        "spec": {
            "type": "ClusterIP",
            "selector": {MODEL_LABEL: meta.name, ROLE_LABEL: "serve"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    manifest["metadata"]["annotations"] = {RENDERED_ANNOTATION: digest(manifest)}
    return manifest
