"""What the status speaks of and the cluster no longer has, or the other way round: mended before anything is decided.

A person may delete a ModelVersion (a natural reaction to a bad canary), or restore the ModelDeployment without its status.
"""

from __future__ import annotations

from perennial.core import watch
from perennial.core.draft import Draft
from perennial.core.returns import start as start_return


def mend(draft: Draft) -> None:
    """Forget deleted versions, and recognise the one that serves when the status has lost it."""
    status, versions = draft.status, draft.versions
    if status.candidate is not None and status.candidate not in versions:
        _tell(draft, f"v{status.candidate} was deleted while it was the candidate: its rollout is over")
        of_the_candidate = status.rollout is not None and status.rollout.candidate == status.candidate
        draft.set(candidate=None, rollout=None if of_the_candidate else status.rollout)
    if status.returning is not None and status.returning.version not in versions:
        _tell(draft, f"v{status.returning.version} was deleted: nothing returns to it")
        draft.set(returning=None)
    if status.stable is not None and status.stable not in versions:
        _stable_is_gone(draft, status.stable)
    current = draft.status.rollout
    if current is not None and current.candidate not in versions:
        draft.set(rollout=None)
    elif current is not None and current.stable not in versions:
        _tell(draft, f"v{current.stable} was deleted while v{current.candidate} was compared with it: the comparison is over")
        draft.set(rollout=None)
    if draft.status.stable is None:
        serving = [number for number, version in versions.items() if version.status.state == "Serving"]
        if serving:
            draft.set(stable=max(serving))


def _stable_is_gone(draft: Draft, number: int) -> None:
    """In its watch the version before is still there, with its pods."""
    watched = watch.under_way(draft)
    if watched is not None and watched.stable in draft.versions:
        watch.leave(draft, f"v{number} was deleted")
        start_return(draft, watched.stable, "Breach")
        return
    _tell(draft, f"v{number} was deleted while it served: the next version that passes its gates takes its place")
    draft.set(stable=None, rollout=None)


def _tell(draft: Draft, words: str) -> None:
    draft.urgent = True
    draft.event("Warning", "VersionLost", words)
