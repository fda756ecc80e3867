"""`rollout.window`: what served lately and was not taken back is known to be good, so that going back to it needs no steps.

A spec that is reverted (in Git, mostly) asks for the inputs of a version that is still there: it is returned to, as by request,
and nothing is trained. Used by `triggers` and `candidate`.
"""

from __future__ import annotations

from perennial.core import watch
from perennial.core.draft import FINAL, Draft
from perennial.core.observed import Version
from perennial.core.returns import first_served, start, why_not_servable


def go_back(draft: Draft, digest: str) -> bool:
    """Return to the newest version in the window that was made of these inputs; False when there is none."""
    target = next((version for version in good(draft) if version.spec.inputs_digest == digest), None)
    pin = draft.observed.spec.pin
    if target is None or pin not in (None, target.number):
        return False
    words = f"the spec asks for the inputs of v{target.number}, which is inside rollout.window: nothing is trained"
    draft.set(inputs_digest=digest, held=False, held_digest="")
    draft.urgent = True
    draft.event("Normal", "SpecReverted", words, target.number)
    if target.number == draft.status.stable and watch.under_way(draft) is not None:
        draft.set(returning=None)  # it serves already, and goes on being watched
    else:
        start(draft, target.number, "Reverted")
    _end_candidate(draft, words)
    return True


def _end_candidate(draft: Draft, words: str) -> None:
    """What is on its way was made of inputs that the spec does not ask for any more."""
    candidate = draft.status.candidate
    if candidate is not None and candidate in draft.versions and draft.state(candidate) not in FINAL:
        draft.set(candidate=None, ended=candidate)
        draft.finish(candidate, "Superseded", words)


def knows(draft: Draft, version: Version) -> bool:
    """Whether this version is the model, in the runtime, of one in the window."""
    return any(
        one.number != version.number
        and one.status.identity is not None
        and one.status.identity == version.status.identity
        and one.spec.runtime == version.spec.runtime
        for one in good(draft)
    )


def good(draft: Draft) -> list[Version]:
    """The last `rollout.window` versions that served and were not taken back, the newest first; what serves is one of them."""
    served = [
        version
        for version in draft.versions.values()
        if version.status.served_at and version.status.state != "RolledBack" and not why_not_servable(draft, version.number)
    ]
    served.sort(key=lambda version: (first_served(version), version.number), reverse=True)
    return served[: draft.observed.spec.rollout.window]
