"""A recorded rollout: what each pass of it saw, in a file that is read years later and may come from anywhere.

JSON Lines, gzip'd. The first line is a `Header`. A line that is a list is a pass: [microseconds since the pass before, flags]
and, where answers were counted in it, the counts (`perennial.core.tape`). A line that is an object (`Note`) says what changes
with the next pass, or, with `outcome` alone, what the pass before it came to.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from perennial.api.base import Digest, Duration, StatusModel, Timestamp
from perennial.api.rollout import Rollout
from perennial.api.rollout_status import MetricRuns, RolloutStatus

FORMAT: Final = "perennial.dev/recording"
FORMAT_VERSION = 1
RECORDING_KEY = "recording.jsonl.gz"
"""In the ConfigMap `<version>-recording`."""
MOST_PASSES = 16_384
"""Four and a half hours at a pass a second."""
LARGEST_RECORDING = 380 * 1024
"""Bytes, gzip'd: as base64 in an object it stays under 512 KiB."""

Count = Annotated[int, Field(ge=0, le=10**12)]
Reading = (
    Annotated[list[Annotated[int, Field(ge=0, le=10**16)]], Field(min_length=5, max_length=5)]
    | Annotated[str, Field(max_length=128)]
)
Words = Annotated[str, Field(max_length=2048)]
Microseconds = Annotated[int, Field(ge=0, le=253_402_300_799_000_000)]


def recording_name(version: str) -> str:
    """Name of the ConfigMap with the recording of a version, by the version's name."""
    return f"{version}-recording"


class Terms(StatusModel):
    """What of the spec decides a rollout, as it stood."""

    rollout: Rollout
    by: Literal["requests", "connections"] = "requests"
    """What is given to versions: requests by a route, or connections by a Service."""
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    progress_deadline: Duration = "5m"


class Header(StatusModel):
    """The first line."""

    format: Literal["perennial.dev/recording"]
    version: int
    """Of the format."""
    namespace: Annotated[str, Field(max_length=63)]
    model: Annotated[str, Field(max_length=63)]
    candidate: Annotated[int, Field(ge=1, le=10**9)]
    stable: Annotated[int, Field(ge=1, le=10**9)]
    candidate_identity: Digest = ""
    """Digest of the model that was rolled out."""
    stable_identity: Digest = ""
    began: Microseconds
    """Since 1970."""
    complete: bool
    """False: the operator lost the beginning (it was started again, or the status was changed by somebody else), and `start` is
    what was known then."""
    start: RolloutStatus
    terms: Terms


class Place(StatusModel):
    """Where the rollout stood when a pass began: the requests of a pass were given out by this."""

    phase: Literal["Shadow", "Steps", "Watch"]
    step: Annotated[int, Field(ge=0, le=64)] = 0
    weight: Annotated[int, Field(ge=0, le=100)] = 0
    """Of the candidate, in per cent; 0 too while it is withheld."""


class Outcome(StatusModel):
    """What a pass came to, other than going on. A rollout with a watch has two: promote, and how the watch ended."""

    what: Literal["promote", "breach", "abort", "watched", "ended"]
    """ended: by a person, or by something outside the analysis; `message` says by what."""
    at: Timestamp
    reason: Annotated[str, Field(max_length=128)] = ""
    message: Words = ""
    log_e: Annotated[dict[str, float], Field(max_length=8)] = {}
    """By metric, to the last bit."""


class Note(StatusModel):
    """What changes with the next pass; what is null stays."""

    place: Place | None = None
    terms: Terms | None = None
    crashes: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    """Of the candidate's and stable's servers, since the pass before."""
    readings: Annotated[dict[Annotated[str, Field(max_length=64)], Reading], Field(max_length=8)] | None = None
    """Answers of providers by metric: [microseconds since 1970, candidate good, total, stable good, total], or a reason why there
    was none."""
    runs: Annotated[list[MetricRuns], Field(max_length=8)] | None = None
    """Of metrics that a Job measures, after the pass."""
    scores: Annotated[list[Annotated[list[Count], Field(max_length=64)]], Field(min_length=2, max_length=2)] | None = None
    """Scores of the candidate and of stable that were answered since the last count, by bin; where their distance is limited."""
    promoted: bool = False
    """A person promoted the candidate: from the next pass on it is in its watch."""
    outcome: Outcome | None = None
    truncated: bool = False
    """No pass was recorded from here on: the recording had become too long."""
