"""A ModelVersion, owned by its ModelDeployment."""

from __future__ import annotations

from perennial.api.v1alpha1 import ModelVersionSpec
from perennial.core.inputs import version_name
from perennial.core.observed import Meta
from perennial.manifests.common import MANAGED_BY, Manifest, deployment_owner, metadata, version_labels
from perennial_runtime.contract import API_VERSION


def model_version(meta: Meta, spec: ModelVersionSpec) -> Manifest:
    """The object as it is created; its spec never changes afterwards."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": metadata(
            version_name(meta.name, spec.number),
            meta.namespace,
            deployment_owner(meta),
            {**version_labels(meta.name, spec.number), **MANAGED_BY},
        ),
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
