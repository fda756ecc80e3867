"""How long something has been silent that should have told us, and when the API server is asked about it meanwhile.

A Gateway's controller that does not confirm a route, a pod whose counters nobody answers: what they told may have been lost on
the way, for watches lose events. In memory: an operator that begins anew counts from there. Used by `perennial.gathering`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

ASK_SECONDS = 3.0
"""To the first question, and between two; what is not lost comes within a tenth of a second."""
LARGEST = 10_000


@dataclass(slots=True)
class _Waiting:
    about: Hashable
    since: float
    asked: float
    """When the API server was last asked."""


class Silence:
    """`time` gives monotonic seconds."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._waiting: dict[str, _Waiting] = {}

    def lasts(self, name: str, about: Hashable = None) -> float:
        """Seconds that `name` has been silent about this; it begins with the first call, and with another `about` anew."""
        now, known = self._time(), self._waiting.get(name)
        if known is None or known.about != about:
            if len(self._waiting) >= LARGEST:
                self._waiting.clear()
            known = self._waiting[name] = _Waiting(about, now, now)
        return now - known.since

    def ends(self, name: str) -> None:
        """It has spoken."""
        self._waiting.pop(name, None)

    def is_to_be_asked(self, name: str) -> bool:
        """Whether the API server is to be asked now, which counts as done."""
        known, now = self._waiting.get(name), self._time()
        if known is None or now - known.asked < ASK_SECONDS:
            return False
        known.asked = now
        return True
