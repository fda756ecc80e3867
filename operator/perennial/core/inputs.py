"""Names and digests that follow from an object: children's names, the digest of a version's inputs, times as text."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

from perennial.api.source import Source
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelVersionSpec
from perennial_runtime.contract import SOURCE_PATH


def version_name(model: str, number: int) -> str:
    """Name of a ModelVersion, and of its Deployment and Service."""
    return f"{model}-v{number}"


def job_name(model: str, number: int, step: str, attempt: int) -> str:
    """Name of a Job; an operator upgrade changes no name, so it starts no second Job."""
    return f"{model}-v{number}-{step}-{attempt}"


def ledger_job_name(model: str, last: int) -> str:
    """Name of the Job that stores the ledger up to this entry."""
    return f"{model}-ledger-{last}"


def poll_job_name(model: str, number: int) -> str:
    """Name of the Job that looks at the data source for the n-th time."""
    return f"{model}-poll-{number}"


def store_uri(base: str, namespace: str, uid: str) -> str:
    """Where what belongs to a ModelDeployment lies in a store."""
    return f"{base.rstrip('/')}/{namespace}/{uid}"


def store_owner(uri: str) -> str:
    """The UID in `store_uri`."""
    return uri.rpartition("/")[2]


def source_address(source: Source) -> str:
    """Where the steps of a version find the data: the URI, or the place at which the claim is mounted."""
    return source.uri or f"file://{SOURCE_PATH}/{source.pvc.path if source.pvc else ''}"


def source_secret(source: Source, store_secret: str) -> str | None:
    """Name of the Secret that the data is read with; None: without keys. The store's are lent to S3 sources alone."""
    if source.secret_ref:
        return source.secret_ref.name
    return store_secret if (source.uri or "").startswith("s3://") else None


def source_words(source: Source) -> str:
    """Where the data is, for people."""
    return f"claim {source.pvc.claim_name}, /{source.pvc.path}" if source.pvc else source.uri or ""


def inputs_digest(spec: ModelDeploymentSpec | ModelVersionSpec) -> str:
    """sha256 of what a version depends on: data, training or model, and evaluation, as the spec says them. Words about the data
    are left out: they change no trained byte."""
    parts = {
        name: getattr(spec, name).model_dump(by_alias=True, exclude_defaults=True, exclude={"provenance"})
        for name in ("data", "training", "evaluation")
    }
    if spec.model is not None:
        parts["model"] = spec.model.model_dump(by_alias=True, exclude_defaults=True)
    if not spec.smoke:
        parts["training"].pop("smoke", None)  # what only smoke runs train with
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The time of a `stamp`."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def since(now: datetime, text: str | None) -> float:
    """Seconds from a stamp to now; 0 when there is none."""
    return (now - moment(text)).total_seconds() if text else 0.0


def moved(text: str | None, seconds: float) -> str | None:
    """A stamp so many seconds later (earlier when negative)."""
    return stamp(moment(text) + timedelta(seconds=seconds)) if text else None
