"""The recording of a rollout as a ConfigMap, owned by the ModelVersion that was rolled out: it is pruned with it."""

from __future__ import annotations

import base64

from perennial.api.recording import RECORDING_KEY, recording_name
from perennial.core.observed import Version
from perennial.manifests.common import MANAGED_BY, Manifest, metadata, version_labels, version_owner


def recording(version: Version, data: bytes) -> Manifest:
    """The ConfigMap `<version>-recording`; nothing changes it."""
    labels = {**version_labels(version.spec.model_deployment, version.number), **MANAGED_BY}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(recording_name(version.meta.name), version.meta.namespace, version_owner(version), labels),
        "immutable": True,
        "binaryData": {RECORDING_KEY: base64.b64encode(data).decode()},
    }
