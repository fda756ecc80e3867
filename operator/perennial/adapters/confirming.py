"""Since when the Gateways' controllers have not told whether they carry out the newest state of a route.

In memory: an operator that begins anew counts from there. Used by `perennial.gathering`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from perennial.core.observed import RouteState

REREAD_SECONDS = 3.0
"""A controller tells within a tenth of a second; what it told may not have come by the watch. How often it is asked for."""
LARGEST = 10_000


@dataclass(slots=True)
class _Waiting:
    """A route that nobody has told of."""

    shares: Hashable
    """What it is to carry out."""
    since: float
    asked: float
    """When its newest state was last read from the API server."""


class Confirming:
    """`time` gives monotonic seconds."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._waiting: dict[str, _Waiting] = {}

    def of(self, uid: str, state: RouteState) -> RouteState:
        """The state with how long its weights and its mirror are unseen."""
        if not state.unseen:
            self._waiting.pop(uid, None)
            return state
        shares, now = (state.weights, state.mirror), self._time()
        known = self._waiting.get(uid)
        if known is None or known.shares != shares:
            if len(self._waiting) >= LARGEST:
                self._waiting.clear()
            known = self._waiting[uid] = _Waiting(shares, now, now)
        return replace(state, unseen_seconds=now - known.since)

    def is_to_be_read(self, uid: str) -> bool:
        """Whether its newest state is to be read now, which counts as done."""
        known, now = self._waiting.get(uid), self._time()
        if known is None or now - known.asked < REREAD_SECONDS:
            return False
        known.asked = now
        return True
