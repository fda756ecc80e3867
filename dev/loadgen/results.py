"""What came back: one record for each request, written as it comes, and a summary by version."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TextIO

NONE = 0
"""Status of a request that got no answer."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are seconds since the epoch."""

    scheduled: float
    sent: float
    done: float
    status: int
    version: str | None
    """Who answered (header x-perennial-version); None when nobody did or an answer was not signed."""
    ok: bool
    error: str = ""
    """Why there was no answer."""

    @property
    def latency(self) -> float:
        """Seconds from the scheduled time: waiting for a connection counts."""
        return self.done - self.scheduled


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts, and the latencies of the answered requests in seconds."""

    requests: int
    failures: int
    p50: float
    p99: float
    worst: float
    first_failure: float | None
    last_failure: float | None


@dataclass(slots=True)
class Results:
    """The records of a run."""

    records: list[Record] = field(default_factory=list)

    @property
    def versions(self) -> list[str]:
        """Who answered, sorted."""
        return sorted({record.version for record in self.records if record.version})

    @property
    def failures(self) -> list[Record]:
        """Requests without a 2xx answer."""
        return [record for record in self.records if not record.ok]

    def summary(self, version: str | None = None) -> Summary:
        """Of one version, or of all."""
        chosen = [record for record in self.records if version is None or record.version == version]
        failed = [record.done for record in chosen if not record.ok]
        answered = sorted(record.latency for record in chosen if record.status != NONE)
        return Summary(
            requests=len(chosen),
            failures=len(failed),
            p50=_quantile(answered, 0.5),
            p99=_quantile(answered, 0.99),
            worst=answered[-1] if answered else 0.0,
            first_failure=min(failed, default=None),
            last_failure=max(failed, default=None),
        )


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def writer(stream: TextIO) -> Callable[[Record], None]:
    """Writes each record as a JSON line; the stream is the caller's, to flush and to close."""

    def write(record: Record) -> None:
        stream.write(json.dumps(asdict(record), separators=(",", ":")) + "\n")

    return write
