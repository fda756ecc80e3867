"""The real clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Time of this machine, in UTC."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)
