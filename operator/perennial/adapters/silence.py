"""How long something of a model has been silent that should have told us, and when the API server is asked about it meanwhile.

A Gateway's controller that does not confirm a route, a pod whose counters nobody answers: what they told may have been lost on
the way, for watches lose events. In memory: an operator that begins anew counts from there. Used by `perennial.gathering`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from perennial.adapters.cache import Key

ASK_SECONDS = 3.0
"""To the first question, and between two; what is not lost comes within a tenth of a second."""


@dataclass(slots=True)
class _Waiting:
    about: Hashable
    since: float
    asked: float
    """When the API server was last asked."""


class Silence:
    """`time` gives monotonic seconds. What is silent is named by its model's key and a word, such as a UID."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._waiting: dict[Key, dict[str, _Waiting]] = {}

    def lasts(self, model: Key, what: str, about: Hashable = None) -> float:
        """Seconds that it has been silent about this; it begins with the first call, and with another `about` anew."""
        now, waiting = self._time(), self._waiting.setdefault(model, {})
        known = waiting.get(what)
        if known is None or known.about != about:
            known = waiting[what] = _Waiting(about, now, now)
        return now - known.since

    def ends(self, model: Key, what: str) -> None:
        """It has spoken."""
        self._waiting.get(model, {}).pop(what, None)

    def is_to_be_asked(self, model: Key, what: str) -> bool:
        """Whether the API server is to be asked now, which counts as done."""
        known, now = self._waiting.get(model, {}).get(what), self._time()
        if known is None or now - known.asked < ASK_SECONDS:
            return False
        known.asked = now
        return True

    def forget(self, model: Key) -> None:
        """The model is gone."""
        self._waiting.pop(model, None)
