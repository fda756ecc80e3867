"""Actions rendered as Kubernetes objects: pure functions, one module for each kind of object.

`perennial.reconciler` applies what these return. `REVISION` is frozen into every ModelVersion: what revision 1 renders stays
as it is for ever (golden files in tests/unit/manifests), so that an upgrade of the operator restarts no served pod. A change
of shape is a new revision beside the old one.
"""

from __future__ import annotations

REVISION = 1
"""What new versions are pinned to."""
REVISIONS = frozenset({REVISION})
"""What this operator can render; a version of another one, after a downgrade of the operator, is left as it is."""
