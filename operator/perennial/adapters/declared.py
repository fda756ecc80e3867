"""Which of our annotations stand in a manifest that somebody applies: such a request comes back whenever it is applied again.

`perennial.adapters.cache` notes them when it drops what they are read from (managed fields and kubectl's last applied manifest);
`perennial.adapters.observe` hands them to the core.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from perennial.ports import Manifest
from perennial_runtime.contract import GROUP

DECLARED = "declared"
"""Top-level key of a cached object; never written."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def declared_keys(meta: Manifest) -> list[str]:
    """Our annotations' keys that server-side or client-side apply put there, sorted."""
    found = {*_by_server_side_apply(meta), *_by_client_side_apply(meta)}
    return sorted(key for key in found if key.startswith(f"{GROUP}/"))


def _by_server_side_apply(meta: Manifest) -> Iterable[str]:
    for entry in meta.get("managedFields") or ():
        if entry.get("operation") == "Apply":
            fields = _mapping(_mapping(entry.get("fieldsV1")).get("f:metadata"))
            yield from (name.removeprefix("f:") for name in _mapping(fields.get("f:annotations")))


def _by_client_side_apply(meta: Manifest) -> Iterable[str]:
    try:
        applied = json.loads((meta.get("annotations") or {}).get(_LAST_APPLIED) or "{}")
    except ValueError:
        return ()
    return _mapping(_mapping(_mapping(applied).get("metadata")).get("annotations"))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
