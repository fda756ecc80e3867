"""The real clock, which does not jump: an hour that a time service corrects must neither end a watch nor stretch a step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

SLEW = 0.1
"""How fast the machine's time is approached after it jumped: a second of ours then lasts between 0.9 and 1.1 seconds."""
JUMP_SECONDS = 5.0
"""A difference that is told."""

_log = logging.getLogger(__name__)


class SteadyClock:
    """Seconds that passed, added to the machine's time at the start; differences that come later are approached slowly.

    `wall` gives the machine's time as aware UTC, `monotonic` seconds.
    """

    def __init__(
        self, wall: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._now, self._at = wall(), monotonic()
        self._told = False

    def now(self) -> datetime:
        """Aware UTC; never goes back."""
        at = self._monotonic()
        passed, self._at = max(0.0, at - self._at), at
        expected = self._now + timedelta(seconds=passed)
        behind = (self._wall() - expected).total_seconds()
        self._tell(behind)
        self._now = expected + timedelta(seconds=min(max(behind, -SLEW * passed), SLEW * passed))
        return self._now

    def _tell(self, behind: float) -> None:
        jumped = abs(behind) > JUMP_SECONDS
        if jumped and not self._told:
            _log.warning(
                "the clock of this machine jumped by %+.0f s: it is followed slowly, so that holds, deadlines and watches keep "
                "their length; check the node's time service",
                behind,
            )
        self._told = jumped
