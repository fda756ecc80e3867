"""Is this Bento the one that was judged? Asked by `fetch_bento` when it is unpacked and by `server` before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from perennial_runtime.answers import Refused
from perennial_runtime.bento import IDENTITY_FILE, MODEL_FILE, SCHEMA_FILE, identity_of
from perennial_runtime.contract import ServeSpec


def verify(spec: ServeSpec, source: Path) -> None:
    """Compare a Bento's src directory with what was judged. Raises Refused: BentoBroken, IdentityMismatch."""
    try:
        claims = json.loads((source / IDENTITY_FILE).read_bytes())
        claimed, uid = claims["version"], claims.get("uid", "")
        found = identity_of(source / MODEL_FILE, source / SCHEMA_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("BentoBroken", f"the Bento of {spec.version} is not complete: {type(error).__name__}: {error}") from error
    if (claimed, found) != (spec.version, spec.identity):
        raise Refused(
            "IdentityMismatch",
            f"the Bento is {claimed} with identity {found[:12]}, but what was judged is {spec.version} with identity "
            f"{spec.identity[:12]}: restore the blob in the store or train again",
        )
    if uid != spec.signed_for:
        raise Refused(
            "IdentityMismatch",
            f"the Bento was signed for {spec.version} with the UID {uid or 'none'}, and wanted is the one with the UID "
            f"{spec.signed_for or 'none'}: it is another object's Bento; restore the blob in the store or train again",
        )
