"""A Kubernetes Event on a ModelDeployment. Its name follows from what it tells, so that telling it twice is harmless."""

from __future__ import annotations

from datetime import datetime

from perennial.core.actions import Event
from perennial.core.inputs import stamp
from perennial.core.observed import Meta
from perennial.manifests.common import Manifest, digest
from perennial_runtime.contract import API_VERSION

COMPONENT = "perennial-operator"
MESSAGE_LIMIT = 1024


def event(meta: Meta, resource_version: str, said: Event, now: datetime) -> Manifest:
    """The event; `resource_version` is that of the status write it belongs to."""
    moment = stamp(now).partition(".")[0] + "Z"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta.name}.{digest([meta.uid, resource_version, said.reason, said.message])[:16]}",
            "namespace": meta.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": resource_version,
        },
        "type": said.type,
        "reason": said.reason,
        "message": said.message[:MESSAGE_LIMIT],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
