"""A status that speaks of the future: it was written before a clock was set back, by an operator that is gone.

While an operator runs its own clock does not jump (`perennial.adapters.clock`); the next one starts from the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable

from perennial.core import objective, providers, runs
from perennial.core.draft import Draft
from perennial.core.inputs import moved, since

SKEW_SECONDS = 5.0
"""Less than this is two clocks that differ a little."""
_OF_ROLLOUT = (
    "started_at",
    "saved_at",
    "step_entered_at",
    "step_started_at",
    "watch_started_at",
    "not_ready_since",
    "settled_at",
)
_OF_VERSION = ("deployed_at", "served_at", "first_served_at", "finished_at")


def set_back(draft: Draft) -> None:
    """Times that lie in the future become what they were by the clock of now: holds, deadlines and watches keep their length."""
    now, rollout, returning = draft.observed.now, draft.status.rollout, draft.status.returning
    times = [*((rollout.saved_at, rollout.step_entered_at) if rollout else ()), returning.since if returning else None]
    ahead = _ahead(draft, times)
    for version in draft.versions.values():
        ahead = max(ahead, _ahead(draft, (getattr(version.status, name) for name in _OF_VERSION)))
    if ahead <= SKEW_SECONDS:
        return
    if rollout is not None:
        times_of = {name: moved(getattr(rollout, name), -ahead) for name in _OF_ROLLOUT}
        parts = {
            "metrics": objective.moved_by(rollout.metrics, -ahead),
            "provided": providers.moved_by(rollout.provided, -ahead),
            "runs": runs.moved_by(rollout.runs, -ahead),
        }
        draft.set(rollout=rollout.model_copy(update={**times_of, **parts}))
    if returning is not None:
        draft.set(returning=returning.model_copy(update={"since": moved(returning.since, -ahead)}))
    for number, version in list(draft.versions.items()):
        late = {name: getattr(version.status, name) for name in _OF_VERSION}
        draft.set_version(
            number, **{name: moved(at, -ahead) for name, at in late.items() if at and since(now, at) < -SKEW_SECONDS}
        )
    draft.urgent = True
    draft.event("Warning", "ClockSetBack", f"the clock was set back by {ahead:.0f} s: times in the status were moved with it")


def _ahead(draft: Draft, times: Iterable[str | None]) -> float:
    """Seconds that the latest of these times lies after now; 0 when none does."""
    return max((-since(draft.observed.now, at) for at in times if at), default=0.0)
