"""What the API server itself wrote down about writes: the audit log of the embedded cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cluster.api import Cluster
from cluster.controlplane import AUDIT_LOG
from perennial.adapters.cluster import FIELD_MANAGER

AGENTS = (FIELD_MANAGER, "kopf")
"""Starts of the user agents that an operator has: our client's, and the door's."""


def writes(cluster: Cluster, since: datetime, namespace: str | None = None) -> list[str]:
    """Every write of an operator since then: 'verb resource/subresource namespace/name code', in order."""
    return [_line(event) for event in _events(cluster) if _is_ours(event, since, namespace)]


def now() -> datetime:
    """The time as the audit log has it."""
    return datetime.now(UTC)


def _events(cluster: Cluster) -> Iterator[dict[str, Any]]:
    if cluster.netns is None:
        raise AssertionError("the audit log is only known of the embedded cluster: unset PERENNIAL_KUBECONFIG for this test")
    with (cluster.settings.state / AUDIT_LOG).open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _is_ours(event: dict[str, Any], since: datetime, namespace: str | None) -> bool:
    if not str(event.get("userAgent", "")).lower().startswith(AGENTS):
        return False
    place = event.get("objectRef", {}).get("namespace")
    return datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since and namespace in (None, place)


def _line(event: dict[str, Any]) -> str:
    about = event.get("objectRef", {})
    resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
    code = event.get("responseStatus", {}).get("code", 0)
    return f"{event['verb']} {resource} {about.get('namespace', '')}/{about.get('name', '')} {code}"
