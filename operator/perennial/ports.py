"""What the reconciler needs from outside, as protocols; `perennial.adapters` implements them, tests bring fakes.

One contract suite (tests/contract) runs the same cases against the fakes and the real API server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from perennial.core.observed import JobPod, MetricProblem, MetricQuery, MetricReading, PodCounters, ServingPod, TrainReading

Manifest = dict[str, Any]
Keep = Callable[[Manifest], Manifest]


class ClusterError(Exception):
    """The API server refused or failed; `status` is the HTTP code (0: no answer), the message its own words.

    ClusterError
    |- NotFound       404: the object, its kind or its namespace
    |- Conflict       409: exists already, or another resourceVersion
    |- Invalid        400, 403 (quota, admission, RBAC), 422: the same write will be refused again
    `- Unavailable    no answer, 401, 429, 5xx: try again later
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ClusterError):
    """404."""


class Conflict(ClusterError):
    """409."""


class Invalid(ClusterError):
    """400, 403, 422."""


class Unavailable(ClusterError):
    """No answer, 429 or 5xx."""


class Clock(Protocol):
    """Time, as an argument."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...


class Cluster(Protocol):
    """Writes and reads of Kubernetes objects. Kinds are named '<apiVersion>/<Kind>', e.g. 'batch/v1/Job'."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest: ...

    async def list(
        self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "", keep: Keep = lambda item: item
    ) -> tuple[Sequence[Manifest], str]:
        """Items, with apiVersion and kind, and the list's resourceVersion. Selectors as kubectl takes them; `keep` makes of each
        item what is kept of it while the list still comes in."""
        ...

    async def create(self, manifest: Manifest) -> Manifest: ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with our field manager, force."""
        ...

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """PUT .../status with the resourceVersion in the manifest; Conflict when it is not the newest."""
        ...

    async def json_patch(self, kind: str, namespace: str, name: str, patch: Sequence[Mapping[str, Any]]) -> Manifest: ...

    async def schemas(self) -> Mapping[str, Manifest]:
        """The schemas of our kinds, by kind (ModelVersion), as they are served: a field that is not in them is dropped when it is
        written."""
        ...

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> Manifest | None:
        """Background propagation, with a UID precondition. The object while finalizers hold it; None: it is gone (or was)."""
        ...


class PodMetrics(Protocol):
    """Reads the counters of serving pods."""

    async def read(self, pods: Sequence[tuple[int, ServingPod]]) -> Sequence[PodCounters | str]:
        """For each (version, pod), in order, its counters or the reason why they could not be read."""
        ...


class Reporters(Protocol):
    """Asks the reporters beside trainers how far those are."""

    async def read(self, pod: JobPod) -> TrainReading | None:
        """None: it does not answer, or has nothing to tell yet. Raises nothing and ends within a second."""
        ...


class MetricProvider(Protocol):
    """Reads requests that were counted elsewhere than in the serving pods."""

    async def read(self, query: MetricQuery, at: datetime) -> MetricReading | MetricProblem:
        """The counters of both arms, all as they stood at `at`, or why there are none. Raises nothing and ends within seconds."""
        ...
