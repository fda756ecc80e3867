"""What prepare gets to read the data with, and no other pod of a version gets: the source's Secret, or the claim itself.

A public bucket and a web server are read without a Secret where none is named; the store's keys are lent to S3 sources alone.
"""

from __future__ import annotations

from perennial.core.observed import Version
from perennial.manifests.common import Manifest, mount, secret_volume
from perennial_runtime.contract import SOURCE_PATH, SOURCE_SECRET_PATH


def source_volumes(version: Version) -> list[tuple[Manifest, Manifest]]:
    """Mounts and their volumes."""
    source = version.spec.data.source
    if source.pvc:
        claim = {"claimName": source.pvc.claim_name, "readOnly": True}
        return [(mount("claim", SOURCE_PATH, read_only=True), {"name": "claim", "persistentVolumeClaim": claim})]
    secret = source.secret_ref.name if source.secret_ref else version.spec.store.secret_name
    if source.secret_ref or (source.uri or "").startswith("s3://"):
        return [(mount("source", SOURCE_SECRET_PATH, read_only=True), secret_volume("source", secret))]
    return []
