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
    return [_line(event) for event in events(cluster, since, namespace) if is_operator(event)]


def events(cluster: Cluster, since: datetime, namespace: str | None = None) -> list[dict[str, Any]]:
    """Everybody's writes since then, by the time at which they arrived; Kubernetes' own parts are not in the log."""
    found = [event for event in _events(cluster) if _fits(event, since, namespace)]
    return sorted(found, key=lambda event: str(event["requestReceivedTimestamp"]))


def is_operator(event: dict[str, Any]) -> bool:
    """Whether an operator made this request."""
    return str(event.get("userAgent", "")).lower().startswith(AGENTS)


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


def _fits(event: dict[str, Any], since: datetime, namespace: str | None) -> bool:
    place = event.get("objectRef", {}).get("namespace")
    return namespace in (None, place) and datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since


def _line(event: dict[str, Any]) -> str:
    about = event.get("objectRef", {})
    resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
    code = event.get("responseStatus", {}).get("code", 0)
    return f"{event['verb']} {resource} {about.get('namespace', '')}/{about.get('name', '')} {code}"
