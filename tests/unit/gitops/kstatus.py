"""The rule by which Flux, Helm and others judge a custom resource: kstatus of kubernetes-sigs/cli-utils, `status.Compute`.

Of pkg/kstatus/status: generic.go (deletion, generation, Reconciling and Stalled) and the last look at Ready in status.go. The
rules for built-in kinds are left out: none of ours is one.
"""

from __future__ import annotations

from typing import Any, Literal

Status = Literal["Current", "InProgress", "Failed", "Terminating"]


def compute(manifest: dict[str, Any]) -> tuple[Status, str]:
    """(status, message) of an object as the API server holds it."""
    meta, status = manifest["metadata"], manifest.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating", "Resource scheduled for deletion"
    generation, seen = meta.get("generation"), status.get("observedGeneration")
    if generation is not None and seen is not None and seen != generation:
        return "InProgress", f"{manifest['kind']} generation is {generation}, but latest observed generation is {seen}"
    conditions = status.get("conditions") or []
    return _standard(conditions) or _ready(conditions) or ("Current", "Resource is current")


def _standard(conditions: list[dict[str, Any]]) -> tuple[Status, str] | None:
    """The first of Reconciling and Stalled that is True decides."""
    decides: dict[str, Status] = {"Reconciling": "InProgress", "Stalled": "Failed"}
    for one in conditions:
        if one["type"] in decides and one["status"] == "True":
            return decides[one["type"]], one.get("message", "")
    return None


def _ready(conditions: list[dict[str, Any]]) -> tuple[Status, str] | None:
    for one in conditions:
        if one["type"] == "Ready":
            return ("Current", "Resource is Ready") if one["status"] == "True" else ("InProgress", one.get("message", ""))
    return None
