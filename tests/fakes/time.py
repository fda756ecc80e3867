"""A clock that moves when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `perennial.ports.Clock`; `monotonic` goes with it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.start = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Aware UTC."""
        return self.start + timedelta(seconds=self.seconds)

    def stamp(self) -> str:
        """As the API server writes it."""
        return self.now().isoformat(timespec="seconds").replace("+00:00", "Z")

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.seconds += seconds
