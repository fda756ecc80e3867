"""What ends the watch of a promoted version. Its passes are `perennial.core.rollout.watch`'s.

While it lasts `status.stable` is the promoted version, and `status.rollout` (phase Watch) knows the one before it.
"""

from __future__ import annotations

from perennial.api.rollout_status import RolloutStatus
from perennial.core.draft import Draft


def under_way(draft: Draft) -> RolloutStatus | None:
    """The rollout whose promoted version is being watched."""
    current = draft.status.rollout
    return current if current is not None and current.phase == "Watch" else None


def end(draft: Draft, message: str) -> None:
    """The watched version gets all requests, in one write."""
    current = draft.status.rollout
    if current is None:
        return
    draft.set(rollout=None)
    draft.urgent = True
    if current.stable in draft.versions:
        draft.finish(current.stable, "Retired", f"v{current.candidate} took its place")
    draft.event("Normal", "Watched", f"v{current.candidate} serves all requests: {message}", current.candidate)


def leave(draft: Draft, why: str) -> None:
    """The version before is the stable one again, before anything else is decided: the watched one gets no request more."""
    current = draft.status.rollout
    if current is None:
        return
    draft.set(stable=current.stable, rollout=None)
    draft.urgent = True
    draft.event("Normal", "WatchLeft", f"v{current.stable} serves instead of v{current.candidate}: {why}", current.candidate)
