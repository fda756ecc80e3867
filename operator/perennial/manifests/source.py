"""What the pods that look at the data or read it (poll, prepare) get for that, and no other pod gets: the source's Secret, or the
claim itself.
"""

from __future__ import annotations

from perennial.manifests.common import Manifest, mount, secret_volume
from perennial_runtime.contract import SOURCE_PATH, SOURCE_SECRET_PATH


def source_volumes(claim: str | None, secret: str | None) -> tuple[list[Manifest], list[Manifest]]:
    """Mounts and their volumes."""
    if claim:
        volume = {"name": "claim", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return [mount("claim", SOURCE_PATH, read_only=True)], [volume]
    if secret:
        return [mount("source", SOURCE_SECRET_PATH, read_only=True)], [secret_volume("source", secret)]
    return [], []
